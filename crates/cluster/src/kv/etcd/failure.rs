//! What does a failed call mean: was it applied, may it be tried again, was that the answer?

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tonic::{Code, ConnectError, Status};

use super::connect::describe;
use crate::kv::KvError;

/// One try at one member that failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// The member.
    pub(super) member: Arc<str>,
    /// What it or the transport said.
    pub(super) detail: String,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// etcd did nothing, and another try may go better.
    NotDone,
    /// Whether etcd did it, or will yet do it, is not known.
    Lost,
    /// The login is wanting or has ended; etcd did nothing.
    Login,
    /// etcd did nothing, and will not if asked again.
    Answer(Answer),
}

/// What etcd says that is no success.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    LeaseNotFound,
    Compacted,
    NoSpace,
    Denied,
    /// The login is not needed.
    NoLogins,
    Other,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "etcd at {}: {}", self.member, self.detail)
    }
}

impl Failure {
    /// Of a call that etcd or the transport ended.
    pub(super) fn of_status(member: &Arc<str>, status: &Status) -> Self {
        let not_sent = not_sent(status);
        let kind = if not_sent { Kind::NotDone } else { classify(status.code(), status.message()) };
        let detail = match status.source() {
            Some(source) => describe(source),
            None if status.message().is_empty() => format!("{:?}", status.code()),
            None => status.message().to_owned(),
        };
        Self { member: member.clone(), detail, kind }
    }

    /// Of a reason that etcd gave inside an answer.
    pub(super) fn of_reason(member: &Arc<str>, reason: &str) -> Self {
        let kind = match reason {
            reason if reason.contains("permission denied") => Kind::Answer(Answer::Denied),
            reason if is_about_login(reason) => Kind::Login,
            _ => Kind::NotDone,
        };
        let detail = if reason.is_empty() { "cancelled without a reason" } else { reason };
        Self { member: member.clone(), detail: detail.to_owned(), kind }
    }

    /// Of a call for which there was no connection.
    pub(super) fn not_connected(member: &Arc<str>, detail: String) -> Self {
        Self { member: member.clone(), detail, kind: Kind::NotDone }
    }

    /// Of a call that was not answered in time.
    pub(super) fn timeout(member: &Arc<str>, waited: Duration, sent: bool) -> Self {
        let kind = if sent { Kind::Lost } else { Kind::NotDone };
        let what = if sent { "no answer" } else { "not ready for calls" };
        Self { member: member.clone(), detail: format!("{what} within {waited:?}"), kind }
    }
}

/// Whether the connection was lost before the call was sent on it.
fn not_sent(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

fn is_about_login(message: &str) -> bool {
    ["invalid auth token", "revision of auth store is old", "user name is empty"]
        .iter()
        .any(|known| message.contains(known))
}

/// By code, and by etcd's wording where one code has several meanings.
fn classify(code: Code, message: &str) -> Kind {
    if is_about_login(message) {
        return Kind::Login;
    }
    let has = |text: &str| message.contains(text);
    match code {
        Code::Unauthenticated => Kind::Login,
        Code::PermissionDenied => Kind::Answer(Answer::Denied),
        Code::InvalidArgument if has("authentication failed") => Kind::Answer(Answer::Denied),
        Code::FailedPrecondition if has("authentication is not enabled") => Kind::Answer(Answer::NoLogins),
        Code::NotFound if has("lease") => Kind::Answer(Answer::LeaseNotFound),
        Code::OutOfRange if has("compacted") => Kind::Answer(Answer::Compacted),
        Code::ResourceExhausted if has("space exceeded") => Kind::Answer(Answer::NoSpace),
        // Refused at the door, before it was proposed to the cluster.
        Code::ResourceExhausted if has("too many requests") => Kind::NotDone,
        Code::Unavailable if has("no leader") || has("not capable") || has("learner") => Kind::NotDone,
        // A member that is only just starting: its door answers, but nobody is behind it.
        Code::Unimplemented if has("grpc-status header missing") => Kind::NotDone,
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::ResourceExhausted
        | Code::Unimplemented
        | Code::DataLoss => Kind::Answer(Answer::Other),
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable => Kind::Lost,
    }
}

/// The last failure of each member that was tried.
#[derive(Debug, Default)]
pub(super) struct Failures(Vec<Failure>);

impl Failures {
    pub(super) fn add(&mut self, failure: Failure) {
        self.0.retain(|earlier| earlier.member != failure.member);
        self.0.push(failure);
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, failure) in self.0.iter().enumerate() {
            let separator = if n == 0 { "" } else { "; " };
            write!(f, "{separator}{failure}")?;
        }
        Ok(())
    }
}

