//! `/oauth2/device_authorization`: a code for a command line (RFC 8628); and `/oauth2/device`, the page where its person approves it.
//!
//! The page keeps nothing in the browser. First its person proves who they are, and is shown who asks; then they decide, with a ticket
//! that stands in the page and is good once. There is no cookie that another site could make use of.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    extract::{Request, State},
    response::{Html, IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use serde_json::{Value, json};

use super::{
    DEVICE, DEVICE_AUTHORIZATION, client, finish,
    form::Form,
    peer_address,
    problem::{Problem, whole_seconds},
};
use crate::{
    domain::{
        auth::Auth,
        device::{self, DeviceError, DeviceRequest},
        login::PersonProof,
    },
    store::device_codes::DeviceCode,
};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:26em;margin:3em auto;padding:0 1em}\
    label{display:block;margin:1em 0}input{display:block;width:100%;font:inherit;padding:.4em;box-sizing:border-box}\
    button{font:inherit;padding:.4em 1.2em;margin-right:.6em}";

/// Where its forms go: to the page itself, under whatever path of `oauth.url` a proxy passes it on, and without the code of its address.
const ACTION: &str = "device";

/// What the page may load and send: its own style, and forms to where it came from. No other page may show it in a frame.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let style = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
});

/// Answers a client that asks for a code.
pub(super) async fn authorization(State(auth): State<Arc<Auth>>, request: Request) -> Response {
    let outcome = authorize(&auth, request).await;
    finish(&auth, DEVICE_AUTHORIZATION, outcome)
}

async fn authorize(auth: &Auth, request: Request) -> Result<Value, Problem> {
    if !is_served(auth) {
        return Err(Problem::of_device(DeviceError::Client));
    }
    let address = peer_address(&request);
    let (head, form) = Form::read(request).await?;
    let credential = client::credential(&head.headers, &form)?;
    if credential.is_some() {
        client::authenticated(auth, credential).await?;
    }
    if form.get("scope").is_some() {
        return Err(Problem::bad("invalid_scope", "a device gets all that its person may"));
    }
    let given = auth.authorize_device(form.required("client_id")?, address).await.map_err(Problem::of_device)?;
    let (page, user_code) = (auth.url(DEVICE), device::shown(&given.user_code));
    let config = &auth.oauth.device;
    Ok(json!({
        "device_code": given.device_code,
        "user_code": user_code,
        "verification_uri": page,
        "verification_uri_complete": format!("{page}?user_code={user_code}"),
        "expires_in": config.lifetime.as_secs(),
        "interval": whole_seconds(config.interval),
    }))
}

/// Whether anybody gets codes.
fn is_served(auth: &Auth) -> bool {
    !auth.oauth.device.clients.is_empty()
}

/// The page, with the code of its address where there is one.
pub(super) async fn page(State(auth): State<Arc<Auth>>, uri: Uri) -> Response {
    if !is_served(&auth) {
        return missing(&auth);
    }
    auth.metrics.oauth(DEVICE, "none");
    let query = uri.query().unwrap_or_default();
    let typed = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "user_code");
    let typed = typed.map(|(_, value)| value.into_owned()).unwrap_or_default();
    html(StatusCode::OK, &proof_form(&typed, ""))
}

/// Answers what somebody typed or decided on the page.
pub(super) async fn decide(State(auth): State<Arc<Auth>>, request: Request) -> Response {
    if !is_served(&auth) {
        return missing(&auth);
    }
    let address = peer_address(&request);
    let form = match Form::read(request).await {
        Ok((_, form)) => form,
        Err(problem) => return refused(&auth, &problem, ""),
    };
    let get = |name| form.get(name).unwrap_or_default();
    if let Some(ticket) = form.get("ticket") {
        return decided(&auth, ticket, get("decision") == "allow").await;
    }
    let typed = get("user_code");
    let [name, password, totp_code] = ["name", "password", "totp_code"].map(|name| get(name).to_owned());
    match auth.claim_device(typed, PersonProof { name, password, totp_code }, address).await {
        Ok(request) => {
            auth.metrics.oauth(DEVICE, "none");
            html(StatusCode::OK, &decision_form(&request))
        }
        Err(denial) => refused(&auth, &Problem::of_page(denial), typed),
    }
}

