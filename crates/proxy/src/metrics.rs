//! How many requests does the proxy answer, and how fast? Under Milvus's metric names.

use std::time::Duration;

/// Requests by function and status (`total`, `success`, `fail`).
const COUNT: &str = "milvus_proxy_req_count";
/// Milliseconds from receiving a request to answering it, by function.
const LATENCY: &str = "milvus_proxy_req_latency";

/// Counts a request that came in.
pub(crate) fn received(function: &'static str) {
    metrics::counter!(COUNT, "function_name" => function, "status" => "total").increment(1);
}

/// Counts a request that was answered.
pub(crate) fn answered(function: &'static str, succeeded: bool, elapsed: Duration) {
    let status = if succeeded { "success" } else { "fail" };
    metrics::counter!(COUNT, "function_name" => function, "status" => status).increment(1);
    metrics::histogram!(LATENCY, "function_name" => function).record(elapsed.as_secs_f64() * 1000.0);
}
