//! Who is calling: the bearer token, verified against what auth streams, or the API key or the client's certificate, for which auth gives
//! a token; between services also for whom, by the passport.
//!
//! What a call brings itself is stronger than the certificate of its connection, by which many callers may come.

use crate::{
    admit::{Arrival, CallerCertificate, ListenerKind},
    concurrency_limit::ConcurrencyLimit,
    fault::{Component, Fault},
    forgery_limit::ForgeryLimiter,
    metadata::API_KEY,
};
use accord_api::accord::fault::v1::Reason;
use accord_contract::{Access, Policy};
use accord_mesh::{API_KEY_PREFIX, CallerCredential, CallerToken, CredentialRefusal, MeshClient};
use accord_runtime::{deadline::Deadline, fair_share::Holder};
use accord_token::{InvalidTokenReason, Kind, Refusal, Verified};
use http::{HeaderMap, HeaderValue, header};
use std::sync::Arc;
use tonic::Code;

/// What a caller proves itself with.
enum Credential<'a> {
    Token(&'a str),
    ApiKey(&'a str),
}

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

/// The token in the place of an API key or a certificate; None where the caller brings neither. Auth is asked for it while nobody is
/// known yet: the caller has an in-flight slot as its address for that time.
pub(crate) async fn exchanged_token(
    mesh: &MeshClient,
    slots: &ConcurrencyLimit,
    policy: &Policy,
    arrival: &Arrival,
    deadline: Deadline,
) -> Result<Option<CallerToken>, Fault> {
    let shown = match (credential(&arrival.parts.headers)?, &arrival.certificate) {
        (Some(Credential::ApiKey(key)), _) => CallerCredential::ApiKey(key),
        (None, CallerCertificate::Of(identity)) => CallerCredential::Certificate(identity),
        _ => return Ok(None),
    };
    let _slot = slots.acquire(arrival.criticality(policy.criticality), holder(arrival, None))?;
    // Apart, since most calls bring a token: each would carry the room that this takes.
    match Box::pin(mesh.token_for(shown, arrival.address, deadline, &arrival.id)).await {
        Ok(token) => Ok(Some(token)),
        Err(CredentialRefusal::NotAccepted | CredentialRefusal::Throttled(_))
            if matches!(shown, CallerCredential::Certificate(_)) && is_open(&policy.access, arrival) =>
        {
            Ok(None)
        }
        Err(refused) => Err(exchange_refusal(shown, refused)),
    }
}

/// Whether a call needs no credential.
fn is_open(access: &Access, arrival: &Arrival) -> bool {
    *access == Access::Public && arrival.listener == ListenerKind::Public
}

/// Verifies the caller's credential. None is needed for a public method at the public listener; one that was sent must be good, so
/// that nobody takes themselves for known who is not. A certificate is none that was sent: the client shows it to every server of its
/// authority, with every call. By the internal listener only services come in.
pub(crate) fn authenticate<'a>(
    mesh: &MeshClient,
    forgeries: &ForgeryLimiter,
    access: &Access,
    arrival: &'a Arrival,
    exchanged: Option<&'a CallerToken>,
) -> Result<Option<Identity<'a>>, Fault> {
    let (verified, token) = match (exchanged, credential(&arrival.parts.headers)?) {
        (Some(exchanged), _) => (Arc::clone(&exchanged.verified), &*exchanged.token),
        (None, Some(Credential::Token(token))) => {
            (mesh.verify_within(token, &forgeries.of(arrival.address)).map_err(refusal)?, token)
        }
        (None, Some(Credential::ApiKey(key))) => {
            return Err(exchange_refusal(CallerCredential::ApiKey(key), CredentialRefusal::NotAccepted));
        }
        (None, None) if is_open(access, arrival) => return Ok(None),
        (None, None) => return Err(challenge(without_credential(arrival))),
    };
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

/// The one credential of a call.
fn credential(headers: &HeaderMap) -> Result<Option<Credential<'_>>, Fault> {
    match (headers.get(header::AUTHORIZATION), headers.get(API_KEY)) {
        (None, None) => Ok(None),
        (Some(value), None) => bearer(value).map(Some),
        // What is no text is no key either.
        (None, Some(key)) => Ok(Some(Credential::ApiKey(key.to_str().unwrap_or_default()))),
        // Two readers could take the caller for two.
        (Some(_), Some(_)) => {
            let message = "`authorization` and `x-api-key` came both; send the one by which you call";
            Err(Fault::new(Component::Gateway, Reason::HeaderRefused, message))
        }
    }
}

fn bearer(value: &HeaderValue) -> Result<Credential<'_>, Fault> {
    let parts = value.to_str().ok().and_then(|text| text.split_once(' '));
    match parts {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() => {
            Ok(if token.starts_with(API_KEY_PREFIX) { Credential::ApiKey(token) } else { Credential::Token(token) })
        }
        _ => Err(challenge(missing("`authorization` must be `Bearer TOKEN`"))),
    }
}

/// The refusal of a call that brings no credential, and has none by its connection.
fn without_credential(arrival: &Arrival) -> Fault {
    match (&arrival.certificate, arrival.listener) {
        (CallerCertificate::Unusable(why), _) => {
            let message = format!("the client's certificate does not say who calls: {why}; or send a token");
            Fault::new(Component::Gateway, Reason::CredentialInvalid, message)
        }
        (CallerCertificate::ForeignPage, _) => missing(
            "a browser's certificate does not count for pages of other origins: send `authorization: Bearer TOKEN`, or allow the \
             origin in `cors` with `credentials`",
        ),
        (_, ListenerKind::Internal) => {
            missing("services alone are served here, by their access tokens: send `authorization: Bearer TOKEN`")
        }
        (_, ListenerKind::Public) => missing("this method needs a credential: send `authorization: Bearer TOKEN`"),
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

/// A refusal of the API key or the certificate as an answer of the gateway.
fn exchange_refusal(shown: CallerCredential<'_>, refused: CredentialRefusal) -> Fault {
    let (not_accepted, throttled) = match shown {
        CallerCredential::ApiKey(_) => (
            "the API key is not accepted: it is not one of auth's, or is disabled or over; `accord-auth api-key list` shows those that are",
            "too many wrong API keys came from this address; try again later",
        ),
        CallerCredential::Certificate(_) => (
            "the identity of the client's certificate is not accepted: it is not one of auth's, or is disabled; `accord-auth \
             certificate-identity list` shows those that are",
            "too many certificates that are nobody's came from this address; try again later",
        ),
    };
    match refused {
        CredentialRefusal::NotAccepted => {
            challenge(Fault::new(Component::Auth, Reason::CredentialInvalid, not_accepted))
        }
        CredentialRefusal::Throttled(wait) => Fault::retry(Component::Auth, Reason::LoginThrottled, throttled, wait),
        CredentialRefusal::Token(refused) => refusal(refused),
    }
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
