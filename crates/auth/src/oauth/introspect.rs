//! `/oauth2/introspect`: what a token says, and whether it is good now (RFC 7662), for programs alone.

use std::sync::Arc;

use accord_token::{Claims, Kind, Refusal};
use axum::{
    extract::{Request, State},
    response::Response,
};
use serde_json::{Value, json};

use super::{
    INTROSPECT,
    client::{self, Credential},
    finish,
    form::Form,
    problem::Problem,
};
use crate::domain::{auth::Auth, denial::Denial};

/// What the gRPC method asks for that does the same.
const PERMISSION: &str = "accord.auth.introspect";
const METHOD: &str = "accord.auth.v1.TokenService/Introspect";

/// Answers what a token says.
pub(super) async fn answer(State(auth): State<Arc<Auth>>, request: Request) -> Response {
    let outcome = introspect(&auth, request).await;
    finish(&auth, INTROSPECT, outcome)
}

async fn introspect(auth: &Auth, request: Request) -> Result<Value, Problem> {
    let (head, form) = Form::read(request).await?;
    match client::credential(&head.headers, &form)? {
        Some(Credential::Bearer(token)) => authorize_bearer(auth, &token).await?,
        credential => {
            let client = client::authenticated(auth, credential).await?;
            client::authorize(auth, &client, PERMISSION, METHOD).await?;
        }
    }
    let verified = auth.introspect(form.required("token")?).await.map_err(Problem::of_grant)?;
    Ok(verified.map_or_else(|| json!({"active": false}), |verified| active(&verified.claims)))
}

async fn authorize_bearer(auth: &Auth, token: &str) -> Result<(), Problem> {
    let state = auth.state.current().await.map_err(|error| Problem::of_grant(error.into()))?;
    let authorized = match auth.verify_access_token(token, &state) {
        Ok(caller) => auth.authorize(&caller, PERMISSION, METHOD).await,
        Err(refused) => Err(refused),
    };
    authorized.map_err(|refused| match refused {
        Refusal::PermissionMissing => Problem::insufficient_scope(),
        other => Problem::of_grant(Denial::Caller(other)),
    })
}

fn active(claims: &Claims) -> Value {
    let mut answer = json!({
        "active": true,
        "token_type": "Bearer",
        "iss": claims.iss,
        "sub": claims.sub,
        "aud": claims.aud,
        "exp": claims.exp,
        "iat": claims.iat,
        "nbf": claims.nbf,
        "jti": claims.jti,
        "kind": claims.kind,
        "roles": claims.roles,
    });
    let name = if claims.kind == Kind::User { "username" } else { "client_id" };
    answer[name] = claims.sub.clone().into();
    if !claims.tenant.is_empty() {
        answer["tenant"] = claims.tenant.clone().into();
    }
    if let Some(scope) = &claims.scope {
        answer["scope"] = scope.clone().into();
    }
    answer
}
