//! The guard of a binary's own gRPC services: one layer around all of them, which reads from the descriptors who may call.
//!
//! A method that declares no `access` is denied, and one that no descriptor declares does not exist: a handler can't be
//! reached past the guard, and has nothing of its own to remember.

mod access;
mod credential;
mod decider;

use std::{
    convert::Infallible,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use accord_api::accord::fault::v1::Reason;
use accord_contract::{Access, Contract, Method, MethodKind, PrincipalKind};
use accord_runtime::{deadline::Deadline, fault, grpc_server::GrpcService, request};
use accord_token::{Kind, Refusal};
use futures_util::future::Either;
use http::{Request, Response, request::Parts};
use tonic::{Status, body::Body, service::Routes};
use tower::{Layer, Service};

use crate::{RevocableBody, decide::Question, refusal};

pub use access::{ContractError, contract, contract_with};
pub use credential::{Credential, bearer, credential, once};
pub use decider::Decider;

/// How long a decision about a call without a deadline may take. Only streams that declare none are such calls.
const LONGEST_DECISION: Duration = Duration::from_secs(5);

/// A port whose services are guarded by `D`.
pub type GuardedServer<D> = GrpcService<Guarded<Routes, D>>;

/// Guards the methods of a contract; everything else that the wrapped services may know is unknown.
#[derive(Clone)]
pub struct Guard<D> {
    contract: Arc<Contract>,
    decider: D,
    /// For whom the passports are that this port accepts. None: it accepts none.
    audience: Option<Arc<str>>,
    /// The services for whose methods passports count alone, permissions included. None: those that are open to the authenticated.
    services: Option<&'static [&'static str]>,
}

impl<D> Guard<D> {
    /// Holds callers to what `contract` declares, as `decider` decides.
    pub fn new(contract: &Arc<Contract>, decider: D) -> Self {
        Self { contract: Arc::clone(contract), decider, audience: None, services: None }
    }

    /// Lets passports for this audience stand for access tokens, on methods that are open to the authenticated. Those that
    /// declare a permission are for callers in their own name.
    #[must_use]
    pub fn accept_passports(self, audience: &str) -> Self {
        Self { audience: Some(audience.into()), ..self }
    }

    /// The same for the methods of these services alone, whatever they declare: for deciders that judge a passport with those through
    /// whose hands it came.
    #[must_use]
    pub fn accept_passports_at(self, services: &'static [&'static str], audience: &str) -> Self {
        Self { services: Some(services), ..self.accept_passports(audience) }
    }
}

impl<S, D: Clone> Layer<S> for Guard<D> {
    type Service = Guarded<S, D>;

    fn layer(&self, services: S) -> Guarded<S, D> {
        Guarded { guard: self.clone(), services }
    }
}

/// Guarded services.
#[derive(Clone)]
pub struct Guarded<S, D> {
    guard: Guard<D>,
    services: S,
}

impl<S, D, B> Service<Request<B>> for Guarded<S, D>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    D: Decider,
    B: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.services.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let name = request.uri().path().strip_prefix('/');
        let method = name.and_then(|name| self.guard.contract.method(name)).cloned();
        if method.as_ref().is_some_and(|method| method.policy.access == Access::Public) {
            // A credential that came along is not looked at: who renews a token that has ended still carries it.
            return Either::Left(self.services.call(request));
        }
        // The clone takes the place of the services that were polled ready (tower's contract).
        let mut services = self.services.clone();
        mem::swap(&mut services, &mut self.services);
        let guard = self.guard.clone();
        Either::Right(Box::pin(async move {
            // Apart, since a body need not be shared between threads while the decision is awaited.
            let (mut head, body) = request.into_parts();
            match guard.admit(method.as_deref(), &head).await {
                Ok(caller) => {
                    head.extensions.insert(caller.clone());
                    let answer = services.call(Request::from_parts(head, body)).await?;
                    Ok(if streams(method.as_deref()) { guard.revocable(answer, caller) } else { answer })
                }
                Err(refused) => Ok(Status::from(refused).into_http()),
            }
        }))
    }
}

