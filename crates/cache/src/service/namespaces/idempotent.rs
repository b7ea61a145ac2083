//! Puts under an idempotency key: whoever repeats one gets the version that the first one had.

use std::time::{Duration, SystemTime};

use accord_api::accord::cache::v1::{PutRequest, PutResponse};
use accord_api::accord::fault::v1::Reason;
use accord_runtime::fault::{self, StatusBuilder};
use accord_store::log_failure;
use aws_lc_rs::digest::{SHA256, digest};
use prost::Message;
use tonic::Status;

use crate::namespaces::Space;
use crate::records::{Completion, Decision, Name, NewClaim, RecordedAnswer, Records, RecordsError};

/// How long a put has before another one under the same key may take its place. Its deadline is shorter.
const LEASE: Duration = Duration::from_secs(10);

/// The record of a put.
pub(super) struct IdempotentPut {
    records: Records,
    claim: String,
}

/// What is to be done with a put.
pub(super) enum Begun {
    /// It is the first one.
    First(IdempotentPut),
    /// It was done, and this was the answer.
    Repeated(PutResponse),
}

impl IdempotentPut {
    /// Claims the key of a request that has one, for this principal.
    pub(super) async fn begin(
        records: &Records,
        space: &Space,
        (tenant, subject): (&str, &str),
        (request, key): (&PutRequest, &str),
    ) -> Result<Begun, Status> {
        // Records of the gateway's own for the same method are others; tenants and subjects are kept apart by their lengths.
        let (method, owner) =
            ("accord.cache.v1.CacheService/Put key".to_owned(), format!("{}:{tenant}{subject}", tenant.len()));
        let name = Name { method, owner, key: key.to_owned() };
        let same = PutRequest { idempotency_key: None, ..request.clone() };
        let digest = digest(&SHA256, &same.encode_to_vec());
        let (window, now) = (space.config.idempotency_window, SystemTime::now());
        let decision = records.begin(&NewClaim::new(&name, digest.as_ref(), window, LEASE), now).await;
        match decision.map_err(|error| unavailable(&error))? {
            Decision::Claimed(claim) => Ok(Begun::First(Self { records: records.clone(), claim })),
            Decision::Answered(answer) => {
                let response = PutResponse::decode(&*answer.response);
                response.map(Begun::Repeated).map_err(|_| fault::status(Reason::Internal, "the record can't be read"))
            }
            Decision::InFlight(left) => {
                let message = "a put with this `idempotency_key` is in flight";
                Err(StatusBuilder::new(Reason::IdempotencyInFlight, message).retry_after(left).build())
            }
            Decision::Mismatch => {
                let message = "the `idempotency_key` was used with another request: take a new one for each put";
                Err(fault::status(Reason::IdempotencyKeyReused, message))
            }
        }
    }

    /// Keeps the answer of the put, or gives the key back where it failed.
    pub(super) async fn end(self, put: Result<PutResponse, Status>) -> Result<PutResponse, Status> {
        match &put {
            Ok(response) => {
                let recorded = RecordedAnswer { response: response.encode_to_vec(), ..RecordedAnswer::default() };
                let completed = self.records.complete(&self.claim, &recorded, SystemTime::now()).await;
                // It was put: where that can't be recorded, a repetition may put it once more.
                match completed {
                    Ok(Completion::Stored | Completion::ClaimLost) => {}
                    Err(error) => log_failure(&error),
                }
            }
            Err(_) => {
                if let Err(error) = self.records.abandon(&self.claim).await {
                    log_failure(&error);
                }
            }
        }
        put
    }
}

/// What the engine of the records says may quote keys: it stays in the log of the operator.
fn unavailable(error: &RecordsError) -> Status {
    log_failure(error);
    fault::status(Reason::IdempotencyUnavailable, "the records of idempotency keys can't be reached")
}
