//! A client as stock ones are: it keeps its connections, and sends a request again by itself only where that is safe.
//!
//! | client | is sent again |
//! |---|---|
//! | gRPC, HTTP/2 | what the server never processed: a stream that it refused, or one above the last of its GOAWAY (RFC 9113, 8.7; gRFC A6, transparent retries) |
//! | HTTP/1.1 | what was sent on a connection that had been used and broke before anything of the answer came, where it is idempotent or has a key (RFC 9110, 9.2.2; Go's `net/http`) |
//!
//! A client that is told to repeat also sends again what may be repeated and broke while it was in flight, as one does whose
//! configuration says so, and waits while a key is claimed by what broke.

use std::{
    error::Error,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::{sleep, timeout};

use super::connect::{Connector, Stream};

/// The longest that a call may take: longer than any deadline of the sample's contract.
const BOUND: Duration = Duration::from_secs(15);
/// How long a key may stay claimed by a call whose gateway was killed: until ten seconds after its deadline.
const CLAIM: Duration = Duration::from_secs(20);
/// Between two looks whether it is free.
const BETWEEN_CLAIMS: Duration = Duration::from_millis(250);
/// So often a request is sent at the most: once for each process that may end meanwhile, and more.
const ATTEMPTS: usize = 10;

/// By which protocol a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// JSON over HTTP/1.1, on a connection that is kept.
    Http1,
    /// JSON over HTTP/1.1, on a connection of its own, as of a command line.
    Single,
    /// JSON over HTTP/2.
    Http2,
    /// gRPC.
    Grpc,
}

impl Protocol {
    pub(super) const ALL: [Self; 4] = [Self::Http1, Self::Single, Self::Http2, Self::Grpc];
}

/// One call.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub protocol: Protocol,
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Whether its client may send it twice: it is idempotent, or has a key.
    pub is_repeatable: bool,
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
    /// Whether it was sent again after an attempt that broke.
    pub is_repeated: bool,
}

/// Why there is none.
#[derive(Debug)]
pub(super) struct Broken {
    pub cause: String,
    /// Whether its connection broke while it was in flight: nobody knows whether it was carried out.
    pub is_in_flight: bool,
}

/// What is known of an attempt that failed.
struct Failure {
    cause: String,
    /// The server says that it did nothing of it, or never saw it.
    is_unprocessed: bool,
    /// Its connection had answered others, and broke before anything of the answer came.
    is_stale: bool,
}

type Http1 = http1::SendRequest<Full<Bytes>>;
type Http2 = http2::SendRequest<Full<Bytes>>;

/// A client with connections of its own.
pub(super) struct Client {
    connector: Connector,
    repeats: bool,
    idle: Mutex<Vec<Http1>>,
    shared: Mutex<Option<Http2>>,
}

impl Client {
    /// One that connects so. `repeats` says whether it sends again what broke in flight, where that may be repeated.
    pub(super) fn new(connector: Connector, repeats: bool) -> Self {
        Self { connector, repeats, idle: Mutex::default(), shared: Mutex::default() }
    }

    pub(super) async fn send(&self, call: &Call) -> Result<Answer, Broken> {
        let (begun, mut broken) = (Instant::now(), 0);
        loop {
            let attempt = async {
                match call.protocol {
                    Protocol::Http1 | Protocol::Single => self.by_http1(call).await,
                    Protocol::Http2 | Protocol::Grpc => self.by_http2(call).await,
                }
            };
            let failure = match timeout(BOUND, attempt).await {
                Ok(Ok(answer)) if self.repeats && answer.is_claimed() && begun.elapsed() < CLAIM => {
                    // The claim ends by its time, which tells nobody.
                    sleep(BETWEEN_CLAIMS).await;
                    continue;
                }
                Ok(Ok(answer)) => return Ok(Answer { is_repeated: broken > 0, ..answer }),
                Ok(Err(failure)) => failure,
                Err(_) => {
                    Failure { cause: format!("no answer within {BOUND:?}"), is_unprocessed: false, is_stale: false }
                }
            };
            let may_repeat = call.is_repeatable && (self.repeats || failure.is_stale);
            broken += 1;
            if broken == ATTEMPTS || !(failure.is_unprocessed || may_repeat) {
                return Err(Broken { cause: failure.cause, is_in_flight: !failure.is_unprocessed });
            }
        }
    }

    async fn by_http1(&self, call: &Call) -> Result<Answer, Failure> {
        let kept = if call.protocol == Protocol::Http1 { lock(&self.idle).pop() } else { None };
        let kept = kept.filter(http1::SendRequest::is_ready);
        let is_kept = kept.is_some();
        let mut sender = match kept {
            Some(sender) => sender,
            None => self.new_http1().await?,
        };
        let answer = sender.send_request(self.request(call, &call.path)).await;
        let answer = answer.map_err(|error| Failure { is_stale: is_kept, ..failure(&error) })?;
        let whole = whole(answer).await?;
        // The connection says so where it takes no more.
        if call.protocol == Protocol::Http1 && sender.ready().await.is_ok() {
            lock(&self.idle).push(sender);
        }
        Ok(whole)
    }

    async fn by_http2(&self, call: &Call) -> Result<Answer, Failure> {
        let kept = lock(&self.shared).clone().filter(http2::SendRequest::is_ready);
        let mut sender = match kept {
            Some(sender) => sender,
            None => self.new_http2().await?,
        };
        let uri = format!("{}://{}{}", self.connector.scheme(), self.connector.address, call.path);
        let answer = sender.send_request(self.request(call, &uri)).await.map_err(|error| failure(&error));
        whole(answer.inspect_err(|_| *lock(&self.shared) = None)?).await
    }

