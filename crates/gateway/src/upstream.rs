//! The call to the upstream: what goes out, and what comes back.

use crate::{
    admit::Arrival,
    authorize::Permit,
    concurrency_limit::InFlightSlot,
    fault::{Component, Fault},
    memory::{self, CallMemory},
    metadata,
    protocol::BodyMode,
    stream_limits::{StreamLimits, StreamState},
    table::MethodEntry,
};
use accord_api::accord::policy::v1::Criticality;
use accord_contract::Policy;
use accord_mesh::passport;
use accord_runtime::{
    call_record::{CallRecord, WaitsFor},
    deadline::Deadline,
    fair_share::Held,
    request::RequestId,
};
pub(crate) use accord_upstream::Answer;
use accord_upstream::{self as upstream, Failure, PUSHBACK, ResponseBody, Retries, Upstream, grpc};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use http_body::Body;
use std::{
    future::Future,
    mem,
    pin::{Pin, pin},
    sync::Arc,
    time::Instant,
};
use tonic::Code;

/// A call that may go inward.
pub(crate) struct Call {
    /// That it may.
    pub permit: Permit,
    /// Its in-flight slot, for as long as something is done for it.
    pub _slot: Arc<InFlightSlot>,
    /// Its bytes in memory.
    pub memory: CallMemory,
    /// Which version of its upstream it goes to, with all of its attempts; none where that is the upstream's own endpoints.
    pub version: Option<usize>,
    /// Until when.
    pub deadline: Deadline,
    /// How critical it is to answer it.
    criticality: Criticality,
    /// Its id.
    pub id: RequestId,
    /// What is noted of it.
    pub record: CallRecord,
    /// The metadata of the call inward: the caller's, as far as it travels, and the passport.
    pub metadata: HeaderMap,
    /// Whether its caller retries it, so that nobody else does (gRFC A6).
    pub is_retried_by_caller: bool,
    /// Whether it carries a key under which it may be repeated.
    pub has_idempotency_key: bool,
}

impl Call {
    /// A call with what of its head travels inward.
    pub(crate) fn new(
        permit: Permit,
        slot: Arc<InFlightSlot>,
        memory: CallMemory,
        deadline: Deadline,
        arrival: &mut Arrival,
        mode: BodyMode,
    ) -> Self {
        let criticality = arrival.criticality(permit.entry().method.policy.criticality);
        let (headers, options) = (&mut arrival.parts.headers, &arrival.options);
        let version = choose_version(permit.entry(), headers, &arrival.record);
        let mut metadata = match &permit.entry().method.policy.cache {
            Some(cache) => metadata::only(headers, &cache.vary),
            // Nobody looks at the head again.
            None if mode == BodyMode::PassThrough => metadata::inward(mem::take(headers), options.is_metadata, false),
            None => metadata::inward(headers.clone(), options.is_metadata, true),
        };
        if let Some(passport) = permit.passport() {
            passport::insert(&mut metadata, passport);
        }
        Self {
            permit,
            _slot: slot,
            memory,
            version,
            deadline,
            criticality,
            id: arrival.id.clone(),
            record: arrival.record.clone(),
            metadata,
            is_retried_by_caller: options.is_retried_by_caller,
            has_idempotency_key: matches!(options.idempotency_key, Ok(Some(_))),
        }
    }

    /// Whom it calls.
    pub(crate) fn upstream(&self) -> &Arc<Upstream> {
        self.permit.entry().upstream_of(self.version)
    }

    /// What the contract says of its method.
    pub(crate) fn policy(&self) -> &Policy {
        &self.permit.entry().method.policy
    }

    /// The call as the crate `upstream` takes it.
    fn outbound(&self) -> upstream::Call<'_> {
        upstream::Call {
            path: &self.permit.entry().path,
            metadata: &self.metadata,
            deadline: self.deadline,
            id: &self.id,
            record: Some(&self.record),
            max_response_bytes: self.policy().max_response_bytes,
            retries: self.retries(),
            caller: Some(self.memory.caller()),
            criticality: self.criticality,
            timed: self.permit.entry().timed,
        }
    }

    /// The same answer, with its bytes counted that did not come from the upstream.
    pub(crate) fn hold(&self, mut answer: Answer) -> Result<Answer, Fault> {
        let bytes = answer.result.as_ref().map_or(0, Bytes::len);
        answer.held = Some(self.memory.response(bytes)?);
        Ok(answer)
    }

    /// What waits in its windows, where it is passed on as it comes.
    pub(crate) fn windows(&self) -> Result<Held, Fault> {
        self.memory.windows(self.permit.entry().method.kind)
    }

    fn retries(&self) -> Option<&Retries> {
        let entry = self.permit.entry();
        let may_repeat = !self.is_retried_by_caller && entry.method.may_repeat(self.has_idempotency_key);
        entry.retries.as_ref().filter(|_| may_repeat)
    }

    fn fault(&self, failure: &Failure) -> Fault {
        if failure.is_deadline() {
            return Fault::deadline(Component::Upstream);
        }
        if let Some(shed) = failure.shed() {
            return memory::shed(shed);
        }
        Fault::from_status(Component::Upstream, failure.status(self.upstream().name()))
    }
}

/// The route: which version of the method's upstream a call with these headers goes to.
fn choose_version(entry: &MethodEntry, headers: &HeaderMap, record: &CallRecord) -> Option<usize> {
    let version = entry.upstream.choose_version(headers);
    if let Some(name) = entry.upstream.version_name(version) {
        record.set_version(Arc::clone(name));
    }
    version
}

