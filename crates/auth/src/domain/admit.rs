//! Whether a request that a proxy holds may go on: what the gateway decides about its own, for those that come by another door.

use std::net::IpAddr;

use accord_contract::{Access, Contract, Method, PrincipalKind};
use accord_token::{Kind, Refusal, Verified};

use super::{auth::Auth, denial::Denial, issue::SignedToken, policy::AccessQuestion, state::AuthState};

/// A request, and what the proxy's configuration says of it.
#[derive(Clone, Copy, Debug)]
pub struct ProxiedRequest<'a> {
    /// By what its caller calls.
    pub credential: Result<ProxiedCredential<'a>, Refusal>,
    /// The called method, `pkg.Service/Method`; may be empty where the permission is said.
    pub method: &'a str,
    /// The permission that it takes, where the proxy says so; empty where being authenticated is enough.
    pub permission: Option<&'a str>,
    /// Where it comes from, where the proxy says so.
    pub address: Option<IpAddr>,
    /// How it is asked about: `ext_authz` by Envoy, `http` by others.
    pub protocol: &'a str,
    /// The upstream that it goes to, where the proxy says so.
    pub upstream: Option<&'a str>,
}

/// What the caller of a request shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxiedCredential<'a> {
    /// An access token.
    Token(&'a str),
    /// An API key.
    ApiKey(&'a str),
}

/// A request that may go on.
pub struct Admitted {
    /// Whose it is, and the passport for the upstream; None where a public method is called without a credential.
    pub identity: Option<(Verified, SignedToken)>,
}

/// Why a request may not go on.
#[derive(Debug, thiserror::Error)]
pub enum NotAdmitted {
    /// No contract has the method, and the proxy says no permission.
    #[error("no contract has this method, and the proxy's configuration says no permission for it")]
    MethodUnknown,
    /// The contract does not say who may call it.
    #[error("the method's contract does not say who may call it")]
    Undeclared,
    /// The method does not accept principals of the caller's kind.
    #[error("the method does not accept principals of this kind")]
    Kind,
    /// It depends on an object that stands in the request, and proxies don't send that.
    #[error(
        "the method's contract decides about an object of the request (`access.resource`), which a proxy does not show: call it through \
         the gateway"
    )]
    Resource,
    /// The caller lacks it.
    #[error("the caller does not hold the permission `{permission}` on `{upstream}`")]
    Permission {
        /// Which.
        permission: String,
        /// Where.
        upstream: String,
    },
    /// The proxy says a permission and not where.
    #[error("the proxy's configuration says a permission and no upstream for it")]
    UpstreamMissing,
    /// The credential is refused, or nothing can be known now.
    #[error(transparent)]
    Denial(#[from] Denial),
}

/// What is asked of a caller, and where its request goes.
struct Asked<'a> {
    /// A caller without a credential is let in.
    is_public: bool,
    permission: &'a str,
    upstream: &'a str,
    method: Option<&'a Method>,
}

impl Auth {
    /// Decides about a request that a proxy holds; the passport names the proxy, `actor`, as the one that passes it on.
    pub async fn admit(
        &self,
        request: &ProxiedRequest<'_>,
        actor: &str,
        state: &AuthState,
    ) -> Result<Admitted, NotAdmitted> {
        let policies = self.policies.get();
        let asked = asked(request, &policies.contract)?;
        let credential = match request.credential {
            Err(Refusal::Missing) if asked.is_public => return Ok(Admitted { identity: None }),
            credential => credential.map_err(Denial::Caller)?,
        };
        let subject = match credential {
            // An access token alone: a passport that comes from outside was given to somebody else.
            ProxiedCredential::Token(token) => self.verify_access_token(token, state).map_err(Denial::Caller)?,
            ProxiedCredential::ApiKey(key) => self.verify_api_key(key, request.address, state).await?,
        };
        let kind = match subject.claims.kind {
            Kind::User => PrincipalKind::User,
            Kind::Service => PrincipalKind::Service,
        };
        if asked.method.is_some_and(|method| !method.policy.kinds.accepts(kind)) {
            return Err(NotAdmitted::Kind);
        }
        let act = [actor.to_owned()];
        let question = AccessQuestion {
            permission: asked.permission,
            upstream: asked.upstream,
            method: request.method,
            act: &act,
            address: request.address,
            protocol: request.protocol,
            ..AccessQuestion::default()
        }
        .of(&subject);
        if !self.decided(&policies, &subject.claims, &question).await.map_err(Denial::Store)?.allowed {
            let (permission, upstream) = (asked.permission.to_owned(), asked.upstream.to_owned());
            return Err(NotAdmitted::Permission { permission, upstream });
        }
        let passport = self.passport(&subject, asked.upstream, actor, state)?;
        Ok(Admitted { identity: Some((subject, passport)) })
    }
}

/// What the proxy's configuration asks for, or else the method's contract.
fn asked<'a>(request: &ProxiedRequest<'a>, contract: &'a Contract) -> Result<Asked<'a>, NotAdmitted> {
    if let Some(permission) = request.permission {
        let upstream = request.upstream.filter(|name| !name.is_empty()).ok_or(NotAdmitted::UpstreamMissing)?;
        return Ok(Asked { is_public: false, permission, upstream, method: None });
    }
    let method = contract.method(request.method).ok_or(NotAdmitted::MethodUnknown)?;
    if method.policy.resource.is_some() {
        return Err(NotAdmitted::Resource);
    }
    let (is_public, permission) = match &method.policy.access {
        Access::Denied => return Err(NotAdmitted::Undeclared),
        Access::Public => (true, ""),
        Access::Authenticated => (false, ""),
        Access::Permission(permission) => (false, &**permission),
    };
    Ok(Asked { is_public, permission, upstream: request.upstream.unwrap_or(&method.upstream), method: Some(method) })
}
