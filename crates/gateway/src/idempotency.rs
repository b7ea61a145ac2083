//! Idempotency keys: a mutation that is repeated under the same key with the same request gets the same stored answer.

use crate::{
    fault::{Component, Fault},
    internal_call,
    protocol::Malformed,
    upstream::{Answer, Call, Outcome},
};
use accord_api::accord::{
    cache::v1::{
        AbandonRequest, BeginRequest, CompleteRequest, StoredAnswer, begin_response::Decision,
        idempotency_service_client::IdempotencyServiceClient,
    },
    fault::v1::Reason,
};
use accord_contract::Idempotency;
use accord_mesh::MeshClient;
use accord_runtime::{deadline::Deadline, fault};
use accord_upstream::Client;
use aws_lc_rs::digest;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use std::time::Duration;
use tonic::{Code, Status};

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// A claim outlives its call by this much, so that a slow `Complete` still finds it.
const LEASE_MARGIN: Duration = Duration::from_secs(10);
/// The records may take this long after the call's own deadline: an answer that exists must not be lost, nor a claim be left
/// behind by a call that never began.
const RECORDS_TIMEOUT: Duration = Duration::from_secs(2);
/// When a caller may come back where the records don't answer.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The records of idempotency keys.
#[derive(Clone)]
pub(crate) struct IdempotencyRecords {
    client: IdempotencyServiceClient<Client>,
    mesh: MeshClient,
}

/// What the records know of a key.
pub(crate) enum IdempotencyRecord {
    /// Nothing until now: the call runs, and its outcome is recorded under this claim.
    Claimed(String),
    /// The call ran before: this was its answer.
    Completed(Box<Answer>),
}

/// The key of a call, where its method takes keys and the caller sent one.
pub(crate) fn key(declared: &Idempotency, sent: Result<Option<String>, Malformed>) -> Result<Option<String>, Fault> {
    match sent? {
        None if declared.required => Err(Fault::new(
            Component::Gateway,
            Reason::IdempotencyKeyMissing,
            "this method needs an `Idempotency-Key` header, so that a repeated call is not done twice",
        )),
        key => Ok(key),
    }
}

impl IdempotencyRecords {
    /// Calls through `client`, as the workload that `mesh` is.
    pub(crate) fn new(client: Client, mesh: MeshClient) -> Self {
        // What it answers was bounded when it was stored.
        Self { client: IdempotencyServiceClient::new(client).max_decoding_message_size(usize::MAX), mesh }
    }

    /// Claims the key for this call, or gives the answer that is recorded under it. It may end after the call's deadline: only
    /// who knows the claim can release it.
    pub(crate) async fn begin(
        &self,
        call: &Call,
        window: Duration,
        key: String,
        message: &Bytes,
    ) -> Result<IdempotencyRecord, Fault> {
        let method = &call.permit.entry().method;
        let canonical = method.canonical(message).map_err(|_| Fault::unreadable())?;
        let begin = BeginRequest {
            method: method.name.to_string(),
            owner: owner(call),
            key,
            request_digest: digest::digest(&digest::SHA256, &canonical).as_ref().to_vec(),
            window: Some(proto_duration(window)),
            lease: Some(proto_duration(call.deadline.remaining() + LEASE_MARGIN)),
        };
        let deadline = Deadline::after(call.deadline.remaining() + RECORDS_TIMEOUT);
        let request =
            internal_call::request(begin, &self.mesh, deadline, &call.id).map_err(|status| unavailable(&status))?;
        let response = self.client.clone().begin(request).await.map_err(|status| unavailable(&status))?;
        match response.into_inner().decision {
            Some(Decision::Claim(claim)) => Ok(IdempotencyRecord::Claimed(claim.id)),
            Some(Decision::Answer(stored)) => Ok(IdempotencyRecord::Completed(Box::new(replay(stored)))),
            Some(Decision::InFlight(left)) => Err(in_flight(left)),
            Some(Decision::Mismatch(_)) => Err(mismatch()),
            None => Err(unavailable(&Status::internal("the records' answer holds nothing"))),
        }
    }

