//! Named places where tests make the code fail or the process die.
//!
//! A crate lists its places with [`failpoints!`](crate::failpoints) and passes them with [`reach`]. Without the
//! feature `failpoints` that does nothing. With it, `arm` reads `FAILPOINTS`, in the syntax of the `fail`
//! crate: `storage::after-fsync=3*off->return(abort)` ends the process at the fourth time, as a crash
//! does; `return(enospc)` reports a full disk; any other `return` an I/O error.

use std::fmt;
use std::io;

/// A place. Only [`failpoints!`](crate::failpoints) makes one, so that each is in its crate's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failpoint(&'static str);

impl Failpoint {
    #[doc(hidden)]
    #[must_use]
    pub const fn listed(name: &'static str) -> Self {
        Self(name)
    }

    /// Its name, `part::place`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Failpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What a test made go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failpoint {name}")]
pub struct Triggered {
    /// The place.
    pub name: &'static str,
    /// Whether it is to look like a full disk.
    pub enospc: bool,
}

impl From<Triggered> for io::Error {
    fn from(triggered: Triggered) -> Self {
        let kind = if triggered.enospc { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
        Self::new(kind, triggered)
    }
}

/// Lists the failpoints of a crate: a constant for each, and `FAILPOINTS` with all of them.
///
/// ```
/// mod failpoint {
///     redkite_runtime::failpoints! {
///         /// The bread is in the oven.
///         BAKING = "baker::baking";
///     }
/// }
///
/// # fn main() -> Result<(), redkite_runtime::failpoint::Triggered> {
/// assert_eq!(failpoint::FAILPOINTS[0].name(), "baker::baking");
/// redkite_runtime::failpoint::reach(failpoint::BAKING)
/// # }
/// ```
#[macro_export]
macro_rules! failpoints {
    ($($(#[$doc:meta])* $constant:ident = $name:literal;)+) => {
        $($(#[$doc])*
        pub(crate) const $constant: $crate::failpoint::Failpoint =
            $crate::failpoint::Failpoint::listed($name);)+

        /// The places of this crate where tests make it fail.
        #[allow(unreachable_pub, reason = "a crate without exports lists places for its own tests")]
        pub const FAILPOINTS: &[$crate::failpoint::Failpoint] = &[$($constant),+];
    };
}

/// Does what the test asked for at this place, if it asked for anything.
///
/// # Errors
/// If the test wants one.
#[cfg(feature = "failpoints")]
pub fn reach(point: Failpoint) -> Result<(), Triggered> {
    let asked = fail::eval(point.0, |argument| match argument.as_deref() {
        Some("abort") => std::process::abort(),
        other => Triggered { name: point.0, enospc: other == Some("enospc") },
    });
    asked.map_or(Ok(()), Err)
}

/// Nothing: this build has no failpoints.
///
/// # Errors
/// Never.
#[cfg(not(feature = "failpoints"))]
pub fn reach(_point: Failpoint) -> Result<(), Triggered> {
    Ok(())
}

/// A specification of failpoints cannot be used.
#[cfg(feature = "failpoints")]
#[derive(Debug, thiserror::Error)]
pub enum ArmError {
    /// It names a place that there is not.
    #[error("no failpoint {name:?}")]
    Unknown {
        /// The name.
        name: String,
    },
    /// It does not parse.
    #[error("failpoint {name}: {detail}")]
    Syntax {
        /// The name.
        name: String,
        /// What does not parse.
        detail: String,
    },
}

/// Makes the failpoints of a process do what `specification` says, `name=actions;name=actions`.
///
/// # Errors
/// If it names none of `known` or does not parse: a test that hits nothing would pass.
#[cfg(feature = "failpoints")]
pub fn arm(specification: &str, known: &[Failpoint]) -> Result<(), ArmError> {
    for one in specification.split(';').map(str::trim).filter(|one| !one.is_empty()) {
        let (name, actions) = one.split_once('=').unwrap_or((one, ""));
        if !known.iter().any(|point| point.0 == name) {
            return Err(ArmError::Unknown { name: name.to_owned() });
        }
        fail::cfg(name, actions).map_err(|detail| ArmError::Syntax { name: name.to_owned(), detail })?;
    }
    Ok(())
}

#[cfg(all(test, feature = "failpoints"))]
mod tests {
    use super::*;

    crate::failpoints! {
        /// A place.
        HERE = "test::here";
        /// A place that nobody asks to fail.
        THERE = "test::there";
    }

    #[test]
    fn a_place_fails_as_asked() {
        arm("test::here=1*off->1*return(enospc)->1*return->off", FAILPOINTS).unwrap();
        reach(HERE).unwrap();
        assert!(reach(HERE).unwrap_err().enospc);
        let error = io::Error::from(reach(HERE).unwrap_err());
        assert_eq!(error.to_string(), "failpoint test::here");
        reach(HERE).unwrap();
        reach(THERE).unwrap();
    }

    #[test]
    fn what_hits_nothing_is_refused() {
        assert!(matches!(arm("test::where=return", FAILPOINTS), Err(ArmError::Unknown { .. })));
        assert!(matches!(arm("test::there=explode", FAILPOINTS), Err(ArmError::Syntax { .. })));
        assert!(arm("", FAILPOINTS).is_ok());
    }
}
