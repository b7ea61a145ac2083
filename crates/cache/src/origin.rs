//! Origin of a load: one unary call to a configured upstream, under the passport of the read that started it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use accord_api::accord::fault::v1::Reason;
use accord_readthrough::{Failure, Loaded, Origin, Tag};
use accord_runtime::{deadline::Deadline, fault, request::RequestId};
use accord_token::PASSPORT_HEADER;
use accord_upstream::{self as upstream, Answer, ConfigError, Upstream, UpstreamConfig};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use tonic::{Code, Status};
use tracing::{Instrument, Span};

use crate::answer_metadata::AnswerMetadata;
use crate::plan::Plan;

/// The upstreams that the configuration holds. Nobody can make the cache call any other address.
#[derive(Clone, Debug)]
pub struct Upstreams(Arc<HashMap<Arc<str>, Arc<Upstream>>>);

impl Upstreams {
    /// Connects to nothing yet.
    pub fn new(configured: &[UpstreamConfig]) -> Result<Self, ConfigError> {
        let upstreams = Upstream::all(configured)?;
        Ok(Self(Arc::new(upstreams.into_iter().map(|upstream| (Arc::clone(upstream.name()), upstream)).collect())))
    }

    /// Asks all endpoints from time to time whether they live, so that a dead one is known before a load finds out.
    pub fn keep_checking_health(&self) {
        for upstream in self.0.values() {
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
}

/// What one load needs.
#[derive(Clone, Debug)]
pub struct OriginCall {
    /// What the contract says.
    pub plan: Arc<Plan>,
    /// Who is called.
    pub upstream: Arc<Upstream>,
    /// The request message in wire form.
    pub request: Bytes,
    /// The passport under which it runs.
    pub passport: Option<HeaderValue>,
    /// The headers of the caller that go along.
    pub headers: HeaderMap,
    /// Whether the caller counts attempts of its own.
    pub is_retried_outside: bool,
    /// The id of the read.
    pub id: RequestId,
    /// The span of the read.
    pub span: Span,
}

/// Loads from upstreams over gRPC.
#[derive(Clone, Copy, Debug)]
pub struct Loader;

impl Origin for Loader {
    type Call = OriginCall;

    async fn load(&self, call: OriginCall, time: Duration) -> Loaded {
        let span = tracing::info_span!(parent: &call.span, "load", otel.kind = "client", rpc.method = %call.plan.path);
        match make(&call, Deadline::after(time)).instrument(span).await {
            Ok(answer) => loaded(&call, answer),
            Err(failure) => refused(&call, &failure.status(&call.plan.upstream), Bytes::new()),
        }
    }
}

async fn make(call: &OriginCall, deadline: Deadline) -> Result<Answer, upstream::Failure> {
    let plan = &call.plan;
    let mut metadata = call.headers.clone();
    if let Some(passport) = &call.passport {
        metadata.insert(PASSPORT_HEADER, passport.clone());
    }
    let described = upstream::Call {
        path: &plan.path,
        metadata: &metadata,
        deadline,
        id: &call.id,
        record: None,
        max_response_bytes: plan.max_response_bytes,
        retries: plan.retries.as_ref().filter(|_| !call.is_retried_outside),
        shard: 0,
    };
    call.upstream.unary(&described, &call.request).await.result
}

fn loaded(call: &OriginCall, answer: Answer) -> Loaded {
    let metadata = AnswerMetadata::of(&answer, &call.plan.keep_headers).encode();
    match answer.result {
        // A copy as large as the message: the buffer it came in is larger, and would live for as long as the answer is kept.
        Ok(message) => Loaded { load: Ok(Bytes::copy_from_slice(&message)), metadata, tags: tags(call, &message) },
        Err(status) => refused(call, &status, metadata),
    }
}

fn tags(call: &OriginCall, answer: &[u8]) -> Option<Vec<Tag>> {
    let tags = call.plan.answer_tags(&call.request, answer);
    tags.inspect_err(|error| tracing::warn!(%error, "an answer's tags can't be read: it is not stored")).ok()
}

/// An error tells no tag. That matters where it says something about the data, and not only about the upstream.
fn refused(call: &OriginCall, status: &Status, metadata: Bytes) -> Loaded {
    let tags = (!call.plan.has_answer_tags() || !is_about_data(status.code())).then(Vec::new);
    let failure = Failure {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: Bytes::copy_from_slice(status.details()),
    };
    Loaded { load: Err(failure), metadata, tags }
}

fn is_about_data(code: Code) -> bool {
    !matches!(code, Code::Unavailable | Code::DeadlineExceeded | Code::Internal | Code::ResourceExhausted)
}
