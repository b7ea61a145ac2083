//! `/oauth2/token`: a credential in, a token out.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    response::Response,
};
use serde_json::{Value, json};

use super::{
    TOKEN,
    client::{self, Credential},
    finish,
    form::Form,
    peer_address,
    problem::Problem,
};
use crate::domain::{
    api_key::is_key_id,
    auth::Auth,
    client::ClientCredential,
    issue::SignedToken,
    login::{self, IssuedTokens},
    scope::Scope,
};

/// RFC 8693, sections 2.1 and 3.
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// What the gRPC method asks for that does the same.
const EXCHANGE_PERMISSION: &str = "accord.auth.exchange";
const EXCHANGE_METHOD: &str = "accord.auth.v1.TokenService/Exchange";

/// RFC 8628, section 3.4.
const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// The grants, as metadata names them.
pub(super) fn grants(auth: &Auth) -> Vec<&'static str> {
    let device = (!auth.oauth.device.clients.is_empty()).then_some(DEVICE_CODE);
    ["client_credentials", "refresh_token", EXCHANGE].into_iter().chain(device).collect()
}

/// Answers a request for a token.
pub(super) async fn answer(State(auth): State<Arc<Auth>>, request: Request) -> Response {
    let outcome = grant(&auth, request).await;
    finish(&auth, TOKEN, outcome)
}

async fn grant(auth: &Auth, request: Request) -> Result<Value, Problem> {
    let address = peer_address(&request);
    let (head, form) = Form::read(request).await?;
    let credential = client::credential(&head.headers, &form)?;
    match form.required("grant_type")? {
        "client_credentials" => {
            let scope = Scope::parse(form.get("scope").unwrap_or_default()).map_err(Problem::of_grant)?;
            let credential = client::required(credential)?;
            if let ClientCredential::Secret { id, secret } = &credential
                && is_key_id(id)
            {
                // A wider token than was asked for would be a surprise.
                if scope.is_some() {
                    return Err(Problem::bad("invalid_scope", "an API key has its own scope, and no other"));
                }
                return api_key(auth, id, secret, address).await;
            }
            let granted = scope.as_ref().map(|scope| scope.as_str().to_owned());
            let login = login::Credential::Client { credential, scope };
            let tokens = auth.login(login, address).await.map_err(Problem::of_client)?;
            Ok(with_scope(bearer(tokens), granted))
        }
        "refresh_token" => refresh(auth, credential, &form).await,
        DEVICE_CODE => device(auth, credential, &form).await,
        EXCHANGE if is_foreign(auth, &form) => foreign(auth, credential, &form, address).await,
        EXCHANGE => exchange(auth, credential, &form).await,
        _ => Err(Problem::bad("unsupported_grant_type", "the metadata of this server names the grants that it has")),
    }
}

/// An API key, with its public part for the client's id. Libraries want two fields; the second may be the whole key.
async fn api_key(auth: &Auth, id: &str, secret: &str, address: IpAddr) -> Result<Value, Problem> {
    let key = if secret.starts_with(id) { secret.to_owned() } else { format!("{id}_{secret}") };
    let tokens = auth.login(login::Credential::ApiKey(key), address).await.map_err(Problem::of_client)?;
    let scope = tokens.access.scope.clone();
    Ok(with_scope(bearer(tokens), scope))
}

/// Refresh tokens are their persons', whatever client holds them: none has to authenticate, and one that does has to do it rightly.
async fn refresh(auth: &Auth, credential: Option<Credential>, form: &Form) -> Result<Value, Problem> {
    if credential.is_some() {
        client::authenticated(auth, credential).await?;
    }
    if form.get("scope").is_some() {
        return Err(Problem::bad("invalid_scope", "a refresh brings the scope of the login, and no other"));
    }
    let tokens = auth.refresh(form.required("refresh_token")?).await.map_err(Problem::of_grant)?;
    Ok(bearer(tokens))
}

/// What a device is given for a code that was approved. A client that authenticates beside it has to do it rightly.
async fn device(auth: &Auth, credential: Option<Credential>, form: &Form) -> Result<Value, Problem> {
    if credential.is_some() {
        client::authenticated(auth, credential).await?;
    }
    let tokens = auth.device_tokens(form.required("client_id")?, form.required("device_code")?).await;
    Ok(bearer(tokens.map_err(Problem::of_device)?))
}

/// Whether the token is somebody else's: nobody here issues ID tokens.
fn is_foreign(auth: &Auth, form: &Form) -> bool {
    let is_id_token = form.get("subject_token_type") == Some(ID_TOKEN);
    let token = form.get("subject_token").unwrap_or_default();
    !auth.issuers.is_empty() && (is_id_token || auth.is_foreign(token))
}

