//! Who decides about a caller: auth, asked over the network, or auth itself.

use std::sync::Arc;

use accord_runtime::{deadline::Deadline, request::RequestId};
use accord_token::{InvalidTokenReason, Refusal, Verified};

use crate::{client::MeshClient, decide::Question};

/// Decides about callers. Every binary but auth asks auth ([`MeshClient`]); auth asks its own store and policies.
pub trait Decider: Clone + Send + Sync + 'static {
    /// Who calls, as handlers find it in the request's extensions.
    type Caller: AsRef<Verified> + Clone + Send + Sync + 'static;

    /// Whose token this is, if it is good now.
    fn authenticate(&self, token: &str) -> impl Future<Output = Result<Self::Caller, Refusal>> + Send;

    /// Whose passport for this audience this is, if it is good now. Only ports that accept passports ask.
    fn authenticate_passport(&self, _: &str, _: &str) -> impl Future<Output = Result<Self::Caller, Refusal>> + Send {
        async { Err(Refusal::Invalid(InvalidTokenReason::Type)) }
    }

    /// Whether the caller holds the permission in question.
    fn authorize(
        &self,
        token: &str,
        caller: &Self::Caller,
        question: &Question<'_>,
        deadline: Deadline,
        id: &RequestId,
    ) -> impl Future<Output = Result<(), Refusal>> + Send;
}

impl Decider for MeshClient {
    type Caller = Arc<Verified>;

    async fn authenticate(&self, token: &str) -> Result<Arc<Verified>, Refusal> {
        self.verify(token)
    }

    async fn authenticate_passport(&self, passport: &str, audience: &str) -> Result<Arc<Verified>, Refusal> {
        self.verify_passport(passport, audience)
    }

    async fn authorize(
        &self,
        token: &str,
        caller: &Arc<Verified>,
        question: &Question<'_>,
        deadline: Deadline,
        id: &RequestId,
    ) -> Result<(), Refusal> {
        self.decide(token, caller, question, deadline, id).await.map(drop)
    }
}
