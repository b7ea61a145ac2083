//! Passports: whose answer is read, and under which one a key is loaded for its reader.

use accord_mesh::{MeshClient, Question, refusal};
use accord_runtime::{deadline::Deadline, request::RequestId};
use accord_token::{Claims, Refusal, Verified};
use http::HeaderValue;
use tonic::Status;

/// Whose answer is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The tenant; empty where there is but one.
    pub tenant: String,
    /// The subject.
    pub subject: String,
    /// The epoch of the subject: a change of its roles begins another one.
    pub epoch: u64,
}

/// Verifies passports, and gets those with which the cache goes further inward.
pub trait Passports: Clone + Send + Sync + 'static {
    /// Whose passport this is, if it is a good one for this audience.
    fn owner(&self, passport: &str, audience: &str) -> Result<Owner, Status>;

    /// A caller's own passport for the upstream that the question names, with the cache as its newest actor.
    fn exchange(
        &self,
        token: &str,
        caller: &Verified,
        question: &Question<'_>,
        deadline: Deadline,
        id: &RequestId,
    ) -> impl Future<Output = Result<HeaderValue, Refusal>> + Send;
}

impl Passports for MeshClient {
    fn owner(&self, passport: &str, audience: &str) -> Result<Owner, Status> {
        let verified = self.verify_passport(passport, audience).map_err(refusal::status)?;
        let Claims { tenant, sub, ep, .. } = &verified.claims;
        Ok(Owner { tenant: tenant.clone(), subject: sub.clone(), epoch: *ep })
    }

    async fn exchange(
        &self,
        token: &str,
        caller: &Verified,
        question: &Question<'_>,
        deadline: Deadline,
        id: &RequestId,
    ) -> Result<HeaderValue, Refusal> {
        // Auth's answer is remembered for as long as it holds, and whoever asks is the actor.
        let decision = self.decide(token, caller, question, deadline, id).await?;
        decision.passport.clone().ok_or(Refusal::Unavailable)
    }
}
