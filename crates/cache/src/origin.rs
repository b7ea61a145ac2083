//! Origin of a load: one unary call to a configured upstream, under the passport of the read that started it. What is called,
//! and what its answer is worth, a plan says for the answers of methods, and the configuration for the keys of a namespace.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use accord_api::accord::fault::v1::Reason;
use accord_mesh::passport;
use accord_readthrough::{Loaded, Origin, Tag};
use accord_runtime::{current_call::CurrentCall, deadline::Deadline, fair_share::Holder, fault, request::RequestId};
use accord_upstream::{self as upstream, Answer, Caller, ConfigError, DiscoveryConfig, Upstream, UpstreamConfig};
use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue};
use tonic::{Code, Status};

use crate::answer_metadata::AnswerMetadata;
use crate::load_span::traced;
use crate::namespace_origin::KeyCall;
use crate::origin_failure::failure_of;
use crate::plan::Plan;

/// The upstreams that the configuration holds. Nobody can make the cache call any other address.
#[derive(Clone, Debug)]
pub struct Upstreams(Arc<HashMap<Arc<str>, Arc<Upstream>>>);

impl Upstreams {
    /// Connects to nothing yet.
    pub fn new(configured: &[UpstreamConfig], discovery: &DiscoveryConfig) -> Result<Self, ConfigError> {
        let upstreams = Upstream::all(configured, discovery)?;
        Ok(Self(Arc::new(upstreams.into_iter().map(|upstream| (Arc::clone(upstream.name()), upstream)).collect())))
    }

    /// Asks all endpoints from time to time whether they live, so that a dead one is known before a load finds out.
    pub fn keep_checking_health(&self) {
        for upstream in self.0.values().flat_map(Upstream::with_versions) {
            tokio::spawn(Arc::clone(upstream).keep_checking_health());
        }
    }

    /// The upstream of a name.
    pub fn find(&self, name: &str) -> Result<&Arc<Upstream>, Status> {
        self.0.get(name).ok_or_else(|| {
            let problem =
                format!("the cache's configuration holds no upstream {name:?}: give it the [[upstream]] section");
            fault::status(Reason::UpstreamUnknown, problem)
        })
    }

    /// A version of an upstream; its own endpoints for the empty name.
    pub fn find_version(&self, name: &str, version: &str) -> Result<&Arc<Upstream>, Status> {
        self.find(name)?.version(version).ok_or_else(|| {
            let problem = format!(
                "the cache's configuration holds no version {version:?} of the upstream {name:?}: give it the \
                 [[upstream.version]] section"
            );
            fault::status(Reason::UpstreamUnknown, problem)
        })
    }
}

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
    match traced(&call.read, &plan.path, make(call, time)).await {
        Ok(answer) => {
            if answer.result.is_ok() {
                plan.load_times.record(begun.elapsed());
            }
            loaded(plan, &call.request, answer)
        }
        Err(failure) => refused(plan, &failure.status(call.upstream.name()), Bytes::new()),
    }
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
            Loaded { load: Ok(Bytes::copy_from_slice(&message)), metadata, tags, version }
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
    Loaded { load: Err(failure_of(status)), metadata, tags, version: None }
}

fn is_about_data(code: Code) -> bool {
    !matches!(code, Code::Unavailable | Code::DeadlineExceeded | Code::Internal | Code::ResourceExhausted)
}
