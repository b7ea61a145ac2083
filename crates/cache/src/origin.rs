//! Origin of a load: one unary call to a configured upstream, under the passport of the read that started it. What is called,
//! and what its answer is worth, a plan says for the answers of methods, and the configuration for the keys of a namespace.

use std::sync::Arc;
use std::time::{Duration, Instant};

use accord_mesh::passport;
use accord_readthrough::{Loaded, Origin, Tag};
use accord_runtime::{current_call::CurrentCall, deadline::Deadline, fair_share::Holder, request::RequestId};
use accord_upstream::{self as upstream, Answer, Caller, Upstream};
use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue};
use tonic::{Code, Status};

use crate::answer_metadata::AnswerMetadata;
use crate::load_span::traced;
use crate::namespace_origin::KeyCall;
use crate::origin_failure::failure_of;
use crate::plan::Plan;

/// What is loaded.
#[derive(Clone, Debug)]
pub enum OriginCall {
    /// An answer of a method, as its contract says.
    Method(MethodCall),
    /// What a key of a namespace does not hold.
    Key(KeyCall),
}

/// The load of an answer of a method.
#[derive(Clone, Debug)]
pub struct MethodCall {
    /// What its contract says.
    pub plan: Arc<Plan>,
    /// Who is called.
    pub upstream: Arc<Upstream>,
    /// The request message in wire form.
    pub request: Bytes,
    /// The passport under which it runs.
    pub passport: Option<HeaderValue>,
    /// The headers of the caller that go along.
    pub headers: HeaderMap,
    /// Whose read started it, so that nobody takes all the room of an upstream; none where nobody is known.
    pub holder: Option<Holder>,
    /// Whether the caller counts attempts of its own.
    pub is_retried_outside: bool,
    /// The id of the read.
    pub id: RequestId,
    /// The read, as a call.
    pub read: CurrentCall,
}

/// Loads answers of methods over gRPC, and keys from wherever their namespace says.
#[derive(Clone, Copy, Debug)]
pub struct Loader;

impl Origin for Loader {
    type Call = OriginCall;

    async fn load(&self, call: OriginCall, time: Duration) -> Loaded {
        match call {
            OriginCall::Method(call) => load_answer(&call, time).await,
            OriginCall::Key(call) => {
                let loaded = call.origin.load(&[&call.key], &call.caller, time).await.pop();
                loaded.unwrap_or_else(|| Err(failure_of(&Status::internal("the origin said nothing"))).into())
            }
        }
    }

    async fn load_batch(&self, calls: Vec<OriginCall>, time: Duration) -> Vec<Loaded> {
        // The keys of one batch are those of one namespace, and asked for by one caller.
        let key = |call: &OriginCall| if let OriginCall::Key(call) = call { Some(Arc::clone(&call.key)) } else { None };
        let keys: Vec<_> = calls.iter().filter_map(key).collect();
        match calls.first() {
            Some(OriginCall::Key(first)) if keys.len() == calls.len() => {
                let keys: Vec<_> = keys.iter().map(|key| &**key).collect();
                first.origin.load(&keys, &first.caller, time).await
            }
            _ => join_all(calls.into_iter().map(|call| self.load(call, time))).await,
        }
    }
}

async fn load_answer(call: &MethodCall, time: Duration) -> Loaded {
    let (plan, begun) = (&call.plan, Instant::now());
    let (made, trace) = traced(&call.read, &plan.path, make(call, time)).await;
    let loaded = match made {
        Ok(answer) => {
            if answer.result.is_ok() {
                plan.load_times.record(begun.elapsed());
            }
            loaded(plan, &call.request, answer)
        }
        Err(failure) => refused(plan, &failure.status(call.upstream.name()), Bytes::new()),
    };
    Loaded { trace, ..loaded }
}

async fn make(call: &MethodCall, time: Duration) -> Result<Answer, upstream::Failure> {
    let mut metadata = call.headers.clone();
    if let Some(passport) = &call.passport {
        passport::insert(&mut metadata, passport);
    }
    let plan = &call.plan;
    let outgoing = upstream::Call {
        path: &plan.path,
        metadata: &metadata,
        deadline: Deadline::after(time),
        id: &call.id,
        record: None,
        max_response_bytes: plan.max_response_bytes,
        retries: plan.retries.as_ref().filter(|_| !call.is_retried_outside),
        caller: call.holder.map(|holder| Caller { holder, memory: None }),
        criticality: plan.criticality,
        timed: Some(plan.timed),
    };
    call.upstream.unary(&outgoing, &call.request).await.result
}

fn loaded(plan: &Plan, request: &[u8], answer: Answer) -> Loaded {
    let metadata = AnswerMetadata::of(&answer, &plan.keep_headers).encode();
    let told = [&answer.head, &answer.trailers];
    match answer.result {
        // A copy as large as the message: the buffer it came in is larger, and would live for as long as the answer is kept.
        Ok(message) => {
            let (tags, version) =
                about(plan, request, &message, told).map_or((None, None), |(tags, it)| (Some(tags), it));
            Loaded { load: Ok(Bytes::copy_from_slice(&message)), metadata, tags, version, trace: None }
        }
        Err(status) => refused(plan, &status, metadata),
    }
}

/// The tags and the version that an answer tells.
fn about(
    plan: &Plan,
    request: &[u8],
    answer: &[u8],
    [head, trailers]: [&HeaderMap; 2],
) -> Option<(Vec<Tag>, Option<u64>)> {
    let tags = plan.answer_tags(request, answer);
    let about = tags.and_then(|tags| Ok((tags, plan.version_of(answer, head, trailers)?)));
    about.inspect_err(|error| tracing::warn!(%error, "an answer's tags can't be read: it is not stored")).ok()
}

/// An error tells no tag. That matters where it says something about the data, and not only about the upstream.
fn refused(plan: &Plan, status: &Status, metadata: Bytes) -> Loaded {
    let tags = (!plan.has_answer_tags() || !is_about_data(status.code())).then(Vec::new);
    Loaded { load: Err(failure_of(status)), metadata, tags, version: None, trace: None }
}

fn is_about_data(code: Code) -> bool {
    !matches!(code, Code::Unavailable | Code::DeadlineExceeded | Code::Internal | Code::ResourceExhausted)
}
