//! Who calls auth's own methods: what the guard asks of the domain, and what handlers find of its answer.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use accord_api::accord::fault::v1::Reason;
use accord_mesh::{Question, guard::Decider};
use accord_runtime::{deadline::Deadline, fault, request::RequestId, server::Peer};
use accord_token::{Refusal, Verified};
use tonic::{Request, Status};

use crate::domain::{auth::Auth, state::AuthState};

/// Decides on auth's own store and policies, where the other binaries ask auth.
#[derive(Clone)]
pub struct LocalDecider(pub(crate) Arc<Auth>);

/// Who calls a guarded method, and the state on which its token was verified: a handler goes on with the same one.
#[derive(Clone)]
pub struct Caller {
    pub(super) verified: Arc<Verified>,
    pub(super) state: Arc<AuthState>,
}

impl Caller {
    /// The caller that the guard found.
    pub(super) fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let caller = request.extensions().get::<Self>().cloned();
        caller.ok_or_else(|| fault::status(Reason::Internal, "the method is served without a guard"))
    }
}

impl AsRef<Verified> for Caller {
    fn as_ref(&self) -> &Verified {
        &self.verified
    }
}

impl Decider for LocalDecider {
    type Caller = Caller;

    async fn authenticate(&self, token: &str) -> Result<Caller, Refusal> {
        let state = self.0.state.current().await.map_err(|error| {
            // Said to the operator alone: what the engine says may quote values.
            error.log();
            Refusal::Unavailable
        })?;
        let verified = Arc::new(self.0.verify_access_token(token, &state)?);
        Ok(Caller { verified, state })
    }

    async fn authenticate_passport(&self, passport: &str, audience: &str) -> Result<Caller, Refusal> {
        let state = self.0.state.current().await.map_err(|error| {
            error.log();
            Refusal::Unavailable
        })?;
        let verified = Arc::new(self.0.verify_passport(passport, audience, &state)?);
        Ok(Caller { verified, state })
    }

    async fn authorize(
        &self,
        _: &str,
        caller: &Caller,
        question: &Question<'_>,
        _: Deadline,
        _: &RequestId,
    ) -> Result<(), Refusal> {
        self.0.authorize(&caller.verified, question.permission, question.method).await
    }
}

/// Where a call comes from.
pub(super) fn peer_address<T>(request: &Request<T>) -> IpAddr {
    request.extensions().get::<Peer>().map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_that_passed_no_guard_is_internal() {
        let refused = Caller::of(&Request::new(())).err().unwrap();
        assert_eq!(fault::reason_of(&refused), Some(Reason::Internal));
    }
}
