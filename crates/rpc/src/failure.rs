//! What is a caller told when a call was not answered?

use redkite_service::Error;
use tonic::{Code, Status};

use crate::call::{Effect, Method};
use crate::connection::Unsent;
use crate::network::Broken;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The call was certainly not sent, or not looked at.
    Unsent(String),
    /// The call was sent, and the connection or the callee went away.
    Lost(String),
    /// The time was up.
    Late,
    /// The call cannot be carried out by this callee, now or later.
    Refused(Error),
}

impl Failure {
    /// What tonic made of the failure: who says so, the transport or the callee?
    pub(crate) fn of(method: &Method, status: &Status) -> Self {
        let mut source = std::error::Error::source(status);
        let transport = source.is_some();
        while let Some(error) = source {
            if error.is::<Unsent>() {
                return Self::Unsent(error.to_string());
            }
            source = error.source();
        }
        let told = || format!("{}: {}", method.path, status.message());
        match status.code() {
            _ if transport => Self::Lost(told()),
            // The callee keeps the deadline, too.
            Code::DeadlineExceeded | Code::Cancelled => Self::Late,
            Code::Unavailable => Self::Lost(told()),
            Code::Unimplemented => Self::Refused(Error::Unimplemented { what: told() }),
            Code::OutOfRange | Code::ResourceExhausted => {
                Self::Refused(Error::ParameterTooLarge { reason: told() })
            }
            _ => Self::Refused(Error::Internal { reason: told() }),
        }
    }

    /// A request that is not sent because the callee would not take it.
    pub(crate) fn too_large(method: &Method, bytes: usize, limit: usize) -> Self {
        let reason = format!("{}: request of {bytes} bytes, the limit is {limit}", method.path);
        Self::Refused(Error::ParameterTooLarge { reason })
    }

    /// What a road says.
    pub(crate) fn on_the_road(method: &Method, broken: &Broken) -> Self {
        let told = format!("{}: {broken}", method.path);
        match broken {
            Broken::Unsent => Self::Unsent(told),
            Broken::Lost => Self::Lost(told),
            Broken::Unknown => Self::Refused(Error::Unimplemented { what: told }),
        }
    }

    /// A message that cannot be written or read.
    pub(crate) fn unreadable(method: &Method, error: impl std::fmt::Display) -> Self {
        Self::Refused(Error::Internal { reason: format!("{}: {error}", method.path) })
    }

    /// As the caller of a method is told.
    pub(crate) fn told(self, method: &Method, address: &str) -> Error {
        let what = |reason: String| format!("{address}: {reason}");
        match self {
            Self::Unsent(reason) => Error::Unavailable { reason: what(reason) },
            Self::Lost(reason) => match method.effect {
                Effect::Read | Effect::Wait => Error::Unavailable { reason: what(reason) },
                Effect::Write | Effect::Command => Error::ConnectionLost { what: what(reason) },
            },
            Self::Late => Error::Timeout { what: what(method.path.to_owned()) },
            Self::Refused(error) => error,
        }
    }
}
