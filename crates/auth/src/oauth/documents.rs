//! What everybody may know: the keys that sign, and where the endpoints are.

use std::{sync::Arc, time::Duration};

use accord_token::claims::LEEWAY;
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::{Value, json};

use super::{DEVICE_AUTHORIZATION, INTROSPECT, KEYS, METADATA, REVOKE, TOKEN, finish, problem::Problem, token::grants};
use crate::domain::auth::Auth;

/// How long metadata may be kept: it changes with the configuration alone.
const METADATA_LIFE: Duration = Duration::from_hours(1);

/// How clients may authenticate.
const METHODS: [&str; 3] = ["client_secret_basic", "client_secret_post", "private_key_jwt"];

/// What clients sign their assertions with.
const ALGORITHMS: [&str; 2] = ["EdDSA", "ES256"];

/// The published keys. Kept for no longer than a new one is published before it signs, less what clocks may differ by.
pub(super) async fn keys(State(auth): State<Arc<Auth>>) -> Response {
    let state = match auth.state.current().await {
        Ok(state) => state,
        Err(error) => return finish(&auth, KEYS, Err(Problem::of_grant(error.into()))),
    };
    auth.metrics.oauth(KEYS, "none");
    let keys: Vec<Value> = state.published.iter().map(accord_token::PublicKey::to_jwk).collect();
    let life = auth.keys.publish_before_signing.saturating_sub(LEEWAY);
    document(json!({"keys": keys}), life, "application/jwk-set+json")
}

/// The endpoints (RFC 8414).
pub(super) async fn metadata(State(auth): State<Arc<Auth>>) -> Response {
    let issuer = &auth.tokens.issuer;
    let at = |path: &str| auth.url(path);
    let mut document_of = json!({
        "issuer": issuer,
        "token_endpoint": at(TOKEN),
        "introspection_endpoint": at(INTROSPECT),
        "revocation_endpoint": at(REVOKE),
        "jwks_uri": at(KEYS),
        "grant_types_supported": grants(&auth),
        // Nobody is sent here with a browser.
        "response_types_supported": [],
        "token_endpoint_auth_methods_supported": METHODS,
        "introspection_endpoint_auth_methods_supported": METHODS,
        "revocation_endpoint_auth_methods_supported": [METHODS[0], METHODS[1], METHODS[2], "none"],
        "token_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
        "introspection_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
        "revocation_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
    });
    if !auth.oauth.device.clients.is_empty() {
        document_of["device_authorization_endpoint"] = at(DEVICE_AUTHORIZATION).into();
    }
    auth.metrics.oauth(METADATA, "none");
    document(document_of, METADATA_LIFE, "application/json")
}

fn document(document: Value, life: Duration, content_type: &'static str) -> Response {
    let mut headers: HeaderMap<HeaderValue> = HeaderMap::new();
    let mut insert = |name: HeaderName, value: String| {
        if let Ok(value) = value.parse() {
            headers.insert(name, value);
        }
    };
    insert(header::CACHE_CONTROL, format!("public, max-age={}", life.as_secs()));
    insert(header::CONTENT_TYPE, content_type.to_owned());
    (headers, Json(document)).into_response()
}
