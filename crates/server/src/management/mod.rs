//! Milvus's management endpoints about query nodes: who steers them with `curl` against Milvus does so here.
//!
//! Any method, parameters in the query or as a form, `{"msg": "OK"}` or what is wrong, as in Milvus (where only proxies
//! have them). Whoever is asked passes it on to the active query coordinator, which remembers it over failovers.

mod distribution;
mod form;
mod nodes;
mod transfer;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any};
use redkite_service::{BalanceAnswer, BalanceCommand, BalanceStatus, Error};

use crate::surroundings::{Outlook, Surroundings};
use form::Form;

/// JSON, or why there is none.
type Answer = Result<String, Refused>;

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refused {
    status: StatusCode,
    why: String,
}

impl Refused {
    /// The request is at fault.
    fn request(why: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, why: why.into() }
    }

    fn failed(why: impl Into<String>) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, why: why.into() }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::failed(error.to_string())
    }
}

/// The endpoints.
pub(crate) fn routes(outlook: Outlook) -> Router {
    let at = |path: &str| format!("/management/querycoord/{path}");
    let check = "failed to check whether query node has same distribution";
    Router::new()
        .route(&at("balance/suspend"), answers("failed to suspend balance", suspend))
        .route(&at("balance/resume"), answers("failed to resume balance", resume))
        .route(&at("balance/status"), answers("failed to check balance status", status))
        .route(&at("node/list"), answers("failed to list query node", nodes::list))
        .route(&at("node/suspend"), answers("failed to suspend node", nodes::suspend))
        .route(&at("node/resume"), answers("failed to resume node", nodes::resume))
        .route(&at("transfer/segment"), answers("failed to transfer segment", transfer::segment))
        .route(&at("transfer/channel"), answers("failed to transfer channel", transfer::channel))
        .route(&at("distribution/get"), answers("failed to get query node distribution", distribution::get))
        .route(&at("distribution/check"), answers(check, distribution::check))
        .with_state(outlook)
}

/// Answers requests; `failing` is how Milvus begins to say that it did not work.
fn answers<A: Future<Output = Answer> + Send + 'static>(
    failing: &'static str,
    act: impl Fn(Surroundings, Form) -> A + Clone + Send + Sync + 'static,
) -> MethodRouter<Outlook> {
    any(move |State(outlook): State<Outlook>, form: Form| {
        let act = act.clone();
        async move {
            let answer = match outlook.look().await {
                Ok(around) => act(around.clone(), form).await,
                Err(problem) => Err(Refused::failed(problem)),
            };
            reply(failing, answer)
        }
    })
}

fn reply(failing: &str, answer: Answer) -> Response {
    let (status, body) = match answer {
        Ok(json) => (StatusCode::OK, json),
        Err(refused) => (refused.status, message(&format!("{failing}, {}", refused.why))),
    };
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// To the space as Milvus writes it: scripts compare text.
fn message(text: &str) -> String {
    format!(r#"{{"msg": {}}}"#, serde_json::Value::from(text))
}

fn done() -> Answer {
    Ok(message("OK"))
}

async fn suspend(around: Surroundings, _: Form) -> Answer {
    around.query.balance(BalanceCommand::Suspend).await?;
    done()
}

async fn resume(around: Surroundings, _: Form) -> Answer {
    around.query.balance(BalanceCommand::Resume).await?;
    done()
}

async fn status(around: Surroundings, _: Form) -> Answer {
    let status = if coordinator(&around).await?.suspended { "suspended" } else { "active" };
    Ok(format!(r#"{{"msg": "OK", "status": "{status}"}}"#))
}

/// How balancing stands, as the query coordinator says.
async fn coordinator(around: &Surroundings) -> Result<BalanceStatus, Refused> {
    match around.query.balance(BalanceCommand::Status).await? {
        BalanceAnswer::Status(status) => Ok(*status),
        _ => Err(Refused::failed("unexpected answer")),
    }
}

#[cfg(test)]
mod tests;
