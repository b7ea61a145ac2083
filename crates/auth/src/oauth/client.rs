//! How a client says who it is: `client_secret_basic` or `client_secret_post` (RFC 6749, section 2.3.1), or `private_key_jwt`
//! (RFC 7523, section 2.2), never two ways at once.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, header};

use super::{form::Form, problem::Problem};
use crate::{
    domain::{auth::Auth, client::ClientCredential, denial::Denial},
    store::principals::Principal,
};

/// How a client shows an assertion (RFC 7523, section 2.2).
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What a caller authenticates with.
pub(super) enum Credential {
    /// A client's own.
    Client(ClientCredential),
    /// An access token (RFC 6750).
    Bearer(String),
}

/// What the request authenticates with; None where it does not, or names itself alone (`client_id`), as public clients do.
pub(super) fn credential(headers: &HeaderMap, form: &Form) -> Result<Option<Credential>, Problem> {
    let mut shown = headers.get_all(header::AUTHORIZATION).iter();
    let (header, second) = (shown.next(), shown.next());
    let (posted, assertion) = (form.get("client_secret"), assertion(form)?);
    if second.is_some()
        || [header.is_some(), posted.is_some(), assertion.is_some()].iter().filter(|is| **is).count() > 1
    {
        return Err(Problem::invalid_request("the client authenticates in more than one way"));
    }
    if let Some(header) = header {
        let credential = in_header(header)?;
        return match (&credential, form.get("client_id")) {
            (Credential::Client(ClientCredential::Secret { id, .. }), Some(named)) if id != named => {
                Err(Problem::invalid_request("`client_id` names another client than `authorization`"))
            }
            _ => Ok(Some(credential)),
        };
    }
    if let Some(assertion) = assertion {
        let (id, assertion) = (form.get("client_id").map(str::to_owned), assertion.to_owned());
        return Ok(Some(Credential::Client(ClientCredential::Assertion { id, assertion })));
    }
    let Some(secret) = posted else { return Ok(None) };
    let (id, secret) = (form.required("client_id")?.to_owned(), secret.to_owned());
    Ok(Some(Credential::Client(ClientCredential::Secret { id, secret })))
}

/// An assertion and its type: both or neither.
fn assertion(form: &Form) -> Result<Option<&str>, Problem> {
    match (form.get("client_assertion"), form.get("client_assertion_type")) {
        (None, None) => Ok(None),
        (Some(assertion), Some(JWT_BEARER)) => Ok(Some(assertion)),
        (Some(_), _) => Err(Problem::invalid_request(format!("`client_assertion_type` must be {JWT_BEARER}"))),
        (None, Some(_)) => Err(Problem::invalid_request("`client_assertion` is missing")),
    }
}

/// The client that the request authenticates as.
pub(super) async fn authenticated(auth: &Auth, credential: Option<Credential>) -> Result<Principal, Problem> {
    auth.client(&required(credential)?).await.map_err(Problem::of_client)
}

/// A client's credential, without which nothing can be done.
pub(super) fn required(credential: Option<Credential>) -> Result<ClientCredential, Problem> {
    match credential {
        Some(Credential::Client(credential)) => Ok(credential),
        Some(Credential::Bearer(_)) | None => Err(Problem::invalid_client("a client has to authenticate here")),
    }
}

/// Whether the client has the permission that the gRPC method of the same effect asks for.
pub(super) async fn authorize(auth: &Auth, client: &Principal, permission: &str, method: &str) -> Result<(), Problem> {
    let authorized = auth.authorize_client(client, permission, method).await;
    authorized.map_err(|refused| Problem::of_grant(Denial::Caller(refused)))
}

fn in_header(value: &HeaderValue) -> Result<Credential, Problem> {
    let text = value.to_str().unwrap_or_default();
    let (scheme, rest) = text.split_once(' ').unwrap_or_default();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Credential::Bearer(rest.to_owned()));
    }
    let malformed = || Problem::invalid_client("`authorization` must be `Basic`, with the client's id and secret");
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(malformed());
    }
    let pair =
        STANDARD.decode(rest.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(malformed)?;
    let (id, secret) = pair.split_once(':').ok_or_else(malformed)?;
    Ok(Credential::Client(ClientCredential::Secret { id: decoded(id), secret: decoded(secret) }))
}

/// Both halves are form-encoded before they are joined (RFC 6749, section 2.3.1). What could not come from that is taken as it
/// stands, since not every client does it.
fn decoded(half: &str) -> String {
    let is_encoded = half.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"*-._+%".contains(&byte));
    if !is_encoded {
        return half.to_owned();
    }
    let spaced = if half.contains('+') { Cow::Owned(half.replace('+', " ")) } else { Cow::Borrowed(half) };
    percent_encoding::percent_decode_str(&spaced).decode_utf8().map_or_else(|_| half.to_owned(), Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Form {
        Form::parse(text.as_bytes()).unwrap()
    }

    fn basic(pair: &str) -> HeaderMap {
        let value = format!("Basic {}", STANDARD.encode(pair)).parse().unwrap();
        [(header::AUTHORIZATION, value)].into_iter().collect()
    }

    fn pair(headers: &HeaderMap, text: &str) -> (String, String) {
        match credential(headers, &form(text)).unwrap() {
            Some(Credential::Client(ClientCredential::Secret { id, secret })) => (id, secret),
            _ => panic!("a client's secret"),
        }
    }

    #[test]
    fn secret_is_read_from_the_header_and_from_the_body() {
        let wanted = ("shop".to_owned(), "a secret".to_owned());
        for given in ["shop:a+secret", "shop:a%20secret", "shop:a secret"] {
            assert_eq!(pair(&basic(given), ""), wanted, "{given}");
        }
        assert_eq!(pair(&HeaderMap::new(), "client_id=shop&client_secret=a+secret"), wanted);
    }

    #[test]
    fn client_that_authenticates_in_two_ways_is_refused() {
        let problem = credential(&basic("shop:secret"), &form("client_id=shop&client_secret=secret")).err().unwrap();
        assert_eq!(problem.error, "invalid_request");
        let mut twice = basic("shop:secret");
        twice.append(header::AUTHORIZATION, HeaderValue::from_static("Bearer token"));
        assert_eq!(credential(&twice, &Form::default()).err().unwrap().error, "invalid_request");
    }

    #[test]
    fn client_that_names_another_one_is_refused() {
        assert_eq!(credential(&basic("shop:secret"), &form("client_id=mint")).err().unwrap().error, "invalid_request");
        assert_eq!(pair(&basic("shop:secret"), "client_id=shop").0, "shop");
    }

    #[test]
    fn authorization_that_is_no_pair_is_no_client() {
        for wrong in ["Basic ???", "Basic", "Digest abc", "Basic c2hvcA==", "Basic /w=="] {
            let headers = [(header::AUTHORIZATION, HeaderValue::from_static(wrong))].into_iter().collect();
            assert_eq!(credential(&headers, &Form::default()).err().unwrap().error, "invalid_client", "{wrong}");
        }
    }
}
