//! Places where tests stop, starve or kill a node that works with a bucket.

redkite_runtime::failpoints! {
    /// A piece of an object has come and is about to be written to the cache.
    BEFORE_COPY_WRITE = "bucket::before-copy-write";
    /// A copy is complete under its temporary name.
    BEFORE_NAMING_COPY = "bucket::before-naming-copy";
    /// An object is in the bucket; nobody was told yet.
    AFTER_UPLOAD = "bucket::after-upload";
    /// An object is about to be deleted.
    BEFORE_DELETE = "bucket::before-delete";
}

pub(super) use crate::failpoint::reach;
