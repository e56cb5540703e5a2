//! Places where tests stop, starve or kill a streaming node. Compiled to nothing without the feature
//! `failpoints`. With it, `return(abort)` ends the process there, any other `return` is an error.

use crate::Error;

/// The data file of one segment is written.
pub(crate) const AFTER_DATA_FILE: &str = "flush::after-data-file";
/// The delta file is written.
pub(crate) const AFTER_DELTA_FILE: &str = "flush::after-delta-file";
/// All files are written, nothing is recorded.
pub(crate) const BEFORE_COMMIT: &str = "flush::before-commit";
/// One of several transactions is committed, or the only one.
pub(crate) const AFTER_COMMIT: &str = "flush::after-commit";
/// Everything is recorded, the log not yet cut.
pub(crate) const BEFORE_TRUNCATE: &str = "flush::before-truncate";
/// The log is cut.
pub(crate) const AFTER_TRUNCATE: &str = "flush::after-truncate";

/// Does what the test asked for at this place, if it asked for anything.
#[cfg(feature = "failpoints")]
pub(crate) fn reach(name: &'static str) -> Result<(), Error> {
    fail::fail_point!(name, |action| match action.as_deref() {
        Some("abort") => std::process::abort(),
        _ => Err(Error::Failpoint(name)),
    });
    Ok(())
}

/// Nothing: this build has no failpoints.
#[cfg(not(feature = "failpoints"))]
#[expect(clippy::unnecessary_wraps, reason = "the build with failpoints can fail here")]
pub(crate) fn reach(_name: &'static str) -> Result<(), Error> {
    Ok(())
}
