//! An upstream under generated stubs: a tower service that sends each request to one of its endpoints.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use accord_runtime::deadline::{Deadline, DeadlineBody, parse_grpc_timeout, within};
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use tonic::Status;
use tower::Service;

use crate::balance::{Picked, Upstream};
use crate::body::ResponseBody;
use crate::bulkhead::Admission;
use crate::config::{ConfigError, UpstreamConfig};
use crate::connect_error::{ConnectCause, ConnectError};
use crate::endpoint::Endpoint;
use crate::exchange;
use crate::failure::Failure;
use crate::owner::CallKey;
use crate::payload::{Payload, RequestBody};
use crate::transport_error::TransportError;

/// The time of a call that says none. Nothing here waits for ever.
const LONGEST: Duration = Duration::from_hours(1);

/// An upstream as generated stubs call it: `ThingServiceClient::new(Client::new(upstream))`. Each call goes to an endpoint of
/// the upstream's choice, and once more to another one where the first certainly never saw it. It ends with its
/// `grpc-timeout`, which the request has to bring (`accord_runtime::request::outbound` writes it).
#[derive(Clone, Debug)]
pub struct Client {
    upstream: Arc<Upstream>,
    only: Option<Arc<Endpoint>>,
    key: Option<CallKey>,
}

impl Client {
    /// Calls any endpoint of the upstream.
    pub fn new(upstream: Arc<Upstream>) -> Self {
        Self { upstream, only: None, key: None }
    }

    /// Whom it calls.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// Calls the endpoint that owns this key.
    pub(crate) fn for_key(upstream: Arc<Upstream>, key: CallKey) -> Self {
        Self { upstream, only: None, key: Some(key) }
    }

    /// Calls what answers at a URL, with the usual settings.
    pub fn lazy(url: &str) -> Result<Self, ConfigError> {
        let urls = vec![url.to_owned()];
        let config = UpstreamConfig { name: url.to_owned(), urls, ..UpstreamConfig::default() };
        Upstream::new(&config).map(Self::new)
    }

    /// Asks this endpoint about itself, whatever is known of it.
    pub(crate) fn only(upstream: Arc<Upstream>, endpoint: Arc<Endpoint>) -> Self {
        Self { upstream, only: Some(endpoint), key: None }
    }

    async fn send<B>(
        self,
        request: Request<B>,
        admission: Option<Admission>,
    ) -> Result<Response<DeadlineBody<StubBody>>, TransportError>
    where
        B: RequestBody,
    {
        let (parts, body) = request.into_parts();
        let deadline = deadline(&parts.headers);
        let path = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let mut payload = Payload::Stream(body);
        let sending = async {
            let head = || parts.headers.clone();
            if let Some(endpoint) = &self.only {
                let picked = Picked::at(endpoint);
                return exchange::ask(&self.upstream, picked, &path, head, &mut payload).await;
            }
            let picked = self.upstream.pick_for_key(self.key).await;
            let picked = picked.ok_or_else(|| TransportError::Connect(self.upstream.no_endpoint()))?;
            exchange::send(&self.upstream, picked, &path, head, &mut payload).await
        };
        let sent = within(deadline, sending).await;
        let mut response = sent.unwrap_or(Err(TransportError::DeadlineExceeded))?;
        if let Some(admission) = admission {
            response.body_mut().hold(admission);
        }
        Ok(response.map(|body| DeadlineBody::new(StubBody { body, upstream: self.upstream }, deadline)))
    }
}

/// The body of an answer as generated stubs read it: what breaks it off is a status, which they pass on. Any other error
/// would be UNKNOWN to them.
#[derive(Debug)]
pub struct StubBody {
    body: ResponseBody,
    upstream: Arc<Upstream>,
}

impl Body for StubBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame.map(|frame| frame.map_err(|error| status(&self.upstream, error))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

/// Why there is no answer; of a connection that could not be made, with what the system said.
fn status(upstream: &Upstream, error: TransportError) -> Status {
    let mut status = Failure::Transport(error).status(upstream.name());
    if let TransportError::Connect(cause) = error {
        let known = upstream.connect_failure().filter(|known| known.cause == cause);
        if let Some(failure) = known.or_else(|| unresolved(cause)) {
            status.set_source(failure);
        }
    }
    status
}

fn unresolved(cause: ConnectCause) -> Option<Arc<ConnectError>> {
    let has_no_address = matches!(cause, ConnectCause::Unresolved | ConnectCause::NotReady);
    has_no_address.then(|| Arc::new(ConnectError::no_address(cause)))
}

/// What the request says of its own time.
fn deadline(headers: &HeaderMap) -> Deadline {
    let said = headers.get("grpc-timeout").and_then(|value| parse_grpc_timeout(value.to_str().ok()?).ok());
    Deadline::after(said.unwrap_or(LONGEST))
}

impl<B> Service<Request<B>> for Client
where
    B: RequestBody,
{
    type Response = Response<DeadlineBody<StubBody>>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let client = self.clone();
        // A health check takes no in-flight slot: it has to find out what a full upstream is.
        let admission = if client.only.is_some() {
            None
        } else {
            match client.upstream.admit_untimed() {
                Ok(admission) => Some(admission),
                Err(failure) => {
                    let refused = failure.status(client.upstream.name());
                    return Box::pin(async { Err(refused) });
                }
            }
        };
        Box::pin(async move {
            let upstream = Arc::clone(&client.upstream);
            client.send(request, admission).await.map_err(|error| status(&upstream, error))
        })
    }
}
