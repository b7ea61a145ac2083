//! Each step of a request, on the real binaries: deadlines, retries, rate limits, idempotency, caching, invalidation.

mod access;
mod access_log;
mod administration;
mod authenticate;
mod api_keys;
mod authorize;
mod object_access;
mod bounds;
mod cardinality;
mod command_line;
mod exemplars;
mod read_through;
mod near;
mod consistency_tokens;
mod etag;
mod idempotency_claims;
mod idempotency_records;
mod deadline;
mod declared_metrics;
mod drain;
mod scripted_upstream;
mod cancellation;
mod gateway_restart;
mod headers;
mod inspect;
mod internal_calls;
mod invalidate;
mod json_options;
mod idempotency;
mod namespaces;
mod namespace_origin;
mod openapi;
mod orders;
mod protocols;
mod rate_limit;
mod message;
mod concurrency_limit;
mod compression;
mod configure;
mod console;
mod kubernetes;
mod load;
mod tls;
mod certificates;
mod client_certificates;
mod mutual_tls;
mod devices;
mod secrets;
mod shadow_policies;
mod signing_keys;
mod cors;
mod explain_call;
mod fair_shares;
mod overload;
mod reload;
mod relay;
mod refusals;
mod retry;
mod stream;
mod upload;
mod upstreams;
mod validate;
mod versions;
mod slow_readers;
mod errors;
mod request;
mod websocket;
mod workload_api;
mod every_protocol;
mod json_trailers;
mod wire;

use accord_fabric::{EDITOR, Fabric, http::HttpResponse};
use anyhow::Result;
use http::Method;
use serde_json::{Value, json};

/// A product as a client would send it.
pub fn desk(title: &str) -> Value {
    json!({
        "id": "oak-desk",
        "title": title,
        "price": { "currency": "EUR", "minorUnits": "79900" },
        "availability": "AVAILABILITY_IN_STOCK",
        "keywords": ["oak", "desk"],
        "attributes": { "width": "160 cm" },
    })
}

/// Creates the product through the gateway, under the key `create`.
pub async fn create(fabric: &Fabric, title: &str) -> Result<HttpResponse> {
    let token = fabric.token(EDITOR).await?;
    let call = fabric.call(Method::POST, "/v1/products").token(&token).header("idempotency-key", "create");
    call.json(&desk(title)).send().await
}

/// The stable reason of an error answer, in the form of JSON or of Connect; empty where it has none.
pub fn reason(answer: &HttpResponse) -> String {
    let body = answer.json().unwrap_or_default();
    let details = body["details"].as_array().into_iter().flatten();
    let mut infos = details.filter_map(|detail| {
        let is_info = detail["@type"] == "type.googleapis.com/google.rpc.ErrorInfo";
        let of_connect = || (detail["type"] == "google.rpc.ErrorInfo").then(|| &detail["debug"]);
        if is_info { Some(detail) } else { of_connect() }
    });
    infos.next().and_then(|info| info["reason"].as_str()).unwrap_or_default().to_owned()
}