/// Access for whom another issuer vouches. The token is the credential, so that no client has to authenticate beside it.
async fn foreign(auth: &Auth, credential: Option<Credential>, form: &Form, address: IpAddr) -> Result<Value, Problem> {
    if credential.is_some() {
        client::authenticated(auth, credential).await?;
    }
    if form.get("audience").is_some_and(|audience| audience != auth.tokens.audience) || form.get("resource").is_some() {
        return Err(Problem::bad(
            "invalid_target",
            "the token of another issuer is exchanged for an access token alone",
        ));
    }
    if form.get("scope").is_some() {
        return Err(Problem::bad("invalid_scope", "the token of another issuer brings all that its subject may"));
    }
    if form.get("actor_token").is_some() {
        return Err(Problem::invalid_request("nobody acts for a subject of another issuer"));
    }
    if form.get("requested_token_type").is_some_and(|wanted| ![ACCESS_TOKEN, JWT].contains(&wanted)) {
        return Err(Problem::invalid_request("what is issued is an access token: leave `requested_token_type` out"));
    }
    if !matches!(form.get("subject_token_type"), Some(ID_TOKEN | ACCESS_TOKEN | JWT)) {
        return Err(Problem::invalid_request(format!(
            "`subject_token_type` must be {ID_TOKEN}, {ACCESS_TOKEN} or {JWT}"
        )));
    }
    let token = form.required("subject_token")?.to_owned();
    let tokens = auth.login(login::Credential::Foreign(token), address).await.map_err(Problem::of_foreign)?;
    let mut answer = bearer(tokens);
    answer["issued_token_type"] = ACCESS_TOKEN.into();
    Ok(answer)
}

/// A passport for a token, as the gRPC method brings it.
async fn exchange(auth: &Auth, credential: Option<Credential>, form: &Form) -> Result<Value, Problem> {
    let client = client::authenticated(auth, credential).await?;
    client::authorize(auth, &client, EXCHANGE_PERMISSION, EXCHANGE_METHOD).await?;
    let audience =
        form.get("audience").ok_or_else(|| Problem::bad("invalid_target", "`audience` names one service"))?;
    if form.get("scope").is_some() {
        return Err(Problem::bad("invalid_scope", "a passport has the scope of the token that it is made from"));
    }
    if form.get("resource").is_some() {
        return Err(Problem::bad("invalid_target", "the target is named as `audience`, and not as `resource`"));
    }
    if form.get("requested_token_type").is_some_and(|wanted| wanted != JWT) {
        return Err(Problem::invalid_request("what is issued is a JWT: leave `requested_token_type` out"));
    }
    let subject = token(form, "subject_token", "subject_token_type")?;
    let subject = subject.ok_or_else(|| Problem::invalid_request("`subject_token` is missing"))?;
    let actor = token(form, "actor_token", "actor_token_type")?;
    let state = auth.state.current().await.map_err(|error| Problem::of_grant(error.into()))?;
    let passport = auth.exchange(subject, actor, audience, &client.subject, &state).map_err(Problem::of_grant)?;
    // No token for whoever bears it (section 2.2.1): it goes inward in a header of its own.
    let SignedToken { token, life, .. } = passport;
    Ok(json!({"access_token": token, "issued_token_type": JWT, "token_type": "N_A", "expires_in": life.as_secs()}))
}

/// A token and its type: both or neither.
fn token<'a>(form: &'a Form, name: &'static str, type_name: &'static str) -> Result<Option<&'a str>, Problem> {
    match (form.get(name), form.get(type_name)) {
        (None, None) => Ok(None),
        (Some(token), Some(ACCESS_TOKEN | JWT)) => Ok(Some(token)),
        (Some(_), _) => Err(Problem::invalid_request(format!("`{type_name}` must be {ACCESS_TOKEN} or {JWT}"))),
        (None, Some(_)) => Err(Problem::invalid_request(format!("`{name}` is missing"))),
    }
}

fn bearer(tokens: IssuedTokens) -> Value {
    let SignedToken { token, life, .. } = tokens.access;
    let mut answer = json!({"access_token": token, "token_type": "Bearer", "expires_in": life.as_secs()});
    if let Some(refresh) = tokens.refresh {
        answer["refresh_token"] = refresh.into();
    }
    answer
}

fn with_scope(mut answer: Value, scope: Option<String>) -> Value {
    if let Some(scope) = scope {
        answer["scope"] = scope.into();
    }
    answer
}
