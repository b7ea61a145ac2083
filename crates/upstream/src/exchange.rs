//! One HTTP/2 request to one endpoint, and the head of its response.

use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Response, Uri, Version};
use tokio::time::Instant;

use crate::balance::{Picked, Upstream};
use crate::body::{InFlightGuards, ResponseBody, bounded, judge};
use crate::connection::Lease;
use crate::discovery::Address;
use crate::endpoint::InFlight;
use crate::payload::{Payload, RequestBody, Sending, Upload};
use crate::transport_error::TransportError;

/// Endpoints that are tried after one that can't be connected to: each is ejected, so the next is a better guess.
const OTHERS: usize = 3;

/// Connections that may turn out to be closing before a call gives up: each holds none of it.
const CONNECTIONS: usize = 3;

/// Sends a call to an endpoint, and to another one where the first certainly never saw it (transparent retry, gRFC A6): once
/// after a server refused it, and a few times where no connection can be made. `head` makes the headers anew each time.
pub(crate) async fn send<B>(
    upstream: &Arc<Upstream>,
    first: Picked,
    path: &PathAndQuery,
    head: impl Fn() -> HeaderMap,
    payload: &mut Payload<B>,
) -> Result<Response<ResponseBody>, TransportError>
where
    B: RequestBody,
{
    let mut picked = first;
    let (mut unconnected, mut refused) = (0, 0);
    loop {
        let (tried, key) = (Arc::clone(picked.endpoint()), picked.key);
        let sent = send_once(upstream, picked, path, &head, payload).await;
        let Err(error) = &sent else { return sent };
        unconnected += usize::from(error.is_connect());
        refused += usize::from(*error == TransportError::Refused);
        let may_go_on = error.is_unprocessed() && unconnected <= OTHERS && refused <= 1 && payload.is_whole();
        let another = may_go_on.then(|| upstream.pick_next(key, &tried)).flatten();
        // Whom nobody could connect to a moment ago is not waited for once more.
        let another = another.filter(|another| *error == TransportError::Refused || !another.is_ejected());
        let Some(another) = another else { return sent };
        picked = another;
    }
}

/// Sends a call to one endpoint, and learns from what comes of it.
pub(crate) async fn send_once<B>(
    upstream: &Upstream,
    mut picked: Picked,
    path: &PathAndQuery,
    head: impl Fn() -> HeaderMap,
    payload: &mut Payload<B>,
) -> Result<Response<ResponseBody>, TransportError>
where
    B: RequestBody,
{
    let sent = SentAttempt::new(upstream);
    match attempt(&picked, path, head, payload).await {
        Ok(begun) => {
            let elapsed = picked.in_flight.answered();
            sent.ended(elapsed, true);
            Ok(begun.response(picked.in_flight, elapsed, upstream.max_header_bytes()))
        }
        Err(error) => {
            sent.ended(picked.in_flight.failed(error), false);
            if !matches!(error, TransportError::DeadlineExceeded | TransportError::RequestBroken) {
                upstream.request_health_check();
            }
            Err(error)
        }
    }
}

/// An attempt until it is counted. One that is given up, by its deadline or by whoever waited for it, had no response headers.
struct SentAttempt<'a> {
    upstream: &'a Upstream,
    since: Instant,
    is_counted: bool,
}

impl<'a> SentAttempt<'a> {
    fn new(upstream: &'a Upstream) -> Self {
        Self { upstream, since: Instant::now(), is_counted: false }
    }

    fn ended(mut self, elapsed: Duration, has_response_headers: bool) {
        self.is_counted = true;
        self.upstream.attempted(elapsed, has_response_headers);
    }
}

impl Drop for SentAttempt<'_> {
    fn drop(&mut self) {
        if !self.is_counted {
            self.upstream.attempted(self.since.elapsed(), false);
        }
    }
}

/// Asks an endpoint about itself. What comes of it is neither counted among calls nor a reason for another health check.
pub(crate) async fn ask<B>(
    upstream: &Upstream,
    mut picked: Picked,
    path: &PathAndQuery,
    head: impl Fn() -> HeaderMap,
    payload: &mut Payload<B>,
) -> Result<Response<ResponseBody>, TransportError>
where
    B: RequestBody,
{
    picked.in_flight.settle();
    let begun = attempt(&picked, path, head, payload).await?;
    let elapsed = picked.in_flight.since().elapsed();
    Ok(begun.response(picked.in_flight, elapsed, upstream.max_header_bytes()))
}

/// An answer whose head is here.
struct Begun {
    response: Response<h2::RecvStream>,
    lease: Lease,
    sending: Sending,
    /// After how long all of the request was sent; none where it is not yet.
    sent_after: Option<Duration>,
}

impl Begun {
    /// The answer, with what its call holds until it is over.
    fn response(self, in_flight: InFlight, elapsed: Duration, max_header_bytes: usize) -> Response<ResponseBody> {
        let (mut parts, stream) = self.response.into_parts();
        let (headers, is_cut) = bounded(parts.headers, max_header_bytes);
        parts.headers = headers;
        // An answer without a body carries its status in the head.
        if parts.headers.contains_key("grpc-status") {
            judge(&in_flight, &parts.headers);
        }
        if is_cut {
            return Response::from_parts(parts, ResponseBody::over());
        }
        // Until all of the request is there, the upstream waits for its caller.
        let latency = self.sent_after.map(|sent| elapsed.saturating_sub(sent));
        let (sending, lease) = (self.sending, self.lease);
        let guards = InFlightGuards { sending, in_flight, lease, admission: None, traced: None };
        Response::from_parts(parts, ResponseBody::new(stream, latency, max_header_bytes, guards))
    }
}

async fn attempt<B>(
    picked: &Picked,
    path: &PathAndQuery,
    head: impl Fn() -> HeaderMap,
    payload: &mut Payload<B>,
) -> Result<Begun, TransportError>
where
    B: RequestBody,
{
    let endpoint = picked.endpoint();
    let pool = endpoint.pool();
    for _ in 0..CONNECTIONS {
        let lease = pool.lease().await.map_err(|error| TransportError::Connect(error.cause))?;
        let Ok((response, stream)) = lease.send(request(endpoint.address(), path, head()), false) else {
            // A peer that goes away says so on all of its connections.
            pool.discard_closing();
            continue;
        };
        let mut upload = payload.begin(stream).await;
        let answered = match &mut upload {
            Some(upload) => upload.until(response).await,
            None => response.await,
        };
        return match (answered, upload) {
            (Ok(response), upload) => {
                let since = picked.in_flight.since();
                let sent_after = upload.as_ref().map_or(Some(Duration::ZERO), |upload| upload.sent_after(since));
                Ok(Begun { response, lease, sending: upload.map(Upload::detach).unwrap_or_default(), sent_after })
            }
            (Err(_), Some(upload)) if upload.is_broken() => Err(TransportError::RequestBroken),
            (Err(error), upload) => {
                if TransportError::is_of_connection(&error) {
                    pool.replace(&lease);
                }
                if let Some(upload) = upload {
                    *payload = upload.again();
                }
                Err(TransportError::of(&error))
            }
        };
    }
    Err(TransportError::Refused)
}

fn request(address: &Address, path: &PathAndQuery, head: HeaderMap) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = uri(address, path);
    *request.headers_mut() = head;
    request
}

fn uri(address: &Address, path: &PathAndQuery) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(address.url.scheme.clone());
    parts.authority = Some(address.url.authority.clone());
    parts.path_and_query = Some(path.clone());
    // Scheme, authority and path are all there, which is what makes it whole.
    Uri::from_parts(parts).unwrap_or_default()
}
