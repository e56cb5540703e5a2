//! Places where tests stop, starve or kill the local object store.

redkite_runtime::failpoints! {
    /// The object is written, not yet synced.
    BEFORE_SYNC = "storage::before-fsync";
    /// The object is durable under its temporary name.
    AFTER_SYNC = "storage::after-fsync";
    /// The object has its name; the directory is not yet synced.
    AFTER_RENAME = "storage::after-rename";
    /// The object is about to be deleted.
    BEFORE_DELETE = "storage::before-delete";
    /// The object is deleted; the directory it leaves empty is still there.
    AFTER_DELETE = "storage::after-delete";
}

/// Does what the test asked for at this place, if it asked for anything.
pub(crate) fn reach(point: redkite_runtime::failpoint::Failpoint, object: &str) -> crate::Result<()> {
    redkite_runtime::failpoint::reach(point)
        .map_err(|triggered| crate::Error::io(point.name(), object)(triggered.into()))
}