    async fn new_http1(&self) -> Result<Http1, Failure> {
        let (sender, connection) =
            http1::handshake(self.connect(b"http/1.1").await?).await.map_err(|error| failure(&error))?;
        tokio::spawn(connection);
        Ok(sender)
    }

    /// The next calls share it.
    async fn new_http2(&self) -> Result<Http2, Failure> {
        let handshake = http2::handshake(TokioExecutor::new(), self.connect(b"h2").await?);
        let (sender, connection) = handshake.await.map_err(|error| failure(&error))?;
        tokio::spawn(connection);
        *lock(&self.shared) = Some(sender.clone());
        Ok(sender)
    }

    async fn connect(&self, alpn: &[u8]) -> Result<TokioIo<Box<dyn Stream>>, Failure> {
        self.connector.connect(alpn).await.map_err(|error| Failure {
            cause: format!("can't connect: {error}"),
            is_unprocessed: false,
            is_stale: false,
        })
    }

    fn request(&self, call: &Call, uri: &str) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(call.body.clone()));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = uri.parse().expect("a path of the sample");
        *request.headers_mut() = call.headers.clone();
        if matches!(call.protocol, Protocol::Http1 | Protocol::Single) {
            let host = self.connector.address.to_string();
            request.headers_mut().insert(header::HOST, host.parse().expect("an address"));
        }
        request
    }
}

impl Call {
    /// One with JSON in it, or with nothing.
    pub(super) fn json(protocol: Protocol, method: Method, path: String, document: Option<&serde_json::Value>) -> Self {
        let is_repeatable = method.is_idempotent();
        let body = document.map(|document| Bytes::from(document.to_string())).unwrap_or_default();
        let call = Self { protocol, method, path, headers: HeaderMap::new(), body, is_repeatable };
        if document.is_some() { call.header("content-type", "application/json") } else { call }
    }

    /// One of gRPC. Stock clients of gRPC repeat what broke in flight only where their service config says so.
    pub(super) fn grpc(method: &str, message: &impl prost::Message, is_repeatable: bool) -> Self {
        let bytes = message.encode_to_vec();
        let length = u32::try_from(bytes.len()).expect("a short message").to_be_bytes();
        let body = [&[0][..], &length, &bytes].concat().into();
        let (protocol, path) = (Protocol::Grpc, format!("/{method}"));
        let call = Self { protocol, method: Method::POST, path, headers: HeaderMap::new(), body, is_repeatable };
        call.header("content-type", "application/grpc").header("te", "trailers")
    }

    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header value"));
        self
    }

    pub(super) fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// With this request id, which is the same at every hop.
    pub(super) fn request_id(self, id: &str) -> Self {
        self.header("x-request-id", id)
    }

    /// Under a key, by which it may be repeated.
    pub(super) fn key(self, key: &str) -> Self {
        Self { is_repeatable: true, ..self.header("idempotency-key", key) }
    }
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The message of a gRPC answer.
    pub(super) fn message<M: prost::Message + Default>(&self) -> Option<M> {
        M::decode(self.body.get(5..)?).ok()
    }

    /// Whether its key is claimed by a call that nobody knows the end of.
    fn is_claimed(&self) -> bool {
        let says = |text: &str| text.contains("IDEMPOTENCY_IN_FLIGHT") || text.starts_with("gRPC status 10 ");
        self.refusal().is_some_and(|refusal| says(&refusal))
    }

    /// Whether what it was to create is there already.
    pub(super) fn is_there_already(&self) -> bool {
        let says = |text: &str| text.starts_with("409 ") || text.starts_with("gRPC status 6 ");
        !self.is_claimed() && self.refusal().is_some_and(|refusal| says(&refusal))
    }

    /// What it was refused with, in one word where there is one; none of one that went well.
    pub(super) fn refusal(&self) -> Option<String> {
        let grpc = self.trailers.get("grpc-status").or_else(|| self.headers.get("grpc-status"));
        match grpc {
            None if self.status.is_success() => None,
            None => Some(format!("{} {}", self.status.as_u16(), reason(&String::from_utf8_lossy(&self.body)))),
            Some(status) if status == "0" => None,
            Some(status) => {
                let said = self.trailers.get("grpc-message").or_else(|| self.headers.get("grpc-message"));
                Some(format!("gRPC status {} {}", text(Some(status)), text(said)))
            }
        }
    }
}

fn text(value: Option<&HeaderValue>) -> &str {
    value.and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The stable reason in the body of an error; all of it where it has none, since nobody expects it.
pub(crate) fn reason(body: &str) -> &str {
    body.split("\"reason\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or(body)
}

async fn whole(answer: Response<Incoming>) -> Result<Answer, Failure> {
    let (head, body) = answer.into_parts();
    // Where it breaks off, it had begun: its connection was none that only seemed to be open.
    let body = body.collect().await.map_err(|error| Failure { is_unprocessed: false, ..failure(&error) })?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes(), trailers, is_repeated: false })
}

fn failure(error: &hyper::Error) -> Failure {
    let mut cause = error.to_string();
    let mut source = error.source();
    while let Some(deeper) = source {
        cause = format!("{cause}: {deeper}");
        source = deeper.source();
    }
    Failure { cause, is_unprocessed: is_unprocessed(error), is_stale: false }
}

/// Whether a request was never sent, or its server says that it did nothing of it.
fn is_unprocessed(error: &hyper::Error) -> bool {
    let refused = |error: &h2::Error| {
        let reason = error.reason();
        let is_above_goaway = error.is_go_away() && reason == Some(h2::Reason::NO_ERROR);
        error.is_remote() && (is_above_goaway || error.is_reset() && reason == Some(h2::Reason::REFUSED_STREAM))
    };
    let h2 = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    error.is_canceled() || h2.is_some_and(refused)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
