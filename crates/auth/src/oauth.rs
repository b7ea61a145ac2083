//! OAuth 2 over HTTP, for whoever speaks no gRPC: the same operations as the gRPC services, as the RFCs spell them.
//!
//! A request's parameters come in its body alone, so that no log of a URL shows a secret. Nobody stores what is answered about
//! credentials (`Cache-Control: no-store`); keys and metadata are public.

mod form;
mod client;
mod problem;

// The endpoints.
mod token;
mod introspect;
mod revoke;
mod device;
mod documents;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use accord_runtime::server::Peer;
use axum::{
    Json, Router,
    extract::Request,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{HeaderValue, header};
use serde_json::Value;

use crate::domain::auth::{Auth, TOKEN_PATH};
use problem::Problem;

/// Tokens for credentials (RFC 6749, RFC 8693).
const TOKEN: &str = TOKEN_PATH;
/// What a token says (RFC 7662).
const INTROSPECT: &str = "/oauth2/introspect";
/// Ends a token (RFC 7009).
const REVOKE: &str = "/oauth2/revoke";
/// Codes for command lines (RFC 8628).
const DEVICE_AUTHORIZATION: &str = "/oauth2/device_authorization";
/// Where people approve them.
const DEVICE: &str = "/oauth2/device";
/// The keys that sign (RFC 7517).
const KEYS: &str = "/.well-known/jwks.json";
/// Where all of these are (RFC 8414).
const METADATA: &str = "/.well-known/oauth-authorization-server";

/// Every path that is served.
pub(crate) const PATHS: &[&str] = &[TOKEN, INTROSPECT, REVOKE, DEVICE_AUTHORIZATION, DEVICE, KEYS, METADATA];

/// The endpoints.
pub(crate) fn router(auth: &Arc<Auth>) -> Router {
    Router::new()
        .route(TOKEN, post(token::answer))
        .route(INTROSPECT, post(introspect::answer))
        .route(REVOKE, post(revoke::answer))
        .route(DEVICE_AUTHORIZATION, post(device::authorization))
        .route(DEVICE, get(device::page).post(device::decide))
        .route(KEYS, get(documents::keys))
        .route(METADATA, get(documents::metadata))
        .with_state(Arc::clone(auth))
}

/// Answers, and counts how it ended.
fn finish(auth: &Auth, endpoint: &'static str, outcome: Result<Value, Problem>) -> Response {
    auth.metrics.oauth(endpoint, outcome.as_ref().map_or_else(|problem| problem.error, |_| "none"));
    let mut response = outcome.map_or_else(IntoResponse::into_response, |answer| Json(answer).into_response());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn peer_address(request: &Request) -> IpAddr {
    request.extensions().get::<Peer>().map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.address.ip())
}