impl Error for Failures {}

/// A call that failed after all tries.
#[derive(Debug)]
pub(super) enum Failed {
    /// Nothing was done.
    Unavailable(Failures),
    /// It may have been done.
    Unknown(Failures),
    /// etcd's answer.
    Answer(Answer, Failure),
}

impl Failed {
    /// Whether etcd answered so.
    pub(super) fn is(&self, answer: Answer) -> bool {
        matches!(self, Self::Answer(given, _) if *given == answer)
    }
}

impl From<Failed> for KvError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Unavailable(failures) => Self::Unavailable { source: failures.into() },
            Failed::Unknown(failures) => Self::Unknown { source: failures.into() },
            Failed::Answer(answer, failure) => {
                let (endpoint, detail) = (failure.member.to_string(), failure.detail);
                match answer {
                    Answer::Denied => Self::Denied { endpoint, detail },
                    Answer::NoSpace => Self::Refused { endpoint, detail, disk_full: true },
                    Answer::LeaseNotFound | Answer::Compacted | Answer::NoLogins | Answer::Other => {
                        Self::Refused { endpoint, detail, disk_full: false }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said to have changed nothing must have changed nothing.
    #[test]
    fn only_what_etcd_surely_did_not_do_counts_as_not_done() {
        let lost = [
            (Code::Unavailable, "etcdserver: request timed out"),
            (Code::Unavailable, "etcdserver: request timed out, possibly due to previous leader failure"),
            (Code::Unavailable, "etcdserver: server stopped"),
            (Code::Unavailable, "etcdserver: leader changed"),
            (Code::Unavailable, "transport is closing"),
            (Code::Cancelled, "operation was canceled"),
            (Code::DeadlineExceeded, "context deadline exceeded"),
            (Code::Unknown, "raft proposal dropped"),
            (Code::Internal, "h2 protocol error"),
        ];
        for (code, message) in lost {
            assert_eq!(classify(code, message), Kind::Lost, "{message}");
        }
        let known = [
            (Code::Unavailable, "etcdserver: no leader", Kind::NotDone),
            (Code::ResourceExhausted, "etcdserver: too many requests", Kind::NotDone),
            (Code::Unauthenticated, "etcdserver: invalid auth token", Kind::Login),
            (Code::InvalidArgument, "etcdserver: revision of auth store is old", Kind::Login),
            (Code::InvalidArgument, "etcdserver: user name is empty", Kind::Login),
            (
                Code::InvalidArgument,
                "etcdserver: authentication failed, invalid user ID or password",
                Kind::Answer(Answer::Denied),
            ),
            (Code::PermissionDenied, "etcdserver: permission denied", Kind::Answer(Answer::Denied)),
            (
                Code::ResourceExhausted,
                "etcdserver: mvcc: database space exceeded",
                Kind::Answer(Answer::NoSpace),
            ),
            (Code::NotFound, "etcdserver: requested lease not found", Kind::Answer(Answer::LeaseNotFound)),
            (
                Code::InvalidArgument,
                "etcdserver: duplicate key given in txn request",
                Kind::Answer(Answer::Other),
            ),
        ];
        for (code, message, kind) in known {
            assert_eq!(classify(code, message), kind, "{message}");
        }
    }
}
