//! Logins with a token of another issuer: a workload of Kubernetes, or somebody of an `OpenID` provider.

use std::{collections::BTreeSet, time::Duration};

use accord_token::{Kind, foreign::Unverified, verify};

use super::{
    admin::{Admin, AdminError},
    auth::Auth,
    denial::Denial,
    issue::{self, Limits},
    issuers::{ForeignError, ForeignIdentity, Mapping},
    login::IssuedTokens,
};
use crate::{
    config::issuers::{AcceptedPrincipals, IssuerConfig},
    store::principals::{Principal, is_name},
};

impl Auth {
    /// Whether a token claims to come from somebody else.
    pub(crate) fn is_foreign(&self, token: &str) -> bool {
        let claimed = || Unverified::parse(token).and_then(|token| token.claimed());
        claimed().is_ok_and(|claimed| claimed.iss != self.tokens.issuer)
    }

    /// Tokens for whom another issuer vouches for. A program's end no later than the token that was shown.
    pub(super) async fn login_foreign(&self, token: &str) -> Result<IssuedTokens, Denial> {
        let identity = self.issuers.identity(token).await.map_err(|error| self.refuse_foreign(error))?;
        let principal = self.principal_of(&identity).await?;
        if principal.kind == Kind::User {
            return self.begin_family(&principal.subject, principal.epoch).await;
        }
        let state = self.state.current().await?;
        let left = u64::try_from(identity.expires_at - verify::now()).unwrap_or(0);
        let limits = Limits::life(self.tokens.access_ttl.min(Duration::from_secs(left.max(1))));
        Ok(IssuedTokens { access: issue::access_token(&self.tokens, &state, &principal, limits)?, refresh: None })
    }

    /// Tells the operator what it was.
    fn refuse_foreign(&self, error: ForeignError) -> Denial {
        self.refused_logins.write(|| tracing::warn!(cause = %error, "login with a token of another issuer refused"));
        error.into()
    }

    async fn principal_of(&self, identity: &ForeignIdentity<'_>) -> Result<Principal, Denial> {
        let linked = self.store.linked(identity.issuer, &identity.subject).await?;
        let unknown = |denial| self.refuse_principal(identity, denial);
        match &identity.mapping {
            Mapping::ServiceAccount => {
                let name = linked.as_ref().unwrap_or(&identity.subject);
                let principal = self.active(name).await.map_err(unknown)?;
                if principal.kind == Kind::Service { Ok(principal) } else { Err(unknown(Denial::Credential)) }
            }
            Mapping::Provider { config, groups } => {
                let is_linked = linked.is_some();
                let name = linked.unwrap_or_else(|| format!("{}:{}", config.name, identity.subject));
                if config.principals == AcceptedPrincipals::Provision && !is_linked {
                    self.provision(config, &name).await?;
                }
                let principal = self.active(&name).await.map_err(unknown)?;
                match groups {
                    Some(groups) => self.with_roles(config, groups, principal).await,
                    None => Ok(principal),
                }
            }
        }
    }

    fn refuse_principal(&self, identity: &ForeignIdentity<'_>, denial: Denial) -> Denial {
        let issuer = identity.issuer;
        self.refused_logins
            .write(|| tracing::warn!(issuer, cause = "its subject is not known here, or disabled", "login refused"));
        denial
    }

    /// Adds a person whom the provider has let in for the first time.
    async fn provision(&self, config: &IssuerConfig, name: &str) -> Result<(), Denial> {
        if !is_name(name) {
            return Err(Denial::Credential);
        }
        if self.store.principal(name).await?.is_some() {
            return Ok(());
        }
        let principal = Principal::new(name.to_owned(), Kind::User, config.tenant.clone(), Vec::new());
        match Admin::new(&self.store, &actor(config)).add_hashed(&principal, "").await {
            // Somebody was faster.
            Ok(()) | Err(AdminError::Exists(_)) => Ok(()),
            Err(error) => Err(self.refuse_change(error)),
        }
    }

    /// Gives the roles of their groups to a person, and takes away those of groups that they are in no more.
    async fn with_roles(
        &self,
        config: &IssuerConfig,
        groups: &[String],
        principal: Principal,
    ) -> Result<Principal, Denial> {
        let of = |group: &String| config.roles.get(group).into_iter().flatten().cloned();
        let wanted: BTreeSet<String> = groups.iter().flat_map(of).collect();
        let managed = config.roles.values().flatten().filter(|role| !wanted.contains(*role));
        let remove: Vec<_> = managed.filter(|role| principal.roles.contains(role)).cloned().collect();
        let grant: Vec<_> = wanted.into_iter().filter(|role| !principal.roles.contains(role)).collect();
        if grant.is_empty() && remove.is_empty() {
            return Ok(principal);
        }
        let actor = actor(config);
        let changed = Admin::new(&self.store, &actor).change_roles(&principal.subject, &grant, &remove).await;
        changed.map_err(|error| self.refuse_change(error))?;
        self.active(&principal.subject).await
    }

    fn refuse_change(&self, error: AdminError) -> Denial {
        match error {
            AdminError::Store(error) => error.into(),
            AdminError::Denied(denial) => denial,
            error => {
                self.refused_logins.write(|| tracing::warn!(cause = %error, "login of an issuer's subject refused"));
                Denial::Credential
            }
        }
    }
}

/// Who the audit log names.
fn actor(config: &IssuerConfig) -> String {
    format!("issuer {}", config.name)
}