async fn decided(auth: &Auth, ticket: &str, approves: bool) -> Response {
    match auth.decide_device(ticket, approves).await {
        Ok(()) => {
            auth.metrics.oauth(DEVICE, "none");
            let said = if approves { "The device may act for you now." } else { "The device gets nothing." };
            html(StatusCode::OK, &format!("<p>{said} You can close this page.</p>"))
        }
        Err(denial) => refused(auth, &Problem::of_page(denial), ""),
    }
}

fn refused(auth: &Auth, problem: &Problem, typed: &str) -> Response {
    auth.metrics.oauth(DEVICE, problem.error);
    let mut response = html(problem.status(), &proof_form(typed, &problem.description));
    if let Some(wait) = problem.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, wait);
    }
    response
}

fn missing(auth: &Auth) -> Response {
    let problem = Problem::no_page();
    auth.metrics.oauth(DEVICE, problem.error);
    html(problem.status(), &format!("<p>{}</p>", problem.description))
}

fn proof_form(typed: &str, problem: &str) -> String {
    let problem =
        if problem.is_empty() { String::new() } else { format!("<p role=\"alert\">{}</p>", escaped(problem)) };
    format!(
        "{problem}<p>Type the code that your device shows, and log in.</p><form method=\"post\" action=\"{ACTION}\">\
         <label>Code <input name=\"user_code\" value=\"{}\" autocomplete=\"off\" autocapitalize=\"characters\" required></label>\
         <label>Name <input name=\"name\" autocomplete=\"username\" required></label>\
         <label>Password <input name=\"password\" type=\"password\" autocomplete=\"current-password\" required></label>\
         <label>Code of your app, where you have one <input name=\"totp_code\" inputmode=\"numeric\" autocomplete=\"one-time-code\">\
         </label><button>Go on</button></form>",
        escaped(typed)
    )
}

fn decision_form(request: &DeviceRequest) -> String {
    let DeviceRequest { code: DeviceCode { subject, user_code, client, network, .. }, ticket } = request;
    let shown = device::shown(user_code);
    let [person, shown, client, network, ticket] = [subject, &shown, client, network, ticket].map(|text| escaped(text));
    format!(
        "<p>You are logged in as <b>{person}</b>. <b>{client}</b> wants to act for you, with all that you may. \
         It asked from {network}.</p><p>Does your device show <b>{shown}</b>? Allow it only where it does, and where you have \
         started it yourself, just now.</p><form method=\"post\" action=\"{ACTION}\">\
         <input type=\"hidden\" name=\"ticket\" value=\"{ticket}\">\
         <button name=\"decision\" value=\"allow\">Allow</button><button name=\"decision\" value=\"deny\">Deny</button></form>"
    )
}

/// A text as HTML shows it.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

fn html(status: StatusCode, body: &str) -> Response {
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Log in on a device</title><style>{STYLE}</style><h1>Log in on a device</h1>{body}</html>"
    );
    let mut response = (status, Html(page)).into_response();
    let mut insert = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    };
    insert(header::CACHE_CONTROL, "no-store");
    insert(header::CONTENT_SECURITY_POLICY, &POLICY);
    insert(header::X_FRAME_OPTIONS, "DENY");
    insert(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    insert(header::REFERRER_POLICY, "no-referrer");
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_is_text_and_no_markup() {
        let form = proof_form("\"><script>alert(1)</script>", "<b>'&");
        assert!(!form.contains("<script>") && !form.contains("<b>"), "{form}");
        assert!(form.contains("&quot;&gt;&lt;script&gt;") && form.contains("&lt;b&gt;&#39;&amp;"), "{form}");
    }
}
