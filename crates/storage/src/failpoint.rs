//! Places where tests stop, starve or kill the object writer.
//!
//! Compiled to nothing without the feature `failpoints`. With it, `FAILPOINTS=<name>=return(abort)`
//! ends the process there, `return(enospc)` reports a full disk, any other `return` an I/O error.

use crate::Result;

/// The object is written, not yet synced.
pub(crate) const BEFORE_SYNC: &str = "storage::before-fsync";
/// The object is durable under its temporary name.
pub(crate) const AFTER_SYNC: &str = "storage::after-fsync";
/// The object has its name; the directory is not yet synced.
pub(crate) const AFTER_RENAME: &str = "storage::after-rename";

/// Does what the test asked for at this place, if it asked for anything.
#[cfg(feature = "failpoints")]
pub(crate) fn reach(name: &'static str, object: &str) -> Result<()> {
    use crate::Error;
    use std::io;

    fail::fail_point!(name, |action| match action.as_deref() {
        Some("abort") => std::process::abort(),
        Some("enospc") => Err(Error::io(name, object)(io::ErrorKind::StorageFull.into())),
        _ => Err(Error::io(name, object)(io::Error::other("failpoint"))),
    });
    Ok(())
}

/// Nothing: this build has no failpoints.
#[cfg(not(feature = "failpoints"))]
#[expect(clippy::unnecessary_wraps, reason = "the build with failpoints can fail here")]
pub(crate) fn reach(_name: &'static str, _object: &str) -> Result<()> {
    Ok(())
}
