//! Who decides about a caller: auth, asked over the network, or auth itself.

use std::sync::Arc;
use std::time::Duration;

use accord_runtime::{deadline::Deadline, request::RequestId};
use accord_token::{InvalidTokenReason, Refusal, Type, Verified, claims::LEEWAY, verify};
use tokio::time::sleep;

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

    /// Ends once a stream of this caller may not go on. Never, where its handler sees to that by itself.
    fn withdrawn(self, _: Self::Caller) -> impl Future<Output = Refusal> + Send + 'static {
        std::future::pending()
    }
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

    async fn withdrawn(self, caller: Arc<Verified>) -> Refusal {
        tokio::select! {
            refused = MeshClient::withdrawn(&self, std::slice::from_ref(&caller)) => refused,
            () = ends(&caller) => Refusal::Expired,
        }
    }
}

/// Ends with the life of an access token. A passport's is only for how long it may begin a call: whoever holds the token from which
/// it comes may go on until that is revoked.
async fn ends(caller: &Verified) {
    match caller.token_type {
        Type::Passport => std::future::pending().await,
        Type::Access => {
            let left = caller.claims.exp.saturating_sub(verify::now());
            sleep(Duration::from_secs(u64::try_from(left).unwrap_or_default()).saturating_add(LEEWAY)).await;
        }
    }
}
