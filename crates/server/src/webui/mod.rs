//! What can be seen of the cluster in a browser? `/webui` on the metrics port of every process.
//!
//! ```text
//! page      what the browser gets, once: a document, its style, its script; nothing comes from elsewhere
//! watch     what the script asks for every second: looked up once a second, however many ask
//! picture   what it is told, as pure functions of records, sessions and the coordinator's answer
//! ```

mod picture;
mod watch;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use redkite_runtime::Clock;

use crate::surroundings::Outlook;
use watch::Watch;

/// Whatever gets into the page by mistake: it loads nothing from elsewhere, and no other site frames it.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What the browser gets: where, as what, and the text.
const FILES: [(&str, &str, &str); 6] = [
    ("/webui", "text/html; charset=utf-8", include_str!("page/page.html")),
    ("/webui/page.css", "text/css; charset=utf-8", include_str!("page/page.css")),
    ("/webui/page.js", "text/javascript; charset=utf-8", include_str!("page/page.js")),
    ("/webui/sections.js", "text/javascript; charset=utf-8", include_str!("page/sections.js")),
    ("/webui/elements.js", "text/javascript; charset=utf-8", include_str!("page/elements.js")),
    ("/webui/format.js", "text/javascript; charset=utf-8", include_str!("page/format.js")),
];

/// The page, and what it asks for.
pub(crate) fn routes(outlook: Outlook, clock: Arc<dyn Clock>) -> Router {
    let router = FILES.into_iter().fold(Router::new(), |router, (path, kind, text)| {
        router.route(path, get(move || async move { page(kind, text) }))
    });
    // Milvus's page is at the first; what ours refers to is relative to its own address.
    let redirect = || async { (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, "../webui")]) };
    router
        .route("/webui/", get(redirect))
        .route("/webui/data", get(data))
        .with_state(Arc::new(Watch::new(outlook, clock)))
}

fn page(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (headers, text)
}

async fn data(State(watch): State<Arc<Watch>>) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    match watch.look().await {
        Ok(picture) => (headers, picture).into_response(),
        Err(problem) => {
            let told = serde_json::json!({ "problem": problem }).to_string();
            (StatusCode::SERVICE_UNAVAILABLE, headers, told).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use redkite_runtime::ManualClock;
    use tower::ServiceExt;

    use super::*;
    use crate::http::Health;

    async fn get(path: &str) -> (StatusCode, axum::http::HeaderMap, String) {
        let waits = || Health { problems: vec!["waiting for etcd".to_owned()], ..Health::of("proxy") };
        let outlook = Outlook::new(Arc::new(move || Box::pin(async move { vec![waits()] })));
        let router = routes(outlook, Arc::new(ManualClock::new(0)));
        let answer = router.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        let (head, body) = answer.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        (head.status, head.headers, text)
    }

    #[tokio::test]
    async fn the_page_has_all_that_it_refers_to_and_loads_nothing_else() {
        for (path, kind, text) in FILES {
            let (status, headers, body) = get(path).await;
            assert_eq!(
                (status, headers[header::CONTENT_TYPE].to_str().unwrap(), body.as_str()),
                (StatusCode::OK, kind, text)
            );
            assert!(
                headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().starts_with("default-src 'none'")
            );
            let own = |name: &str| FILES.iter().any(|(path, _, _)| path.ends_with(name));
            for quoted in text.split('"').filter(|part| part.ends_with(".js") || part.ends_with(".css")) {
                assert!(own(quoted.trim_start_matches("./")), "{path} refers to {quoted}");
            }
            // The name space of the icon is no address.
            assert!(
                !text.replace("http://www.w3.org/2000/svg", "").contains("://"),
                "{path} refers to elsewhere"
            );
        }
        let (status, headers, _) = get("/webui/").await;
        assert_eq!(
            (status, &headers[header::LOCATION]),
            (StatusCode::PERMANENT_REDIRECT, &"../webui".parse().unwrap())
        );
    }

    #[tokio::test]
    async fn a_process_that_starts_says_what_it_waits_for() {
        let (status, _, body) = get("/webui/data").await;
        assert_eq!(
            (status, body.as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, r#"{"problem":"waiting for etcd"}"#)
        );
    }
}
