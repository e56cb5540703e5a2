//! Places where tests stop, starve or kill the embedded metastore, and coordinators at their writes.

redkite_runtime::failpoints! {
    /// A group of transactions is applied, not yet committed.
    BEFORE_COMMIT = "metastore::before-commit";
    /// A group of transactions is durable, nobody was told.
    AFTER_COMMIT = "metastore::after-commit";
    /// An active coordinator is about to write.
    BEFORE_WRITE = "election::before-write";
    /// It has written; nobody was told.
    AFTER_WRITE = "election::after-write";
    /// A candidate is about to create the active key.
    BEFORE_CAMPAIGN = "election::before-campaign";
    /// It has.
    AFTER_CAMPAIGN = "election::after-campaign";
    /// An active coordinator is about to give its role up.
    BEFORE_RESIGN = "election::before-resign";
    /// It has.
    AFTER_RESIGN = "election::after-resign";
}
