//! Places where tests stop, starve or kill a data node.

redkite_runtime::failpoints! {
    /// The task is read, nothing is done.
    BEFORE_WORK = "task::before-work";
    /// The file of an index is written, not yet visible.
    BEFORE_INDEX = "task::before-index";
    /// The file of a merged segment is written, not yet visible.
    BEFORE_MERGED = "task::before-merged";
    /// The file of a segment's deletes is about to be written.
    BEFORE_FOLDED = "task::before-folded";
    /// All files are durable, the result is not recorded.
    BEFORE_RESULT = "task::before-result";
    /// The result is recorded.
    AFTER_RESULT = "task::after-result";
}
