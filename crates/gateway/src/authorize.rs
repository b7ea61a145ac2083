//! May this caller do that: the decision of auth, as the only type that later steps accept.

use crate::{
    admit::{Arrival, ListenerKind},
    authenticate::{Identity, refusal},
    fault::{Component, Fault},
    table::MethodEntry,
};
use accord_api::accord::fault::v1::Reason;
use accord_contract::Access;
use accord_mesh::{
    ActorToken, Decision, MeshClient, Question,
    guard::principal_kind,
    refusal::{permission_missing, permission_missing_on_object, reason},
};
use accord_runtime::deadline::Deadline;
use accord_token::{Kind, Refusal, Verified, refusal::actor_chain_too_long};
use http::HeaderValue;
use std::{net::IpAddr, sync::Arc};

/// The proof that a call may go on. Only [`authorize`] makes one; limits, cache keys and the call to the upstream derive from it.
pub(crate) struct Permit {
    entry: Arc<MethodEntry>,
    decision: Option<Arc<Decision>>,
    credentials: [Option<Arc<Verified>>; 2],
    address: IpAddr,
}

impl Permit {
    /// The called method.
    pub(crate) fn entry(&self) -> &Arc<MethodEntry> {
        &self.entry
    }

    /// Where the call came from.
    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }

    /// Whose call it is; none for an anonymous one.
    pub(crate) fn subject(&self) -> Option<&Arc<str>> {
        self.decision.as_ref().map(|decision| &decision.subject)
    }

    /// The caller's tenant, empty where there is only one; none for an anonymous one.
    pub(crate) fn tenant(&self) -> Option<&Arc<str>> {
        self.decision.as_ref().map(|decision| &decision.tenant)
    }

    /// The caller's roles, as the token says them by which the call was let in; none for an anonymous one. A change of them ends the
    /// token.
    pub(crate) fn roles(&self) -> &[String] {
        self.credentials[0].as_ref().map_or(&[], |verified| &verified.claims.roles)
    }

    /// The tokens by which the call was let in: its principal's, and that of a service that calls for it.
    pub(crate) fn credentials(&self) -> impl Iterator<Item = &Arc<Verified>> {
        self.credentials.iter().flatten()
    }

    /// The policies by which the call was let in, by id; none where no permission was needed.
    pub(crate) fn policies(&self) -> &[String] {
        self.decision.as_ref().map_or(&[], |decision| &decision.policies)
    }

    /// The passport for the call to the upstream; none for an anonymous call.
    pub(crate) fn passport(&self) -> Option<&HeaderValue> {
        self.decision.as_ref()?.passport.as_ref()
    }
}

/// Asks auth, whose answers are remembered for as long as they hold: about the object of the request, where its contract says one.
pub(crate) async fn authorize(
    mesh: &MeshClient,
    entry: &Arc<MethodEntry>,
    identity: Option<Identity<'_>>,
    resource: Option<&str>,
    arrival: &Arrival,
    deadline: Deadline,
) -> Result<Permit, Fault> {
    let policy = &entry.method.policy;
    let permission = match &policy.access {
        Access::Denied => return Err(undeclared(&entry.method.name)),
        Access::Permission(permission) => permission.as_ref(),
        Access::Public | Access::Authenticated => "",
    };
    arrival.record.set_principal_kind(kind_name(identity.as_ref()));
    let Some(identity) = identity else {
        let credentials = [None, None];
        return Ok(Permit { entry: Arc::clone(entry), decision: None, credentials, address: arrival.address });
    };
    if !policy.kinds.accepts(principal_kind(identity.verified.claims.kind)) {
        return Err(kind_refused(&entry.method.name));
    }
    let actor = identity.actor.as_ref().map(|(verified, token)| ActorToken { token, verified });
    let question = Question {
        method: &entry.method.name,
        permission,
        audience: &entry.method.upstream,
        resource: resource.unwrap_or_default(),
        address: Some(arrival.address),
        protocol: arrival.protocol,
        actor,
    };
    let decision = mesh.decide(identity.token, &identity.verified, &question, deadline, &arrival.id).await;
    let decision = Some(decision.map_err(|refused| denied(refused, &question, &identity, arrival.listener))?);
    let credentials = [Some(identity.verified), identity.actor.map(|(verified, _)| verified)];
    Ok(Permit { entry: Arc::clone(entry), decision, credentials, address: arrival.address })
}

/// Why auth's answer denies the call.
fn denied(refused: Refusal, question: &Question<'_>, identity: &Identity<'_>, listener: ListenerKind) -> Fault {
    let message = match refused {
        Refusal::PermissionMissing => {
            let who = decided_for(identity, listener);
            match question.resource.split_once('/') {
                Some((object_type, _)) => permission_missing_on_object(&who, question.permission, object_type),
                None => permission_missing(&who, question.permission, question.audience),
            }
        }
        Refusal::ActorChainTooLong => {
            let actor = identity.actor.as_ref().map(|(actor, _)| &*actor.claims.sub);
            actor_chain_too_long(&identity.verified.claims, actor, question.audience)
        }
        _ => return refusal(refused),
    };
    Fault::new(Component::Auth, reason(refused), message)
}

/// Who lacks it: not always who calls. Persons are not named, since the answer may go on to others.
fn decided_for(identity: &Identity<'_>, listener: ListenerKind) -> String {
    let claims = &identity.verified.claims;
    match (&identity.actor, claims.kind) {
        (Some(_), Kind::User) => "the person of the passport".to_owned(),
        (Some(_), Kind::Service) => format!("the service `{}` of the passport", claims.sub),
        (None, Kind::User) => "the caller".to_owned(),
        (None, Kind::Service) if listener == ListenerKind::Internal => {
            format!("the service `{}`, which acts for itself since no passport came along,", claims.sub)
        }
        (None, Kind::Service) => format!("the service `{}`", claims.sub),
    }
}

/// The kind of a principal, as records name it.
pub(crate) fn kind_name(identity: Option<&Identity<'_>>) -> &'static str {
    match identity.map(|identity| identity.verified.claims.kind) {
        Some(Kind::User) => "user",
        Some(Kind::Service) => "service",
        None => "anonymous",
    }
}

fn undeclared(method: &str) -> Fault {
    let message = format!("no layer of the contract says who may call {method}; declare its `access`");
    Fault::new(Component::Gateway, Reason::MethodUndeclared, message)
}

fn kind_refused(method: &str) -> Fault {
    let message = format!("{method} does not accept principals of this kind");
    Fault::new(Component::Gateway, Reason::PrincipalKindRefused, message)
}
