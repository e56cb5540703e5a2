//! The parameters of a request, read as Milvus reads them.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use redkite_types::{NodeId, SegmentId};

use super::{Refused, message};

/// Parameters by name; those of a form come before those of the query.
#[derive(Clone, Debug, Default)]
pub(super) struct Form(Vec<(String, String)>);

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let is_form = kind.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        let has_form = is_form && [Method::POST, Method::PUT, Method::PATCH].contains(request.method());
        let body = match has_form {
            true => Bytes::from_request(request, state)
                .await
                .map_err(|error| (StatusCode::BAD_REQUEST, message(&error.body_text())).into_response())?,
            false => Bytes::new(),
        };
        Ok(Self::of(&body, &query))
    }
}

impl Form {
    fn of(body: &[u8], query: &str) -> Self {
        let pairs = |text| form_urlencoded::parse(text).into_owned();
        Self(pairs(body).chain(pairs(query.as_bytes())).collect())
    }

    /// A value; one that is not given is empty, as one that is given so.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    pub(super) fn node(&self, name: &str) -> Result<NodeId, Refused> {
        self.number(name).map(NodeId)
    }

    /// None if it is not given.
    pub(super) fn optional_node(&self, name: &str) -> Result<Option<NodeId>, Refused> {
        (!self.text(name).is_empty()).then(|| self.node(name)).transpose()
    }

    /// None if it is not given.
    pub(super) fn optional_segment(&self, name: &str) -> Result<Option<SegmentId>, Refused> {
        (!self.text(name).is_empty()).then(|| self.number(name).map(SegmentId)).transpose()
    }

    /// As Go spells truth; `default` if it is not given.
    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool, Refused> {
        match self.text(name) {
            "" => Ok(default),
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
            other => Err(wrong(name, other)),
        }
    }

    fn number(&self, name: &str) -> Result<i64, Refused> {
        let text = self.text(name);
        text.parse().map_err(|_| wrong(name, text))
    }
}

fn wrong(name: &str, text: &str) -> Refused {
    Refused::request(format!("{name}: parsing {text:?}: invalid syntax"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_come_before_queries() {
        let form = Form::of(b"node_id=7&note=a+b%21", "node_id=8&segment_id=9");
        assert_eq!(form.node("node_id"), Ok(NodeId(7)));
        assert_eq!(
            (form.text("note"), form.optional_segment("segment_id")),
            ("a b!", Ok(Some(SegmentId(9))))
        );
    }

    #[test]
    fn what_is_missing_or_no_number_is_told() {
        let form = Form::of(b"", "node_id=seven&copy_mode=yes");
        let why = |refused: Refused| (refused.status, refused.why);
        let invalid = |text: &str| (StatusCode::BAD_REQUEST, format!("{text}: invalid syntax"));
        assert_eq!(why(form.node("node_id").unwrap_err()), invalid("node_id: parsing \"seven\""));
        assert_eq!(why(form.node("source_node_id").unwrap_err()), invalid("source_node_id: parsing \"\""));
        assert_eq!(form.optional_node("target_node_id"), Ok(None));
        assert!(form.flag("copy_mode", true).is_err());
        assert_eq!((form.flag("other", true), Form::of(b"x=F", "").flag("x", true)), (Ok(true), Ok(false)));
    }
}
