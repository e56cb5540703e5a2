//! Places where tests stop, starve or kill the embedded metastore.

redkite_runtime::failpoints! {
    /// A group of transactions is applied, not yet committed.
    BEFORE_COMMIT = "metastore::before-commit";
    /// A group of transactions is durable, nobody was told.
    AFTER_COMMIT = "metastore::after-commit";
}
