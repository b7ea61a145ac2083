//! Calls against scripted HTTP/2 servers: what goes wrong on connections and streams, and what becomes of the calls.

mod bodies;
mod raw;
mod server;

mod client;
mod connections;
mod ejection;
mod endpoints;
mod goaway;
mod leaks;
mod limits;
mod resets;
mod responses;
mod retries;
mod spans;
mod tls;
mod uploads;
mod workers;

use std::sync::Arc;
use std::time::Duration;

use accord_api::accord::policy::v1::Criticality;
use accord_runtime::deadline::Deadline;
use accord_runtime::request::RequestId;
use accord_upstream::{
    Answer, Call, Failure, Outcome, ResponseBody, Retries, TimedMethod, TransportError, Upstream, UpstreamConfig,
};
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Response};
use http_body::Body;
use tokio::task::JoinHandle;

static PATH: PathAndQuery = PathAndQuery::from_static("/shop.v1.Shop/Buy");

/// An upstream of one endpoint.
fn upstream(url: &str, change: impl FnOnce(&mut UpstreamConfig)) -> Arc<Upstream> {
    let mut config = UpstreamConfig { name: "shop".into(), urls: vec![url.into()], ..UpstreamConfig::default() };
    change(&mut config);
    Upstream::new(&config).unwrap()
}

/// With one connection while all is well.
fn one_connection(config: &mut UpstreamConfig) {
    config.connections = 1;
}

/// What differs between calls.
struct Calling {
    within: Duration,
    retries: Option<Retries>,
}

impl Default for Calling {
    fn default() -> Self {
        Self { within: server::PATIENCE, retries: None }
    }
}

impl Calling {
    async fn unary(self, upstream: Arc<Upstream>) -> Outcome {
        let (metadata, id) = (HeaderMap::new(), RequestId::new());
        upstream.unary(&self.call(&metadata, &id), b"hello").await
    }

    async fn stream<B>(self, upstream: Arc<Upstream>, body: B) -> Result<Response<ResponseBody>, Failure>
    where
        B: Body<Data = Bytes, Error: Send> + Send + Unpin + 'static,
    {
        let (metadata, id) = (HeaderMap::new(), RequestId::new());
        upstream.stream(&self.call(&metadata, &id), body).await
    }

    fn call<'a>(&'a self, metadata: &'a HeaderMap, id: &'a RequestId) -> Call<'a> {
        Call {
            path: &PATH,
            metadata,
            deadline: Deadline::after(self.within),
            id,
            record: None,
            max_response_bytes: 8 << 20,
            retries: self.retries.as_ref(),
            caller: None,
            criticality: Criticality::CriticalPlus,
            timed: Some(TimedMethod::new(PATH.as_str())),
        }
    }
}

/// A unary call under way.
fn unary(upstream: &Arc<Upstream>) -> JoinHandle<Outcome> {
    tokio::spawn(Calling::default().unary(Arc::clone(upstream)))
}

/// A streamed call under way.
fn stream<B>(upstream: &Arc<Upstream>, body: B) -> JoinHandle<Result<Response<ResponseBody>, Failure>>
where
    B: Body<Data = Bytes, Error: Send> + Send + Unpin + 'static,
{
    tokio::spawn(Calling::default().stream(Arc::clone(upstream), body))
}

fn answer(outcome: Outcome) -> Answer {
    outcome.result.unwrap_or_else(|failure| panic!("{failure:?}"))
}

/// Why a call has no answer.
fn transport_error(failure: &Failure) -> TransportError {
    match failure {
        Failure::Transport(error) => *error,
        other => panic!("{other:?}"),
    }
}

fn nothing() -> http_body_util::Empty<Bytes> {
    http_body_util::Empty::new()
}