/// What came of a unary call, and whether the upstream may have acted on it.
pub(crate) struct Outcome {
    /// The answer, or why there is none.
    pub result: Result<Answer, Fault>,
    /// Whether something may have changed.
    pub may_have_acted: bool,
    /// Whether the same call may be made again without being done twice: no attempt reached a handler that may have done it,
    /// except one that says it did not.
    pub may_be_repeated: bool,
}

impl Outcome {
    /// A call that ended before the upstream was asked.
    pub(crate) fn not_acted(fault: Fault) -> Self {
        Self { result: Err(fault), may_have_acted: false, may_be_repeated: true }
    }

    /// A call that was given up while it ran.
    pub(crate) fn unknown(fault: Fault) -> Self {
        Self { result: Err(fault), may_have_acted: true, may_be_repeated: false }
    }

    /// A call whose answer was recorded earlier.
    pub(crate) fn replayed(answer: Answer) -> Self {
        Self { may_have_acted: may_have_committed(answer.code()), result: Ok(answer), may_be_repeated: false }
    }
}

/// Waits for the upstream, or for the cache in its place: a cache that is gone or hangs shows at its connection, so what takes longer
/// is a load. Notes for how long, and as which step of the call. The work is pinned where it is made, since it is large.
pub(crate) async fn timed<T>(call: &Call, step: &'static str, work: Pin<&mut impl Future<Output = T>>) -> T {
    let begun = Instant::now();
    call.record.wait_for(WaitsFor::Upstream);
    let done = work.await;
    call.record.wait_for(WaitsFor::Itself);
    call.record.add_upstream_time(begun.elapsed());
    call.record.step(step);
    done
}

/// Makes a unary call, with the retries that its contract allows.
pub(crate) async fn unary(call: &Call, message: &Bytes) -> Outcome {
    let outbound = call.outbound();
    let outcome = timed(call, "upstream", pin!(call.upstream().unary(&outbound, message))).await;
    let acted_before = outcome.may_have_acted_before;
    let (may_have_acted, is_refused) = match &outcome.result {
        Ok(answer) => (may_have_committed(answer.code()), is_refused(answer.code())),
        Err(failure) => (!failure.is_unprocessed(), failure.is_unprocessed()),
    };
    let result =
        outcome.result.map(|answer| keep_declared(answer, call.policy())).map_err(|failure| call.fault(&failure));
    Outcome {
        result: give_up(call, result),
        may_have_acted: acted_before || may_have_acted,
        may_be_repeated: !acted_before && is_refused,
    }
}

/// The codes by which a handler says that it has not done the call and may be asked again. Unavailable, cancelled and
/// deadline exceeded are none of them: proxies and libraries answer so too, at any moment of a call.
fn is_refused(code: Code) -> bool {
    matches!(code, Code::Aborted | Code::ResourceExhausted | Code::Unauthenticated)
}

/// What is left of a call once the retries that its contract declares were in vain, here or in the cache: outer hops, and a
/// client that honours pushback, don't repeat it, since attempts at several hops would multiply (gRFC A6).
pub(crate) fn give_up(call: &Call, mut result: Result<Answer, Fault>) -> Result<Answer, Fault> {
    let Some(retries) = call.retries() else { return result };
    match &mut result {
        Ok(answer) if retries.on.contains(&answer.code()) => {
            let metadata = if answer.is_trailers_only { &mut answer.head } else { &mut answer.trailers };
            metadata.insert(PUSHBACK, NEVER);
        }
        Err(fault) if retries.on.contains(&fault.status().code()) => fault.insert_metadata(PUSHBACK, NEVER),
        _ => {}
    }
    result
}

const NEVER: HeaderValue = HeaderValue::from_static("-1");

/// Without the metadata that the contract of a cached method does not name, whoever gives the answer.
fn keep_declared(mut answer: Answer, policy: &Policy) -> Answer {
    if let Some(cache) = &policy.cache {
        answer.head = metadata::only(&answer.head, &cache.keep_headers);
        answer.trailers = metadata::only(&answer.trailers, &cache.keep_headers);
    }
    answer
}

/// Success, and every code that leaves open whether the handler committed.
pub(crate) fn may_have_committed(code: Code) -> bool {
    use Code::{
        AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, OutOfRange, PermissionDenied, Unauthenticated,
        Unimplemented,
    };
    !matches!(
        code,
        AlreadyExists
            | FailedPrecondition
            | InvalidArgument
            | NotFound
            | OutOfRange
            | PermissionDenied
            | Unauthenticated
            | Unimplemented
    )
}

/// Sends a body on as it comes, and the answer back as it comes.
pub(crate) async fn stream<B>(call: &Call, body: B, state: &StreamState) -> Result<Response<ResponseBody>, Fault>
where
    B: Body<Data = Bytes, Error: Send> + Send + Unpin + 'static,
{
    let outbound = call.outbound();
    let answered = timed(call, "upstream", pin!(call.upstream().stream(&outbound, body))).await;
    if let Some(status) = state.end_reason() {
        return Err(Fault::from_status(Component::Gateway, status.clone()));
    }
    let response = answered.map_err(|failure| call.fault(&failure))?;
    let method = &call.permit.entry().method;
    if StreamLimits::of_response(method).is_single && grpc::code(response.headers()) == Some(Code::Ok) {
        return Err(Fault::not_one_message());
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_that_says_nothing_of_commitment_may_have_committed() {
        for code in [Code::Ok, Code::Unknown, Code::Aborted, Code::ResourceExhausted, Code::DataLoss, Code::Unavailable]
        {
            assert!(may_have_committed(code), "{code:?}");
        }
    }

    #[test]
    fn code_of_a_refused_request_has_not_committed() {
        for code in [Code::NotFound, Code::InvalidArgument] {
            assert!(!may_have_committed(code), "{code:?}");
        }
    }
}
