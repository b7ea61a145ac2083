//! Keyed calls: who runs one, and what its answer was.

use std::time::SystemTime;

use accord_api::accord::cache::v1::{
    AbandonRequest, AbandonResponse, AnswerMetadata, BeginRequest, BeginResponse, Claim, CompleteRequest,
    CompleteResponse, StoredAnswer, begin_response::Decision as Decided,
    idempotency_service_server::IdempotencyService,
};
use accord_api::accord::fault::v1::Reason;
use accord_runtime::fault;
use prost::Message;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::malformed::{duration, malformed};
use crate::records::{Completion, Decision, Name, NewClaim, RecordedAnswer, Records, RecordsError};
use accord_store::log_failure;

/// Longest name of a method or an owner. Together with the key they have to fit into an index of PostgreSQL.
const LONGEST_NAME: usize = 1024;

/// Longest name of a claim, for which a UUID as text is more than enough.
const LONGEST_CLAIM: usize = 64;

/// Bytes of a SHA-256 digest.
const DIGEST: usize = 32;

/// The idempotency service.
#[derive(Clone, Debug)]
pub(crate) struct Idempotency {
    /// The records.
    pub records: Records,
}

#[tonic::async_trait]
impl IdempotencyService for Idempotency {
    async fn begin(&self, request: Request<BeginRequest>) -> Result<Response<BeginResponse>, Status> {
        let message = request.into_inner();
        let window = duration("window", message.window.as_ref())?;
        let lease = duration("lease", message.lease.as_ref())?;
        if message.method.len() > LONGEST_NAME || message.owner.len() > LONGEST_NAME {
            return Err(malformed("`method` and `owner` must not be longer than 1024 bytes"));
        }
        if !is_key(&message.key) || message.method.is_empty() || message.request_digest.len() != DIGEST {
            return Err(malformed(
                "a claim needs a method, a key of 1 to 255 printable characters and a SHA-256 digest",
            ));
        }
        if window.is_zero() || lease.is_zero() {
            return Err(malformed("`window` and `lease` must be longer than nothing"));
        }
        if message.claim_id.len() > LONGEST_CLAIM {
            return Err(malformed("`claim_id` must not be longer than 64 bytes"));
        }
        let id = if message.claim_id.is_empty() { Uuid::new_v4().to_string() } else { message.claim_id };
        let name = Name { method: message.method, owner: message.owner, key: message.key };
        let claim = NewClaim { id, name: &name, digest: &message.request_digest, window, lease };
        let decision = self.records.begin(&claim, SystemTime::now()).await;
        let decided = decided(decision.map_err(|error| unavailable(&error))?);
        let decided = decided.map_err(|_| fault::status(Reason::Internal, "the record of the key can't be read"))?;
        Ok(Response::new(BeginResponse { decision: Some(decided) }))
    }

    async fn complete(&self, request: Request<CompleteRequest>) -> Result<Response<CompleteResponse>, Status> {
        let CompleteRequest { claim_id, answer } = request.into_inner();
        let answer = answer.ok_or_else(|| malformed("`answer` is missing"))?;
        let recorded = RecordedAnswer {
            code: answer.code,
            message: answer.message,
            details: answer.details,
            response: answer.response,
            metadata: answer.metadata.unwrap_or_default().encode_to_vec(),
        };
        let completion = self.records.complete(&claim_id, &recorded, SystemTime::now()).await;
        match completion.map_err(|error| unavailable(&error))? {
            Completion::Stored => Ok(Response::new(CompleteResponse {})),
            Completion::ClaimLost => {
                let message = "the claim is over: its lease ended before the answer came";
                Err(fault::status(Reason::IdempotencyInFlight, message))
            }
        }
    }

    async fn abandon(&self, request: Request<AbandonRequest>) -> Result<Response<AbandonResponse>, Status> {
        self.records.abandon(&request.into_inner().claim_id).await.map_err(|error| unavailable(&error))?;
        Ok(Response::new(AbandonResponse {}))
    }
}

/// Whether it can be an idempotency key.
pub(super) fn is_key(key: &str) -> bool {
    (1..=255).contains(&key.len()) && key.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

fn decided(decision: Decision) -> Result<Decided, prost::DecodeError> {
    Ok(match decision {
        Decision::Claimed(id) => Decided::Claim(Claim { id }),
        Decision::Answered(recorded) => Decided::Answer(StoredAnswer {
            code: recorded.code,
            message: recorded.message,
            details: recorded.details,
            response: recorded.response,
            metadata: Some(AnswerMetadata::decode(&*recorded.metadata)?),
        }),
        Decision::InFlight(left) => Decided::InFlight(prost_types::Duration::try_from(left).unwrap_or_default()),
        Decision::Mismatch => Decided::Mismatch(true),
    })
}

/// What the engine of the records says may quote keys: it stays in the log of the operator.
fn unavailable(error: &RecordsError) -> Status {
    log_failure(error);
    fault::status(Reason::IdempotencyUnavailable, "the records of idempotency keys can't be reached")
}
