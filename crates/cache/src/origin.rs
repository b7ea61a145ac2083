//! Origin of a load: one unary call to a configured upstream, under the passport of the read that started it. What is called,
//! and what its answer is worth, a plan says for the answers of methods, and the configuration for the keys of a namespace.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use accord_api::accord::fault::v1::Reason;
use accord_api::accord::policy::v1::Criticality;
use accord_mesh::passport;
use accord_readthrough::{Failure, Load, Loaded, Origin, Tag};
use accord_runtime::{
    current_call::CurrentCall, deadline::Deadline, fair_share::Holder, fault, request::RequestId, trace,
};
use accord_upstream::{self as upstream, Answer, Caller, ConfigError, DiscoveryConfig, Upstream, UpstreamConfig};
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue};
use tonic::{Code, Status};

use crate::answer_metadata::AnswerMetadata;
use crate::namespace_origin::KeyOrigin;
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

/// What one load needs.
#[derive(Clone, Debug)]
pub struct OriginCall {
    /// What is called.
    pub target: Target,
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

/// What is loaded.
#[derive(Clone, Debug)]
pub enum Target {
    /// An answer of a method, as its contract says.
    Method(Arc<Plan>),
    /// What a key of a namespace does not hold.
    Key(Arc<KeyOrigin>),
}

impl Target {
    /// What goes out, within this time.
    fn describe<'a>(&'a self, call: &'a OriginCall, metadata: &'a HeaderMap, time: Duration) -> upstream::Call<'a> {
        let (path, max_response_bytes, retries, time) = match self {
            Self::Method(plan) => (&plan.path, plan.max_response_bytes, plan.retries.as_ref(), time),
            // Less than its reader has left: then it is the origin that is slow, and nobody who waits loads again.
            Self::Key(key) => (&key.path, key.max_response_bytes, key.retries.as_ref(), time.min(key.timeout)),
        };
        let (deadline, retries) = (Deadline::after(time), retries.filter(|_| !call.is_retried_outside));
        let id = &call.id;
        let (record, caller) = (None, call.holder.map(|holder| Caller { holder, memory: None }));
        let (criticality, timed) = match self {
            Self::Method(plan) => (plan.criticality, plan.timed),
            // A namespace has no contract that says more.
            Self::Key(key) => (Criticality::Critical, key.timed),
        };
        let timed = Some(timed);
        upstream::Call { path, metadata, deadline, id, record, max_response_bytes, retries, caller, criticality, timed }
    }

    fn path(&self) -> &PathAndQuery {
        match self {
            Self::Method(plan) => &plan.path,
            Self::Key(key) => &key.path,
        }
    }
}

/// Loads from upstreams over gRPC.
#[derive(Clone, Copy, Debug)]
pub struct Loader;

impl Origin for Loader {
    type Call = OriginCall;

    async fn load(&self, call: OriginCall, time: Duration) -> Loaded {
        let path = call.target.path();
        let load = || tracing::info_span!("load", otel.kind = "client", rpc.method = %path);
        let read = call.read.clone().child(|| trace::client_span(load));
        let begun = Instant::now();
        let result = read.instrument(make(&call, time)).await;
        if let (Target::Method(plan), Ok(answer)) = (&call.target, &result)
            && answer.result.is_ok()
        {
            plan.load_times.record(begun.elapsed());
        }
        match (&call.target, result) {
            (Target::Method(plan), Ok(answer)) => loaded(plan, &call.request, answer),
            (Target::Method(plan), Err(failure)) => refused(plan, &failure.status(call.upstream.name()), Bytes::new()),
            (Target::Key(key), result) => value(key, result).into(),
        }
    }
}

async fn make(call: &OriginCall, time: Duration) -> Result<Answer, upstream::Failure> {
    let mut metadata = call.headers.clone();
    if let Some(passport) = &call.passport {
        passport::insert(&mut metadata, passport);
    }
    call.upstream.unary(&call.target.describe(call, &metadata, time), &call.request).await.result
}

fn loaded(plan: &Plan, request: &[u8], answer: Answer) -> Loaded {
    let metadata = AnswerMetadata::of(&answer, &plan.keep_headers).encode();
    match answer.result {
        // A copy as large as the message: the buffer it came in is larger, and would live for as long as the answer is kept.
        Ok(message) => {
            Loaded { load: Ok(Bytes::copy_from_slice(&message)), metadata, tags: tags(plan, request, &message) }
        }
        Err(status) => refused(plan, &status, metadata),
    }
}

fn value(key: &KeyOrigin, result: Result<Answer, upstream::Failure>) -> Load {
    let answer = result.map_err(|failure| failure_of(&failure.status(&key.upstream)))?;
    let value = answer.result.map_err(|status| key.refused(&status)).and_then(|message| key.value(&message));
    value.map_err(|status| failure_of(&status))
}

fn tags(plan: &Plan, request: &[u8], answer: &[u8]) -> Option<Vec<Tag>> {
    let tags = plan.answer_tags(request, answer);
    tags.inspect_err(|error| tracing::warn!(%error, "an answer's tags can't be read: it is not stored")).ok()
}

/// An error tells no tag. That matters where it says something about the data, and not only about the upstream.
fn refused(plan: &Plan, status: &Status, metadata: Bytes) -> Loaded {
    let tags = (!plan.has_answer_tags() || !is_about_data(status.code())).then(Vec::new);
    Loaded { load: Err(failure_of(status)), metadata, tags }
}

fn failure_of(status: &Status) -> Failure {
    Failure {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: Bytes::copy_from_slice(status.details()),
    }
}

fn is_about_data(code: Code) -> bool {
    !matches!(code, Code::Unavailable | Code::DeadlineExceeded | Code::Internal | Code::ResourceExhausted)
}
