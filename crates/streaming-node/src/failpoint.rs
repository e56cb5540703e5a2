//! Places where tests stop, starve or kill a streaming node.

redkite_runtime::failpoints! {
    /// The data file of one segment is written.
    AFTER_DATA_FILE = "flush::after-data-file";
    /// The delta file is written.
    AFTER_DELTA_FILE = "flush::after-delta-file";
    /// All files are written, nothing is recorded.
    BEFORE_COMMIT = "flush::before-commit";
    /// One of several transactions is committed, or the only one.
    AFTER_COMMIT = "flush::after-commit";
    /// Everything is recorded, the log not yet cut.
    BEFORE_TRUNCATE = "flush::before-truncate";
    /// The log is cut.
    AFTER_TRUNCATE = "flush::after-truncate";
}
