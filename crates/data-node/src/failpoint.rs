//! Places where tests stop, starve or kill a data node. Compiled to nothing without the feature
//! `failpoints`. With it, `return(abort)` ends the process there, any other `return` is an error.

use crate::error::Result;

/// The task is read, nothing is done.
pub(crate) const BEFORE_WORK: &str = "task::before-work";
/// A file is written, not yet visible.
pub(crate) const BEFORE_PUBLISH: &str = "task::before-publish";
/// All files are durable, the result is not recorded.
pub(crate) const BEFORE_RESULT: &str = "task::before-result";
/// The result is recorded.
pub(crate) const AFTER_RESULT: &str = "task::after-result";

/// Does what the test asked for at this place, if it asked for anything.
#[cfg(feature = "failpoints")]
pub(crate) fn reach(name: &'static str) -> Result<()> {
    fail::fail_point!(name, |action| match action.as_deref() {
        Some("abort") => std::process::abort(),
        _ => Err(crate::error::Error::Failpoint(name)),
    });
    Ok(())
}

/// Nothing: this build has no failpoints.
#[cfg(not(feature = "failpoints"))]
#[expect(clippy::unnecessary_wraps, reason = "the build with failpoints can fail here")]
pub(crate) fn reach(_name: &'static str) -> Result<()> {
    Ok(())
}
