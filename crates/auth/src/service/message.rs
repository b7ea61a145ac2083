//! The API's messages to and from the domain's types.

use std::time::Duration;

use accord_api::accord::{
    auth::v1::{
        AuditEntry, CheckRequest, CheckResponse, ContextAttribute, Device, ExchangeResponse, ExplainRequest,
        ExplainResponse, IntrospectResponse, IssueForResponse, IssueResponse, Key, PasswordGrant, Principal,
        RefreshResponse, RevokedToken, Session, ShadowDecision, StoreMark, SubjectEpoch, WatchRequest, WatchResponse,
        issue_for_request::Credential as CallersCredential, issue_request::Grant,
    },
    policy::v1::PrincipalKind,
};
use accord_token::{Claims, KeySet, Kind, PolicyReads, PublicKey, RevocationUpdate, Verified, verify};

use crate::{
    domain::{
        access::{AccessDecision, Explanation},
        client::ClientCredential,
        denial::Denial,
        device::shown,
        issue::SignedToken,
        login::{Credential, IssuedTokens, PersonProof},
        policy::{AccessQuestion, PolicyDecision},
        scope::Scope,
    },
    store::{
        audit::AuditEntry as StoredEntry,
        device_codes::{Decision, DeviceCode},
        families::Family,
        high_water::Mark,
        principals::Principal as Known,
    },
};

pub(super) fn credential(grant: Option<Grant>) -> Result<Credential, Denial> {
    match grant {
        Some(Grant::Password(PasswordGrant { name, password, totp_code })) => {
            Ok(Credential::Person(PersonProof { name, password, totp_code }))
        }
        Some(Grant::ClientCredentials(grant)) => {
            let credential = client_credential(grant.client_id, grant.client_secret, grant.client_assertion)?;
            Ok(Credential::Client { credential, scope: Scope::parse(&grant.scope)? })
        }
        Some(Grant::ApiKey(grant)) => Ok(Credential::ApiKey(grant.key)),
        Some(Grant::ForeignToken(grant)) => Ok(Credential::Foreign(grant.token)),
        None => Err(Denial::Field("grant", "must be given")),
    }
}

/// A secret or an assertion; who sends both leaves open which counts.
fn client_credential(id: String, secret: String, assertion: String) -> Result<ClientCredential, Denial> {
    match (secret.is_empty(), assertion.is_empty()) {
        (_, true) => Ok(ClientCredential::Secret { id, secret }),
        (true, false) => Ok(ClientCredential::Assertion { id: (!id.is_empty()).then_some(id), assertion }),
        (false, false) => Err(Denial::Field("client_assertion", "must not come beside a `client_secret`")),
    }
}

/// What somebody sent who calls by the gateway.
pub(super) fn callers(credential: Option<CallersCredential>) -> Result<Credential, Denial> {
    match credential {
        Some(CallersCredential::ApiKey(grant)) => Ok(Credential::ApiKey(grant.key)),
        Some(CallersCredential::Certificate(grant)) => Ok(Credential::Certificate(grant.identity)),
        None => Err(Denial::Field("credential", "must be given")),
    }
}

pub(super) fn issued_for(tokens: IssuedTokens) -> IssueForResponse {
    IssueForResponse { access_token: tokens.access.token, expires_in: duration(tokens.access.life) }
}

pub(super) fn issued(tokens: IssuedTokens) -> IssueResponse {
    IssueResponse {
        access_token: tokens.access.token,
        expires_in: duration(tokens.access.life),
        refresh_token: tokens.refresh.unwrap_or_default(),
    }
}

pub(super) fn refreshed(tokens: IssuedTokens) -> RefreshResponse {
    RefreshResponse {
        access_token: tokens.access.token,
        expires_in: duration(tokens.access.life),
        refresh_token: tokens.refresh.unwrap_or_default(),
    }
}

pub(super) fn exchanged(passport: SignedToken) -> ExchangeResponse {
    ExchangeResponse { passport: passport.token, expires_in: duration(passport.life) }
}

/// None: the token is not good now.
pub(super) fn introspected(token: Option<Verified>) -> IntrospectResponse {
    let Some(Verified { claims, .. }) = token else { return IntrospectResponse::default() };
    IntrospectResponse {
        active: true,
        expire_time: Some(seconds(claims.exp)),
        audience: claims.aud.clone(),
        scope: claims.scope.clone().unwrap_or_default(),
        principal: Some(principal(claims)),
    }
}

/// A field that was filled in.
pub(super) fn given(field: &str) -> Option<&str> {
    (!field.is_empty()).then_some(field)
}

/// What is asked, before it is known through whose hands the request came.
pub(super) fn check_question(request: &CheckRequest) -> AccessQuestion<'_> {
    AccessQuestion {
        permission: &request.permission,
        upstream: &request.audience,
        method: &request.method,
        resource: &request.resource,
        address: request.address.parse().ok(),
        protocol: &request.protocol,
        ..AccessQuestion::default()
    }
}

