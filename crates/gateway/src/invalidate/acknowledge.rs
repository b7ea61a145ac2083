//! Waiting for acknowledgements where replicas of the cache share an invalidation log: any replica says when the others have
//! confirmed. Writes wait beside the sender, so that no batch holds up the next one.

use super::waits::{Waiter, number_of};
use crate::{internal_call, near::NearCache};
use accord_api::accord::cache::v1::{
    AwaitAcknowledgementRequest, InvalidateResponse, invalidation_service_client::InvalidationServiceClient,
};
use accord_mesh::MeshClient;
use accord_runtime::{deadline::Deadline, request::RequestId};
use accord_upstream::Client;
use std::{sync::Arc, time::Duration};
use tonic::Status;

/// So short that a write may ask a second replica where the first one hangs, or is away from the log.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(200);
/// Between two attempts, at other replicas.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks for acknowledgements.
pub(super) struct Acknowledger {
    pub client: InvalidationServiceClient<Client>,
    pub mesh: MeshClient,
    pub near: Arc<NearCache>,
}

impl Acknowledger {
    /// Tells writes when their number is acknowledged, for as long as one of them waits. The others have answered as deferred.
    pub(super) async fn acknowledge(mut self, number: AwaitAcknowledgementRequest, callers: Vec<Waiter>) {
        while callers.iter().any(|caller| !caller.acknowledged.is_closed()) {
            if self.ask(&number).await.is_err() {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            for caller in callers {
                // Replicas that had not read the number yet gave this gateway leases on what it replaced.
                self.near.acknowledged(caller.tags.iter().copied());
                caller.acknowledge();
            }
            return;
        }
    }

    /// Whether nobody answers any more with what the response is about.
    pub(super) async fn is_acknowledged(&mut self, response: &InvalidateResponse) -> bool {
        match number_of(response) {
            Some(number) => self.ask(&number).await.is_ok(),
            None => true,
        }
    }

    async fn ask(&mut self, number: &AwaitAcknowledgementRequest) -> Result<(), Status> {
        let deadline = Deadline::after(ATTEMPT_TIMEOUT);
        let request = internal_call::request(number.clone(), &self.mesh, deadline, &RequestId::new())?;
        let asking = tokio::time::timeout_at(deadline.at(), self.client.await_acknowledgement(request));
        asking.await.map_err(|_| Status::deadline_exceeded("no acknowledgement came in time"))?.map(drop)
    }
}
