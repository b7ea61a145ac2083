//! Idempotency keys: a mutation that is repeated under the same key with the same request gets the same stored answer.

use crate::{
    cache_headers,
    fault::{Component, Fault},
    internal_call,
    protocol::Malformed,
    upstream::{Answer, Call, Outcome},
};
use accord_api::accord::{
    cache::v1::{
        AbandonRequest, AnswerMetadata, BeginRequest, CompleteRequest, Header, StoredAnswer, begin_response::Decision,
        idempotency_service_client::IdempotencyServiceClient,
    },
    fault::v1::Reason,
};
use accord_contract::Idempotency;
use accord_mesh::MeshClient;
use accord_runtime::{deadline::Deadline, fault};
use accord_upstream::{Client, PUSHBACK, metadata::is_reserved, repeated};
use aws_lc_rs::digest;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::time::Duration;
use tonic::{Code, Request, Status};
use uuid::Uuid;

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Bytes of names and values that are recorded of an answer's metadata. It is stored for as long as its key, so there is less room
/// for it than on the wire.
const MAX_METADATA_BYTES: usize = 16 << 10;

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
        let (digest, claim_id) = (digest::digest(&digest::SHA256, &canonical), Uuid::new_v4());
        let begin = || BeginRequest {
            method: method.name.to_string(),
            owner: owner(call),
            key: key.clone(),
            request_digest: digest.as_ref().to_vec(),
            window: Some(proto_duration(window)),
            lease: Some(proto_duration(call.deadline.remaining() + LEASE_MARGIN)),
            claim_id: claim_id.to_string(),
        };
        let deadline = Deadline::after(call.deadline.remaining() + RECORDS_TIMEOUT);
        let response =
            self.ask(call, deadline, begin, |mut client, request| async move { client.begin(request).await }).await;
        let response = response.map_err(|status| unavailable(&status))?;
        match response.into_inner().decision {
            Some(Decision::Claim(claim)) => Ok(IdempotencyRecord::Claimed(claim.id)),
            Some(Decision::Answer(stored)) => {
                let answer = replay(stored).map_err(|status| unavailable(&status))?;
                Ok(IdempotencyRecord::Completed(Box::new(answer)))
            }
            Some(Decision::InFlight(left)) => Err(in_flight(left)),
            Some(Decision::Mismatch(_)) => Err(mismatch()),
            None => Err(unavailable(&Status::internal("the records' answer holds nothing"))),
        }
    }

    /// Records how a claimed call ended.
    pub(crate) async fn end(&self, call: &Call, claim: String, outcome: &Outcome) {
        let updated = match &outcome.result {
            Ok(answer) if is_final(answer) => {
                let stored = || StoredAnswer { metadata: Some(metadata(answer)), ..stored(answer.result.as_ref()) };
                self.complete(call, &claim, stored).await
            }
            // It ran, and would run again if it were repeated.
            Err(fault) if fault.is_of_an_answer() => self.complete(call, &claim, || stored(Err(fault.status()))).await,
            _ if outcome.may_be_repeated => self.abandon(call, &claim).await,
            // Whether it ran is open: the claim stays until its lease ends, and the client may repeat then.
            _ => Ok(()),
        };
        if let Err(status) = updated {
            let (reason, error) = (fault::reason_or_code(&status), status.message());
            tracing::warn!(reason, error, "an idempotency record was not updated");
        }
    }

    async fn complete(&self, call: &Call, claim: &str, answer: impl Fn() -> StoredAnswer) -> Result<(), Status> {
        let complete = || CompleteRequest { claim_id: claim.to_owned(), answer: Some(answer()) };
        let deadline = Deadline::after(RECORDS_TIMEOUT);
        self.ask(call, deadline, complete, |mut client, request| async move { client.complete(request).await })
            .await
            .map(drop)
    }

    async fn abandon(&self, call: &Call, claim: &str) -> Result<(), Status> {
        let abandon = || AbandonRequest { claim_id: claim.to_owned() };
        let deadline = Deadline::after(RECORDS_TIMEOUT);
        self.ask(call, deadline, abandon, |mut client, request| async move { client.abandon(request).await })
            .await
            .map(drop)
    }

    /// Asks the records, and again where the connection broke: a replica of the cache that is gone must not fail a call that another one
    /// can serve, nor lose an answer. All that is asked of them may be asked again.
    async fn ask<M, R, F>(
        &self,
        call: &Call,
        deadline: Deadline,
        message: impl Fn() -> M,
        send: impl Fn(IdempotencyServiceClient<Client>, Request<M>) -> F,
    ) -> Result<R, Status>
    where
        F: Future<Output = Result<R, Status>> + Send,
    {
        repeated(deadline, || {
            let request = internal_call::request(message(), &self.mesh, deadline, &call.id);
            let answer = request.map(|request| send(self.client.clone(), request));
            async move { answer?.await }
        })
        .await
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
            ..StoredAnswer::default()
        },
    }
}

