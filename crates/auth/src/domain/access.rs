//! Authorization decisions: may this principal do that?

use std::sync::Arc;

use accord_token::{Claims, Verified};

use super::{
    auth::Auth,
    denial::Denial,
    issue::{self, SignedToken},
    policy::{AccessQuestion, Policies, PolicyDecision},
    relations,
    state::AuthState,
};
use crate::store::{StoreError, principals::Principal};

/// The answer to one question about one token.
pub struct AccessDecision {
    /// Whose token it is.
    pub subject: Verified,
    /// Whether it may.
    pub allowed: bool,
    /// For the way inward; only where allowed.
    pub passport: Option<SignedToken>,
    /// The policy set that decided; a decision holds only under the same one.
    pub policy_hash: Arc<str>,
    /// The policies that decided.
    pub policies: Vec<String>,
    /// The version of all relations with which they did; 0 where they look at none.
    pub relations_version: u64,
}

/// A decision with what made it.
pub struct Explanation {
    /// What is decided.
    pub decision: PolicyDecision,
    /// What would be decided if the policies that are only tried were enforced; None where there are none.
    pub shadow: Option<PolicyDecision>,
    /// The policy set that decides.
    pub policy_hash: Arc<str>,
    /// What the subject stands in a relation to, as far as policies look at it.
    pub relations: Vec<String>,
}

impl Auth {
    /// Decides for whoever the token is about, and narrows it to the upstream where there is one. The token may be the passport
    /// that the actor was called with, or the caller where no actor is named.
    pub async fn check(
        &self,
        token: &str,
        actor_token: Option<&str>,
        question: &AccessQuestion<'_>,
        caller: &Verified,
        state: &AuthState,
    ) -> Result<AccessDecision, Denial> {
        let actor = self.actor(actor_token, state)?;
        let acting = &*actor.as_ref().unwrap_or(caller).claims.sub;
        let subject = self.exchangeable(token, acting, state).map_err(Denial::Subject)?;
        let act = chain(actor.as_ref(), &subject);
        let question = AccessQuestion { act: &act, ..*question }.of(&subject);
        let policies = self.policies.get();
        check_resource(&policies, &question)?;
        let decided = self.decided(&policies, &subject.claims, &question).await?;
        // The state was read before any relation was: what they were decided with is of this version, or later.
        let relations_version =
            if policies.read_relations(question.permission) { state.revocations.relations } else { 0 };
        // Built as a denial; only what follows makes it anything else.
        let (policy_hash, policies) = (state.decision_set(&policies.hash), decided.policies);
        let mut decision =
            AccessDecision { subject, allowed: false, passport: None, policy_hash, policies, relations_version };
        if decided.allowed {
            // Without an upstream nobody goes further inward, and no passport is needed.
            if !question.upstream.is_empty() {
                decision.passport = Some(self.passport(&decision.subject, question.upstream, acting, state)?);
            }
            decision.allowed = true;
        }
        Ok(decision)
    }

    /// The same decision for a subject, with the policies that made it.
    pub async fn explain(&self, subject: &str, question: &AccessQuestion<'_>) -> Result<Explanation, Denial> {
        let principal = self.store.principal(subject).await?.ok_or(Denial::Field("subject", "is not known"))?;
        let policies = self.policies.get();
        check_resource(&policies, question)?;
        let policy_hash = self.state.current().await?.decision_set(&policies.hash);
        let Some(relations) = self.held(&policies, &principal, question).await? else {
            return Ok(Explanation {
                decision: too_many_relations(),
                shadow: None,
                policy_hash,
                relations: Vec::new(),
            });
        };
        let question = AccessQuestion { relations: &relations, ..*question };
        Ok(Explanation {
            decision: policies.decide(&principal, &question),
            shadow: policies.decide_in_shadow(&principal, &question),
            policy_hash,
            relations,
        })
    }

    /// What is decided about whoever a token is about: what the policies in force grant, as far as the token's scope leaves it.
    pub(super) async fn decided(
        &self,
        policies: &Policies,
        claims: &Claims,
        question: &AccessQuestion<'_>,
    ) -> Result<PolicyDecision, StoreError> {
        if claims.permits(question.permission) {
            return self.decided_for(policies, &Principal::of(claims), question).await;
        }
        self.metrics.decision(false);
        Ok(PolicyDecision { allowed: false, policies: Vec::new(), errors: Vec::new() })
    }

    /// What the policies in force decide; counted, and compared with what those that are only tried would decide.
    pub(super) async fn decided_for(
        &self,
        policies: &Policies,
        principal: &Principal,
        question: &AccessQuestion<'_>,
    ) -> Result<PolicyDecision, StoreError> {
        let Some(relations) = self.held(policies, principal, question).await? else {
            self.metrics.decision(false);
            return Ok(too_many_relations());
        };
        let question = AccessQuestion { relations: &relations, ..*question };
        let decided = policies.decide(principal, &question);
        self.metrics.decision(decided.allowed);
        if let Some(shadow) = policies.decide_in_shadow(principal, &question) {
            self.metrics.shadow_decision(decided.allowed, shadow.allowed);
        }
        Ok(decided)
    }

    /// A passport for the subject's request on its way to the upstream, with its newest actor.
    pub(super) fn passport(
        &self,
        subject: &Verified,
        upstream: &str,
        actor: &str,
        state: &AuthState,
    ) -> Result<SignedToken, Denial> {
        let passport = issue::passport(&self.tokens, state, subject, upstream, actor)?;
        self.metrics.token("passport");
        Ok(passport)
    }
}

/// Nobody is decided about with a part of their relations.
fn too_many_relations() -> PolicyDecision {
    PolicyDecision { allowed: false, policies: Vec::new(), errors: vec![relations::TOO_MANY.to_owned()] }
}

/// Whether the object that is asked about can be one.
fn check_resource(policies: &Policies, question: &AccessQuestion<'_>) -> Result<(), Denial> {
    if question.resource.is_empty() || policies.objects.object(question.resource).is_ok() {
        return Ok(());
    }
    Err(Denial::Field(
        "resource",
        "must be the type and the id of an object, of a type that `[[policy.object]]` declares",
    ))
}

/// The workloads through which a request has come, newest first: the actor, and those whom the subject's passport names.
fn chain(actor: Option<&Verified>, subject: &Verified) -> Vec<String> {
    let actor = actor.map(|actor| &*actor.claims.sub);
    actor.into_iter().chain(subject.claims.actors()).map(str::to_owned).collect()
}