    /// Records how a claimed call ended.
    pub(crate) async fn end(&self, call: &Call, claim: String, outcome: &Outcome) {
        let updated = match &outcome.result {
            Ok(answer) if is_final(answer) => self.complete(call, claim, stored(answer.result.as_ref())).await,
            // It ran, and would run again if it were repeated.
            Err(fault) if fault.is_of_an_answer() => self.complete(call, claim, stored(Err(fault.status()))).await,
            _ if outcome.may_be_repeated => self.abandon(call, claim).await,
            // Whether it ran is open: the claim stays until its lease ends, and the client may repeat then.
            _ => Ok(()),
        };
        if let Err(status) = updated {
            let (reason, error) = (fault::reason_or_code(&status), status.message());
            tracing::warn!(reason, error, "an idempotency record was not updated");
        }
    }

    async fn complete(&self, call: &Call, claim_id: String, answer: StoredAnswer) -> Result<(), Status> {
        let complete = CompleteRequest { claim_id, answer: Some(answer) };
        let request = internal_call::request(complete, &self.mesh, Deadline::after(RECORDS_TIMEOUT), &call.id)?;
        self.client.clone().complete(request).await.map(drop)
    }

    async fn abandon(&self, call: &Call, claim_id: String) -> Result<(), Status> {
        let abandon = AbandonRequest { claim_id };
        let request = internal_call::request(abandon, &self.mesh, Deadline::after(RECORDS_TIMEOUT), &call.id)?;
        self.client.clone().abandon(request).await.map(drop)
    }
}

/// Keys belong to who uses them: tenant and subject, kept apart by their lengths; anonymous callers by address.
fn owner(call: &Call) -> String {
    let permit = &call.permit;
    match (permit.tenant(), permit.subject()) {
        (Some(tenant), Some(subject)) => format!("{}:{tenant}{subject}", tenant.len()),
        _ => format!("@{}", permit.address()),
    }
}

/// Whether a repeated call should get this answer, and not a new try.
fn is_final(answer: &Answer) -> bool {
    use Code::{Aborted, Cancelled, DeadlineExceeded, ResourceExhausted, Unauthenticated, Unavailable};
    !matches!(answer.code(), Aborted | Cancelled | DeadlineExceeded | ResourceExhausted | Unauthenticated | Unavailable)
}

fn stored(result: Result<&Bytes, &Status>) -> StoredAnswer {
    match result {
        Ok(message) => StoredAnswer { response: message.to_vec(), ..StoredAnswer::default() },
        Err(status) => StoredAnswer {
            code: status.code() as i32,
            message: status.message().to_owned(),
            details: status.details().to_vec(),
            response: Vec::new(),
        },
    }
}

fn replay(stored: StoredAnswer) -> Answer {
    let result = match Code::from_i32(stored.code) {
        Code::Ok => Ok(stored.response.into()),
        code => Err(Status::with_details(code, stored.message, stored.details.into())),
    };
    let mut answer = Answer::new(result);
    answer.head.insert(REPLAYED, HeaderValue::from_static("true"));
    answer
}

fn unavailable(status: &Status) -> Fault {
    let (reason, error) = (fault::reason_or_code(status), status.message());
    tracing::debug!(reason, error, "idempotency records do not answer");
    let message = "the records of idempotency keys can't be reached, and without them the call could be done twice; send it again \
                   later with the same key";
    Fault::retry(Component::Cache, Reason::IdempotencyUnavailable, message, RETRY_AFTER)
}

/// A contract that declares keys needs a cache service to keep them.
pub(crate) fn no_records() -> Fault {
    let message =
        "this method keeps idempotency keys, and the gateway has no cache service to keep them in: set `cache.url`";
    Fault::new(Component::Gateway, Reason::IdempotencyUnavailable, message)
}

fn in_flight(left: prost_types::Duration) -> Fault {
    let message = "a call with this idempotency key is in flight, or it was cut off and may have been done; \
                   repeat it, and it is answered once that is known or the key is free again";
    let after = Duration::try_from(left).unwrap_or_default().min(Duration::from_secs(1));
    Fault::retry(Component::Gateway, Reason::IdempotencyInFlight, message, after)
}

fn mismatch() -> Fault {
    let message = "this idempotency key was used with another request; use a new key for a new request";
    Fault::new(Component::Gateway, Reason::IdempotencyKeyReused, message).http(StatusCode::UNPROCESSABLE_ENTITY)
}

fn proto_duration(duration: Duration) -> prost_types::Duration {
    // Windows and deadlines are bounded by the contract, far below what the message can hold.
    duration.try_into().unwrap_or(prost_types::Duration { seconds: i64::MAX, nanos: 0 })
}
