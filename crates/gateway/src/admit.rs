//! What comes in, made plain: which protocol, which request, how long it may take, and only headers that may come in.

use crate::{
    fault::{Component, Fault},
    metadata::is_ours,
};
use accord_api::accord::fault::v1::Reason;
use accord_contract::Criticality;
use accord_runtime::{
    deadline::{Deadline, parse_grpc_timeout},
    request::RequestId,
    server::Peer,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, StatusCode, Version, header, request::Parts};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use opentelemetry::metrics::UpDownCounter;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Code, Status, body::Body};

/// How the caller speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC on HTTP/2.
    Grpc,
    /// JSON by `google.api.http`, or on the method's own path.
    Json,
}

impl Protocol {
    /// Its name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Json => "json",
        }
    }

    /// Told before anything is looked at, so that a refusal can already be said in the caller's words. Who says gRPC
    /// on HTTP/1.1 can't read an answer in gRPC.
    pub fn of<B>(request: &Request<B>) -> Self {
        let is_grpc = request.version() == Version::HTTP_2 && grpc_flavour(request.headers()).is_some();
        if is_grpc { Self::Grpc } else { Self::Json }
    }
}

/// A request that may come in.
pub struct Arrival {
    /// How the caller speaks.
    pub protocol: Protocol,
    /// The head, without anything that only our own hops may say.
    pub parts: Parts,
    /// The body, untouched.
    pub body: Incoming,
    /// The request's id.
    pub id: RequestId,
    /// Where it came from.
    pub address: IpAddr,
}

/// Looks at the head of a request and takes out what may not come from outside.
pub fn admit(request: Request<Incoming>) -> Result<Arrival, Fault> {
    let protocol = Protocol::of(&request);
    let (mut parts, body) = request.into_parts();
    check_protocol(protocol, &parts)?;
    clean(&mut parts.headers)?;
    let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let address = parts.extensions.get::<Peer>().map_or(unknown, |peer| peer.address).ip();
    let id = parts.extensions.get::<RequestId>().cloned().unwrap_or_default();
    Ok(Arrival { protocol, parts, body, id, address })
}

fn check_protocol(protocol: Protocol, parts: &Parts) -> Result<(), Fault> {
    match grpc_flavour(&parts.headers) {
        Some(_) if protocol == Protocol::Json => {
            return Err(unsupported("gRPC needs HTTP/2; call with JSON over HTTP/1.1 instead"));
        }
        Some("" | "+proto") if parts.method == Method::POST => {}
        Some("" | "+proto") => return Err(unsupported("a gRPC call is a POST")),
        Some(_) => return Err(unsupported("gRPC is served with protobuf messages only; call with JSON otherwise")),
        None => {}
    }
    let content_type = content_type(&parts.headers);
    if ["application/grpc-web", "application/connect"].iter().any(|stranger| content_type.starts_with(stranger)) {
        return Err(unsupported("gRPC-Web and Connect are not served; call with gRPC or JSON"));
    }
    Ok(())
}

/// What follows `application/grpc`, without parameters: nothing, or how messages are written.
fn grpc_flavour(headers: &HeaderMap) -> Option<&str> {
    let flavour = content_type(headers).strip_prefix("application/grpc")?.split(';').next()?.trim_end();
    (flavour.is_empty() || flavour.starts_with('+')).then_some(flavour)
}

fn content_type(headers: &HeaderMap) -> &str {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn unsupported(message: &str) -> Fault {
    Fault::new(Component::Gateway, Code::Unimplemented, Reason::ProtocolUnsupported, message)
        .http(StatusCode::UNSUPPORTED_MEDIA_TYPE)
}

/// Removes our own namespace and refuses what two readers could read differently.
fn clean(headers: &mut HeaderMap) -> Result<(), Fault> {
    if headers.get_all(header::AUTHORIZATION).iter().nth(1).is_some() {
        return Err(refused("`authorization` came more than once; send one"));
    }
    let named = connection_headers(headers);
    let strangers: Vec<_> = headers.keys().filter(|name| is_ours(name) || named.contains(name)).cloned().collect();
    for name in strangers {
        if name == header::AUTHORIZATION {
            return Err(refused("`authorization` is named in `connection`; leave it out there"));
        }
        headers.remove(name);
    }
    Ok(())
}

fn refused(message: &str) -> Fault {
    Fault::new(Component::Gateway, Code::InvalidArgument, Reason::HeaderRefused, message)
}

fn connection_headers(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok()).collect()
}

/// The deadline of a call: the shorter of what it wishes and what its contract caps; without a wish, the default.
pub fn deadline(policy: &accord_contract::Deadline, arrival: &Arrival) -> Result<Deadline, Fault> {
    let wish = match arrival.protocol {
        Protocol::Grpc => timeout(&arrival.parts.headers, "grpc-timeout", |text| parse_grpc_timeout(text).ok())?,
        Protocol::Json => timeout(&arrival.parts.headers, "request-timeout", parse_seconds)?,
    };
    match wish {
        Some(Duration::ZERO) => Err(Fault::deadline()),
        wish => Ok(Deadline::after(wish.map_or(policy.default, |wish| wish.min(policy.max)))),
    }
}