pub(super) fn explain_question(request: &ExplainRequest) -> AccessQuestion<'_> {
    AccessQuestion {
        permission: &request.permission,
        upstream: &request.audience,
        method: &request.method,
        resource: &request.resource,
        act: &request.act,
        address: request.address.parse().ok(),
        protocol: &request.protocol,
        now: verify::now(),
        ..AccessQuestion::default()
    }
}

pub(super) fn checked(decision: AccessDecision) -> CheckResponse {
    let (passport, passport_expires_in) =
        decision.passport.map_or((String::new(), None), |passport| (passport.token, duration(passport.life)));
    CheckResponse {
        allowed: decision.allowed,
        principal: Some(principal(decision.subject.claims)),
        passport,
        passport_expires_in,
        policy_hash: decision.policy_hash.to_string(),
        policies: decision.policies,
        relations_version: decision.relations_version,
    }
}

pub(super) fn explained(explanation: Explanation) -> ExplainResponse {
    let Explanation { decision, shadow, policy_hash, relations } = explanation;
    ExplainResponse {
        allowed: decision.allowed,
        policies: decision.policies,
        errors: decision.errors,
        policy_hash: policy_hash.to_string(),
        shadow: shadow.map(|PolicyDecision { allowed, policies, errors }| ShadowDecision { allowed, policies, errors }),
        relations,
    }
}

/// A device that asks to act for somebody, without what it asks with.
pub(super) fn device(code: DeviceCode) -> Device {
    Device {
        user_code: shown(&code.user_code),
        client_id: code.client,
        network: code.network,
        expire_time: Some(seconds(code.expires_at)),
        subject: code.subject,
        approved: code.decision == Decision::Approved,
    }
}

/// A moment as messages have it.
pub(super) fn seconds(seconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds, nanos: 0 }
}

/// A principal that is to be added.
pub(super) fn new_principal(principal: Principal) -> Result<Known, Denial> {
    let kind = match principal.kind() {
        PrincipalKind::User => Kind::User,
        PrincipalKind::Service => Kind::Service,
        PrincipalKind::Unspecified => return Err(Denial::Field("principal.kind", "must be given")),
    };
    Ok(Known::new(principal.subject, kind, principal.tenant, principal.roles))
}

/// A principal as the store has it.
pub(super) fn known_principal(principal: Known) -> Principal {
    let Known { subject, kind, tenant, roles, .. } = principal;
    Principal { subject, kind: wire_kind(kind).into(), tenant, roles }
}

/// A login as administrators see it.
pub(super) fn session(family: Family) -> Session {
    Session {
        session: family.id,
        renewed: (family.rotated_at > 0).then(|| seconds(family.rotated_at / 1000)),
        expire_time: Some(seconds(family.expires_at)),
    }
}

/// An entry of the audit log.
pub(super) fn audit_entry(entry: StoredEntry) -> AuditEntry {
    let StoredEntry { seq, at, actor, action, target, previous, hash } = entry;
    AuditEntry { seq, time: Some(seconds(at)), actor, action, target, previous, hash }
}

fn wire_kind(kind: Kind) -> PrincipalKind {
    match kind {
        Kind::User => PrincipalKind::User,
        Kind::Service => PrincipalKind::Service,
    }
}

/// How far a verifier has seen the store come.
pub(super) fn seen(question: &WatchRequest) -> Option<Mark> {
    let StoreMark { store, revision, global_epoch } = *question.seen.as_ref()?;
    Some(Mark { store, revision, global_epoch })
}

/// The answer to this question of a verifier.
pub(super) fn update(update: RevocationUpdate, question: u64) -> WatchResponse {
    let subjects =
        update.subjects.into_iter().map(|(subject, epoch)| SubjectEpoch { subject: subject.to_string(), epoch });
    let tokens = update.tokens.into_iter().map(|(jti, expires_at)| RevokedToken { jti: jti.to_string(), expires_at });
    WatchResponse {
        question,
        store: update.store,
        revision: update.revision,
        full: update.full,
        keys: update.keys.iter().flat_map(KeySet::iter).map(key).collect(),
        subjects: subjects.collect(),
        tokens: tokens.collect(),
        global_epoch: update.global_epoch,
        policy_hash: update.policy_hash.to_string(),
        policy_reads: attributes(update.policy_reads),
        relations_version: update.relations_version,
    }
}

fn attributes(reads: PolicyReads) -> Vec<i32> {
    let all = [
        (reads.address, ContextAttribute::Address),
        (reads.protocol, ContextAttribute::Protocol),
        (reads.time, ContextAttribute::Time),
    ];
    all.into_iter().filter(|(is_read, _)| *is_read).map(|(_, attribute)| attribute.into()).collect()
}

/// A public key as it is published.
pub(super) fn key(key: &PublicKey) -> Key {
    Key { kid: key.kid.clone(), alg: key.algorithm.name().to_owned(), public_key: key.bytes.clone() }
}

fn principal(claims: Claims) -> Principal {
    Principal { subject: claims.sub, kind: wire_kind(claims.kind).into(), tenant: claims.tenant, roles: claims.roles }
}

fn duration(life: Duration) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(life).ok()
}
