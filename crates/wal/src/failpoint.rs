//! Places where tests stop, starve or kill the local log.

redkite_runtime::failpoints! {
    /// A new file is about to be made.
    BEFORE_ROTATE = "wal::before-rotate";
    /// A new file has its name; the directory is not yet synced.
    AFTER_ROTATE = "wal::after-rotate";
    /// A group is about to be written.
    BEFORE_WRITE = "wal::before-write";
    /// A group is written, not yet synced.
    AFTER_WRITE = "wal::after-write";
    /// A group is durable, nobody was told.
    AFTER_SYNC = "wal::after-sync";
    /// A file that nobody needs is about to be deleted.
    BEFORE_TRUNCATE = "wal::before-truncate";
    /// The log of a dropped collection has vanished, its files are still there.
    REMOVING = "wal::removing";
}