/// What the handler said beside the message, as far as there is room for it.
fn metadata(answer: &Answer) -> AnswerMetadata {
    let mut room = MAX_METADATA_BYTES;
    let mut recorded = |headers: &HeaderMap| headers.iter().filter_map(|entry| record(entry, &mut room)).collect();
    let (head, trailers) = (recorded(&answer.head), recorded(&answer.trailers));
    AnswerMetadata { head, trailers, is_trailers_only: answer.is_trailers_only }
}

/// An entry as it is recorded. What the gateway said of this call alone is not: whoever is answered again is told anew.
fn record(entry: (&HeaderName, &HeaderValue), room: &mut usize) -> Option<Header> {
    let (name, value) = entry;
    if is_reserved(name) || *name == PUSHBACK {
        return None;
    }
    *room = room.checked_sub(name.as_str().len() + value.len())?;
    Some(cache_headers::header(entry))
}

fn replay(stored: StoredAnswer) -> Result<Answer, Status> {
    let result = match Code::from_i32(stored.code) {
        Code::Ok => Ok(stored.response.into()),
        code => Err(Status::with_details(code, stored.message, stored.details.into())),
    };
    let mut answer = Answer::new(result);
    if let Some(metadata) = stored.metadata {
        answer.head = cache_headers::metadata(&metadata.head)?;
        answer.trailers = cache_headers::metadata(&metadata.trailers)?;
        answer.is_trailers_only = metadata.is_trailers_only;
    }
    answer.head.insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(answer)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn names(recorded: &[Header]) -> Vec<&str> {
        recorded.iter().map(|header| header.name.as_str()).collect()
    }

    fn answer(head: &[(&'static str, &str)], trailers: &[(&'static str, &str)]) -> Answer {
        let headers = |entries: &[(&'static str, &str)]| {
            let entries = entries.iter();
            entries.map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
        };
        Answer { head: headers(head), trailers: headers(trailers), ..Answer::new(Ok(Bytes::new())) }
    }

    #[test]
    fn metadata_beyond_its_bound_is_not_recorded() {
        let whole = "x".repeat(MAX_METADATA_BYTES - "location".len() - "x-cost3".len());
        let recorded = metadata(&answer(&[("location", &whole)], &[("x-cost", "3")]));
        assert_eq!((names(&recorded.head), names(&recorded.trailers)), (vec!["location"], vec!["x-cost"]));
        let recorded = metadata(&answer(&[("location", &whole)], &[("x-cost", "30")]));
        assert_eq!((names(&recorded.head), names(&recorded.trailers)), (vec!["location"], vec![]));
    }

    #[test]
    fn what_the_gateway_said_of_the_first_call_is_not_recorded() {
        let head = [("x-accord-invalidation", "DEFERRED"), ("grpc-retry-pushback-ms", "-1"), ("etag", "\"1\"")];
        assert_eq!(names(&metadata(&answer(&head, &[])).head), ["etag"]);
    }
}
