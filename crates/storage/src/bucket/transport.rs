//! What did the service say? One request, its answer, and what it tells of the state of the object.
//!
//! The client library turns statuses into errors that hide whether a write may have happened, and
//! repeats requests by rules of its own. Here it repeats nothing, and every refusal passes through as
//! a [`Refusal`], so that [`judge`] decides in one place.

use std::error::Error as StdError;
use std::fmt;

use async_trait::async_trait;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};
use object_store::{ClientOptions, Error as StoreError};

/// Longest explanation that is kept of a refusal.
const MESSAGE_BYTES: usize = 512;

/// An answer that is no success.
#[derive(Debug)]
pub(super) struct Refusal {
    status: u16,
    /// S3's word for it, such as `SlowDown`; empty if it said none.
    code: String,
    message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {}", self.status)?;
        if !self.code.is_empty() {
            write!(f, " {}", self.code)?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

impl StdError for Refusal {}

/// What a failed request says about the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There is no such object.
    Absent,
    /// There is no such bucket.
    NoBucket,
    /// The condition of the request did not hold: the object exists, or is another version.
    Precondition,
    /// The range begins behind the object's end.
    OutOfRange,
    /// Nothing was done; asking again may help.
    NotDone,
    /// It is unknown what was done; asking again may help.
    Lost,
    /// Nothing was done, and asking again does not help.
    Refused,
}

impl Verdict {
    pub(super) fn retryable(self) -> bool {
        matches!(self, Self::NotDone | Self::Lost)
    }
}

/// A failed request.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) verdict: Verdict,
    source: StoreError,
}

impl Failure {
    /// Whether something else of this name is there already, or being made.
    pub(super) fn is_conflict(&self) -> bool {
        find::<Refusal>(&self.source).is_some_and(|refusal| refusal.status == 409)
    }

    pub(super) fn into_source(self) -> StoreError {
        self.source
    }
}

impl From<StoreError> for Failure {
    fn from(source: StoreError) -> Self {
        Self { verdict: judge(&source), source }
    }
}

/// The refusal in the service's words, or the chain of what broke, without the library's frame.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(refusal) = find::<Refusal>(&self.source) {
            return refusal.fmt(f);
        }
        let Some(transport) = find::<HttpError>(&self.source) else { return self.source.fmt(f) };
        let mut next = transport.source();
        let mut separator = "";
        while let Some(cause) = next {
            write!(f, "{separator}{cause}")?;
            (separator, next) = (": ", cause.source());
        }
        Ok(())
    }
}

impl StdError for Failure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.source)
    }
}

fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    std::iter::successors(Some(error), |&error| error.source()).find_map(|error| error.downcast_ref())
}

/// What an error tells. When in doubt, the answer was lost.
fn judge(error: &StoreError) -> Verdict {
    if let Some(refusal) = find::<Refusal>(error) {
        return judge_refusal(refusal);
    }
    match find::<HttpError>(error).map(HttpError::kind) {
        // No connection, hence no request.
        Some(HttpErrorKind::Connect) => Verdict::NotDone,
        _ => match error {
            StoreError::InvalidPath { .. }
            | StoreError::NotSupported { .. }
            | StoreError::NotImplemented { .. }
            | StoreError::UnknownConfigurationKey { .. } => Verdict::Refused,
            _ => Verdict::Lost,
        },
    }
}

fn judge_refusal(refusal: &Refusal) -> Verdict {
    match (refusal.status, refusal.code.as_str()) {
        (_, "NoSuchBucket") => Verdict::NoBucket,
        (404, _) => Verdict::Absent,
        // Some services answer a failed If-None-Match with "not modified".
        (304 | 412, _) => Verdict::Precondition,
        // Another conditional write was under way; this one was not carried out.
        (409, _) => Verdict::NotDone,
        (416, _) => Verdict::OutOfRange,
        // The body did not arrive as it was sent.
        (400, "BadDigest" | "IncompleteBody" | "XAmzContentSHA256Mismatch") => Verdict::NotDone,
        (400, "RequestTimeout") | (408 | 429, _) => Verdict::Lost,
        (501, _) => Verdict::Refused,
        // Also 503: what stands before the service may say it after the service has acted.
        (500.., _) => Verdict::Lost,
        _ => Verdict::Refused,
    }
}

/// The library's HTTP client, with refusals as errors.
#[derive(Debug)]
pub(super) struct Transport;

impl HttpConnector for Transport {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Answers(ReqwestConnector::default().connect(options)?)))
    }
}

#[derive(Debug)]
struct Answers(HttpClient);

#[async_trait]
impl HttpService for Answers {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let response = self.0.execute(request).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        // Without the explanation the status still counts.
        let body = response.into_body().bytes().await.unwrap_or_default();
        let body = String::from_utf8_lossy(&body);
        let refusal = Refusal {
            status: status.as_u16(),
            code: element(&body, "Code").unwrap_or_default(),
            message: element(&body, "Message").unwrap_or_default(),
        };
        Err(HttpError::new(HttpErrorKind::Unknown, refusal))
    }
}

/// Text of the first element of this name in S3's error document.
fn element(body: &str, name: &str) -> Option<String> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.chars().take(MESSAGE_BYTES).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: &str) -> Failure {
        let refusal = Refusal { status, code: code.to_owned(), message: "because".to_owned() };
        let source = HttpError::new(HttpErrorKind::Unknown, refusal);
        StoreError::Generic { store: "S3", source: source.into() }.into()
    }

    #[test]
    fn every_refusal_has_its_verdict() {
        for (status, code, verdict) in [
            (404, "NoSuchKey", Verdict::Absent),
            (404, "", Verdict::Absent),
            (404, "NoSuchBucket", Verdict::NoBucket),
            (412, "PreconditionFailed", Verdict::Precondition),
            (304, "", Verdict::Precondition),
            (409, "ConditionalRequestConflict", Verdict::NotDone),
            (416, "InvalidRange", Verdict::OutOfRange),
            (400, "BadDigest", Verdict::NotDone),
            (400, "InvalidArgument", Verdict::Refused),
            (403, "AccessDenied", Verdict::Refused),
            (301, "PermanentRedirect", Verdict::Refused),
            (429, "", Verdict::Lost),
            (500, "InternalError", Verdict::Lost),
            (501, "NotImplemented", Verdict::Refused),
            (503, "SlowDown", Verdict::Lost),
        ] {
            assert_eq!(refused(status, code).verdict, verdict, "{status} {code}");
        }
        assert_eq!(refused(503, "SlowDown").to_string(), "status 503 SlowDown: because");
    }

    #[test]
    fn only_a_connection_that_was_never_made_sent_nothing() {
        for (kind, verdict) in [
            (HttpErrorKind::Connect, Verdict::NotDone),
            (HttpErrorKind::Request, Verdict::Lost),
            (HttpErrorKind::Timeout, Verdict::Lost),
            (HttpErrorKind::Interrupted, Verdict::Lost),
            (HttpErrorKind::Unknown, Verdict::Lost),
        ] {
            let source = HttpError::new(kind, std::io::Error::other("broken"));
            let failure = Failure::from(StoreError::Generic { store: "S3", source: source.into() });
            assert_eq!(failure.verdict, verdict, "{kind:?}");
            assert_eq!(failure.to_string(), "broken");
        }
    }
}
