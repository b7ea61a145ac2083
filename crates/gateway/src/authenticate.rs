//! Who is calling: the bearer token, verified against what auth streams; between services also for whom, by the passport.

use crate::{
    admit::{Arrival, ListenerKind},
    fault::{Component, Fault},
};
use accord_api::accord::fault::v1::Reason;
use accord_contract::Access;
use accord_mesh::MeshClient;
use accord_runtime::fair_share::Holder;
use accord_token::{InvalidTokenReason, Kind, Refusal, Verified};
use http::{HeaderMap, HeaderValue, header};
use std::sync::Arc;
use tonic::Code;

/// A principal, and the token that proves it.
pub(crate) struct Identity<'a> {
    /// What the token says.
    pub verified: Arc<Verified>,
    /// The token itself: auth decides by it.
    pub token: &'a str,
    /// The service that calls for the principal, with its own token; then the principal's is a passport.
    pub actor: Option<(Arc<Verified>, &'a str)>,
}

/// By whom is held what is held for a call: a principal, and as long as nobody is known, an address. A service that calls for a
/// principal holds as that principal.
pub(crate) fn holder(arrival: &Arrival, identity: Option<&Identity<'_>>) -> Holder {
    match identity {
        Some(identity) => Holder::principal(&identity.verified.claims.sub, arrival.connection),
        None => Holder::address(arrival.address, arrival.connection),
    }
}

/// Verifies the caller's credential. None is needed for a public method at the public listener; one that was sent must be good, so
/// that nobody takes themselves for known who is not. By the internal listener only services come in.
pub(crate) fn authenticate<'a>(
    mesh: &MeshClient,
    access: &Access,
    arrival: &'a Arrival,
) -> Result<Option<Identity<'a>>, Fault> {
    let Some(token) = bearer(&arrival.parts.headers)? else {
        return match (access, arrival.listener) {
            (Access::Public, ListenerKind::Public) => Ok(None),
            (_, ListenerKind::Internal) => Err(challenge(missing(
                "services alone are served here, by their access tokens: send `authorization: Bearer TOKEN`",
            ))),
            (_, ListenerKind::Public) => {
                Err(challenge(missing("this method needs a credential: send `authorization: Bearer TOKEN`")))
            }
        };
    };
    let verified = mesh.verify(token).map_err(refusal)?;
    match arrival.listener {
        ListenerKind::Public => from_outside(verified, token, arrival.passport.is_some()).map(Some),
        ListenerKind::Internal => between_services(mesh, verified, token, arrival.passport.as_ref()).map(Some),
    }
}

/// A person, or a service that calls for itself. One that brings its caller's passport meant the internal listener: were the
/// passport left out here, the service would act with rights of its own (a confused deputy).
fn from_outside(verified: Arc<Verified>, token: &str, has_passport: bool) -> Result<Identity<'_>, Fault> {
    if has_passport && verified.claims.kind == Kind::Service {
        let message = "this is the public listener, which accepts no passport: a service calls its neighbours by the \
                       gateway's internal listener";
        return Err(challenge(Fault::new(Component::Gateway, Reason::PassportInvalid, message)));
    }
    Ok(Identity { verified, token, actor: None })
}

/// A service that calls its neighbour: for the principal of the passport that it was called with, else for itself. The name of
/// a service is its client's id, so that its own passports are those for the audience of that name.
fn between_services<'a>(
    mesh: &MeshClient,
    caller: Arc<Verified>,
    token: &'a str,
    passport: Option<&'a HeaderValue>,
) -> Result<Identity<'a>, Fault> {
    if caller.claims.kind != Kind::Service {
        let message = "services alone are served here; persons call the gateway's public listener";
        return Err(Fault::new(Component::Gateway, Reason::PrincipalKindRefused, message));
    }
    let Some(passport) = passport else { return Ok(Identity { verified: caller, token, actor: None }) };
    // What is no text is no token either.
    let passport = passport.to_str().unwrap_or_default();
    let verified = mesh.verify_passport(passport, &caller.claims.sub);
    let verified = verified.map_err(|refused| passport_refusal(refused, mesh.passport_audience(passport), &caller))?;
    Ok(Identity { verified, token: passport, actor: Some((caller, token)) })
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

/// A refusal of the passport, so that nobody takes it for one of the token beside it. The ends of both are said alike.
fn passport_refusal(refused: Refusal, audience: Option<String>, caller: &Verified) -> Fault {
    let Refusal::Invalid(why) = refused else { return refusal(refused) };
    let message = match (why, audience) {
        (InvalidTokenReason::Audience, Some(audience)) => format!(
            "the passport was made for `{audience}`, and the access token is that of `{}`: a service logs in under the name \
             of its [[upstream]], and sends the passport that it was called with",
            caller.claims.sub
        ),
        _ => format!("the passport does not verify: {why}; send the one that this service was called with"),
    };
    challenge(Fault::new(Component::Auth, Reason::PassportInvalid, message))
}

/// RFC 6750 asks that a 401 names the scheme.
fn challenge(fault: Fault) -> Fault {
    fault.header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}
