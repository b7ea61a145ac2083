//! Who is calling: the bearer token, verified against what auth streams.

use crate::{
    admit::Arrival,
    fault::{Component, Fault},
};
use accord_api::accord::fault::v1::Reason;
use accord_contract::Access;
use accord_mesh::MeshClient;
use accord_token::{Refusal, Verified};
use http::{HeaderMap, HeaderValue, header};
use std::sync::Arc;
use tonic::Code;

/// A caller, and the token that proves it.
pub(crate) struct Identity<'a> {
    /// What the token says.
    pub verified: Arc<Verified>,
    /// The token itself: auth decides by it.
    pub token: &'a str,
}

/// Verifies the caller's credential. None is needed for a public method; one that was sent must still be good, so that
/// nobody takes themselves for known who is not.
pub(crate) fn authenticate<'a>(
    mesh: &MeshClient,
    access: &Access,
    arrival: &'a Arrival,
) -> Result<Option<Identity<'a>>, Fault> {
    let Some(token) = bearer(&arrival.parts.headers)? else {
        return match access {
            Access::Public => Ok(None),
            _ => Err(challenge(missing("this method needs a credential: send `authorization: Bearer TOKEN`"))),
        };
    };
    let verified = mesh.verify(token).map_err(refusal)?;
    Ok(Some(Identity { verified, token }))
}

fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Fault> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let parts = value.to_str().ok().and_then(|text| text.split_once(' '));
    match parts {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() => Ok(Some(token)),
        _ => Err(challenge(missing("`authorization` must be `Bearer TOKEN`"))),
    }
}

fn missing(message: &str) -> Fault {
    Fault::new(Component::Gateway, Reason::CredentialMissing, message)
}

/// A refusal of the token as an answer of the gateway.
pub(crate) fn refusal(refusal: Refusal) -> Fault {
    let (reason, message) = (accord_mesh::refusal::reason(refusal), refusal.to_string());
    let fault = match refusal.retry_after() {
        Some(after) => Fault::retry(Component::Auth, reason, message, after),
        None => Fault::new(Component::Auth, reason, message),
    };
    if fault.status().code() == Code::Unauthenticated { challenge(fault) } else { fault }
}

/// RFC 6750 asks that a 401 names the scheme.
fn challenge(fault: Fault) -> Fault {
    fault.header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}