/// Why a call does not reach its handler.
enum Refused {
    /// Nothing declares the method.
    Unknown,
    /// No layer of its contract says who may call it.
    Undeclared,
    /// It does not accept principals of the caller's kind.
    Kind,
    /// The caller does not hold this permission.
    Permission(Arc<str>),
    /// The caller is not known, or may not.
    Caller(Refusal),
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::Caller(refusal)
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unknown => fault::status(
                Reason::MethodUnknown,
                "no method of this name is served here: a binary of Accord serves its own, and the gateway those of upstreams",
            ),
            Refused::Undeclared => {
                fault::status(Reason::MethodUndeclared, "the method's contract does not say who may call it")
            }
            Refused::Kind => {
                fault::status(Reason::PrincipalKindRefused, "the method does not accept principals of this kind")
            }
            Refused::Permission(permission) => {
                fault::status(Reason::PermissionMissing, refusal::permission_missing("the caller", &permission, ""))
            }
            Refused::Caller(refused) => refusal::status(refused),
        }
    }
}

/// Whether calls of a method may last for long. Those of others are over before anything is withdrawn.
fn streams(method: Option<&Method>) -> bool {
    method.is_some_and(|method| method.kind != MethodKind::Unary)
}

impl<D: Decider> Guard<D> {
    /// An answer that ends when its caller may not go on.
    fn revocable(self, answer: Response<Body>, caller: D::Caller) -> Response<Body> {
        let withdrawn = self.decider.withdrawn(caller);
        let withdrawn: Pin<Box<dyn Future<Output = Status> + Send>> =
            Box::pin(async move { refusal::status(withdrawn.await) });
        answer.map(|body| Body::new(RevocableBody::new(body, withdrawn)))
    }

    /// Who calls, if the method exists, its contract says who may, and the caller is one of them.
    async fn admit(&self, method: Option<&Method>, head: &Parts) -> Result<D::Caller, Refused> {
        let method = method.ok_or(Refused::Unknown)?;
        let permission = match &method.policy.access {
            // Public methods pass before this; one that came here would be denied like an undeclared one.
            Access::Denied | Access::Public => return Err(Refused::Undeclared),
            Access::Authenticated => None,
            Access::Permission(permission) => Some(permission),
        };
        let audience = self.audience.as_deref().filter(|_| match self.services {
            None => permission.is_none(),
            Some(services) => method.name.split_once('/').is_some_and(|(name, _)| services.contains(&name)),
        });
        let credential = credential(&head.headers, audience.is_some())?;
        let caller = match (credential, audience) {
            (Credential::Passport(passport), Some(audience)) => {
                self.decider.authenticate_passport(passport, audience).await?
            }
            (credential, _) => self.decider.authenticate(credential.token()).await?,
        };
        if !method.policy.kinds.accepts(principal_kind(caller.as_ref().claims.kind)) {
            return Err(Refused::Kind);
        }
        if let Some(permission) = permission {
            let deadline = head.extensions.get().copied().unwrap_or_else(|| Deadline::after(LONGEST_DECISION));
            let id = request::id(&head.extensions);
            // Nothing is called further inward, so no passport is wanted: no audience.
            let question = Question {
                method: &method.name,
                permission,
                audience: "",
                resource: "",
                address: None,
                protocol: "grpc",
                actor: None,
            };
            let authorized = self.decider.authorize(credential.token(), &caller, &question, deadline, &id).await;
            authorized.map_err(|refused| match refused {
                Refusal::PermissionMissing => Refused::Permission(Arc::clone(permission)),
                other => Refused::Caller(other),
            })?;
        }
        Ok(caller)
    }
}

/// The kind of a token's holder, as contracts name it.
pub fn principal_kind(kind: Kind) -> PrincipalKind {
    match kind {
        Kind::User => PrincipalKind::User,
        Kind::Service => PrincipalKind::Service,
    }
}

#[cfg(test)]
mod tests;