fn timeout(
    headers: &HeaderMap,
    name: &'static str,
    parse: fn(&str) -> Option<Duration>,
) -> Result<Option<Duration>, Fault> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().ok().and_then(parse).map(Some).ok_or_else(|| malformed(name)),
        (Some(_), Some(_)) => Err(malformed(name)),
    }
}

fn malformed(name: &str) -> Fault {
    let form = match name {
        "grpc-timeout" => "1 to 8 digits and one of H M S m u n, such as `300m`",
        _ => "seconds with at most nine decimals, such as `0.3`",
    };
    let message = format!("`{name}` must come once and be {form}");
    Fault::new(Component::Gateway, Code::InvalidArgument, Reason::TimeoutMalformed, message)
}

/// Seconds as `12` or `0.3`.
fn parse_seconds(text: &str) -> Option<Duration> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str, most: usize| (1..=most).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole, 8) || !digits(decimals, 9) {
        return None;
    }
    let nanoseconds: u32 = format!("{decimals:0<9}").parse().ok()?;
    Some(Duration::new(whole.parse().ok()?, nanoseconds))
}

/// The seats of the gateway: how many calls may be in flight, and who goes first where they run short.
pub struct Seats {
    free: Arc<Semaphore>,
    total: usize,
    taken: UpDownCounter<i64>,
}

/// A seat, held until the last byte of the answer.
pub struct Seat {
    _permit: OwnedSemaphorePermit,
    taken: UpDownCounter<i64>,
}

impl Seats {
    /// A house with `total` seats.
    pub fn new(total: usize) -> Self {
        let taken = accord_runtime::telemetry::meter()
            .i64_up_down_counter("accord.gateway.calls.active")
            .with_description("Calls in flight, until the last byte of their answers")
            .build();
        Self { free: Arc::new(Semaphore::new(total)), total, taken }
    }

    /// A seat for a call. The last tenths are kept for the more critical ones, so that the least critical go first.
    pub fn take(&self, criticality: Criticality) -> Result<Seat, Fault> {
        let kept = match criticality {
            Criticality::CriticalPlus => 0,
            Criticality::Critical => self.total / 20,
            Criticality::SheddablePlus => self.total / 5,
            Criticality::Sheddable => self.total / 2,
        };
        if self.free.available_permits() <= kept {
            return Err(full());
        }
        let permit = Arc::clone(&self.free).try_acquire_owned().map_err(|_| full())?;
        self.taken.add(1, &[]);
        Ok(Seat { _permit: permit, taken: self.taken.clone() })
    }
}

impl Seat {
    /// Keeps the seat taken until the last byte of the answer, and not only its head.
    pub fn hold(self, body: Body) -> Body {
        Body::new(Seated { body, _seat: self })
    }
}

struct Seated {
    body: Body,
    _seat: Seat,
}

impl HttpBody for Seated {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.taken.add(-1, &[]);
    }
}

fn full() -> Fault {
    let message = "more calls are in flight than this gateway takes; try again shortly";
    Fault::retry(Component::Gateway, Code::ResourceExhausted, Reason::Overloaded, message, Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_timeout_is_seconds_with_decimals() {
        assert_eq!(parse_seconds("0.3"), Some(Duration::from_millis(300)));
        assert_eq!(parse_seconds("12"), Some(Duration::from_secs(12)));
        for bad in ["", ".", ".3", "1.", "-1", "+1", "1e3", "1.0000000001", "123456789", " 1"] {
            assert_eq!(parse_seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn our_own_headers_do_not_come_in() {
        let mut headers = HeaderMap::new();
        for name in ["x-accord-passport", "x_accord_passport", "x-accord_tenant", "x-hop", "x-kept"] {
            headers.insert(HeaderName::from_static(name), "1".parse().unwrap());
        }
        headers.insert(header::CONNECTION, "close, X-Hop".parse().unwrap());
        clean(&mut headers).unwrap();
        let left: std::collections::BTreeSet<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["connection", "x-kept"].into());
    }

    #[test]
    fn a_second_authorization_is_refused() {
        let mut headers = HeaderMap::new();
        headers.append(header::AUTHORIZATION, "Bearer a".parse().unwrap());
        headers.append(header::AUTHORIZATION, "Bearer b".parse().unwrap());
        assert_eq!(clean(&mut headers).unwrap_err().status().code(), Code::InvalidArgument);
    }

    #[test]
    fn the_least_critical_are_shed_first() {
        let seats = Seats::new(20);
        let held: Vec<_> = (0..10).map(|_| seats.take(Criticality::Sheddable).unwrap()).collect();
        assert!(seats.take(Criticality::Sheddable).is_err());
        let more: Vec<_> = (0..9).map(|_| seats.take(Criticality::Critical).unwrap()).collect();
        assert!(seats.take(Criticality::Critical).is_err());
        let last = seats.take(Criticality::CriticalPlus).unwrap();
        assert!(seats.take(Criticality::CriticalPlus).is_err());
        drop((held, more, last));
        assert!(seats.take(Criticality::Sheddable).is_ok());
    }
}
