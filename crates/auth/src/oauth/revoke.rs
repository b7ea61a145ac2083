//! `/oauth2/revoke`: ends a token (RFC 7009). Its holder may, whoever that is; a client that authenticates has to do it rightly.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use serde_json::{Value, json};

use super::{REVOKE, client, finish, form::Form, problem::Problem};
use crate::domain::{auth::Auth, denial::Denial, revocation::RevocationOrder};

/// Ends a token. What it is of does not matter: `token_type_hint` is not looked at (section 2.1).
pub(super) async fn answer(State(auth): State<Arc<Auth>>, request: Request) -> Response {
    let outcome = revoke(&auth, request).await;
    finish(&auth, REVOKE, outcome)
}

async fn revoke(auth: &Auth, request: Request) -> Result<Value, Problem> {
    let (head, form) = Form::read(request).await?;
    let credential = client::credential(&head.headers, &form)?;
    if credential.is_some() {
        client::authenticated(auth, credential).await?;
    }
    let order = RevocationOrder::Token(form.required("token")?.to_owned());
    match auth.revoke(order).await {
        Ok(_) => Ok(json!({})),
        Err(Denial::Field("token", why)) => Err(Problem::bad("unsupported_token_type", format!("the token {why}"))),
        Err(denial) => Err(Problem::of_grant(denial)),
    }
}
