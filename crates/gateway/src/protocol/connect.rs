//! Connect (<https://connectrpc.com/docs/protocol>): a unary call is its message alone, posted or in the query of a GET; the
//! messages of a stream are in envelopes, the last of which says how the call ended.

mod error;
pub(super) mod query;
mod stream;
mod unary;

use self::stream::JsonMessages;
use super::{
    BodyMode, Coding, Malformed, Protocol, Reply, RequestOptions, RouteMatch, WrittenAs,
    body::unsupported,
    content_type,
    frames::{PassedBody, RequestFrames},
    grpc,
    options::{is_of_the_exchange, single},
    without_prefix,
};
use crate::{
    fault::{Component, Fault},
    memory::CallMemory,
    method,
    table::{MethodEntry, MethodTable, Tables},
};
use accord_api::accord::fault::v1::Reason;
use accord_contract::{IdempotencyLevel, Method, MethodKind};
use accord_runtime::fair_share::Held;
use accord_transcode::Plan;
use accord_upstream::{PREVIOUS_ATTEMPTS, grpc::Encoding};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri, request::Parts};
use http_body::Body as HttpBody;
use query::Query;
use std::{error::Error, sync::Arc, time::Duration};
use tonic::body::Body;

const VERSION: HeaderName = HeaderName::from_static("connect-protocol-version");
const TIMEOUT: HeaderName = HeaderName::from_static("connect-timeout-ms");
const MALFORMED_TIMEOUT: Malformed = Malformed {
    reason: Reason::TimeoutMalformed,
    message: "`connect-timeout-ms` must come once and be 1 to 10 digits",
};

/// How the messages of a stream are compressed, and those of its answer may be: gRPC's, under names of its own.
const ENCODING: HeaderName = HeaderName::from_static("connect-content-encoding");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("connect-accept-encoding");

/// A call in Connect.
#[derive(Clone, Copy)]
pub(super) struct Connect {
    shape: Shape,
    /// None where it is none that is served.
    format: Option<Format>,
    /// How the answer to a unary call may be compressed.
    coding: Option<Coding>,
}

/// What a call looks like.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Its message, posted.
    Unary,
    /// Its message, in the query.
    Get,
    /// Messages in envelopes.
    Stream,
}

/// How messages are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Proto,
    Json,
}

/// How one call's messages are read and written.
pub(super) struct Codec {
    shape: Shape,
    format: Format,
    coding: Option<Coding>,
    plan: Arc<Plan>,
    /// How the messages of a stream are compressed.
    encoding: Option<HeaderValue>,
}

impl Format {
    fn named(name: &str) -> Option<Self> {
        match name {
            name if name.eq_ignore_ascii_case("proto") => Some(Self::Proto),
            name if name.eq_ignore_ascii_case("json") => Some(Self::Json),
            _ => None,
        }
    }

    /// The content type of a unary call, and of a stream.
    fn content_type(self, shape: Shape) -> HeaderValue {
        HeaderValue::from_static(match (self, shape) {
            (Self::Proto, Shape::Stream) => "application/connect+proto",
            (Self::Json, Shape::Stream) => "application/connect+json",
            (Self::Proto, _) => "application/proto",
            (Self::Json, _) => "application/json",
        })
    }
}

impl Connect {
    /// By the content type, by the version that its clients send, and by the path: JSON that is posted to a unary method's own
    /// path is Connect, unless a rule of `google.api.http` has that path.
    pub(super) fn detect<B>(request: &Request<B>, tables: &Tables) -> Option<Self> {
        let (headers, uri) = (request.headers(), request.uri());
        let essence = content_type(headers).split(';').next().unwrap_or_default().trim_end();
        if let Some(subtype) = without_prefix(essence, "application/connect+") {
            return Some(Self { shape: Shape::Stream, format: Format::named(subtype), coding: None });
        }
        let coding = || Coding::accepted(headers);
        let format = without_prefix(essence, "application/").and_then(Format::named);
        let is_connect = match (request.method(), format) {
            (&http::Method::GET, _) => {
                let query = Query::of(uri)?;
                let format = Format::named(query.encoding());
                return is_own_path(request, tables).then(|| Self { shape: Shape::Get, format, coding: coding() });
            }
            _ if headers.contains_key(VERSION) => true,
            (_, Some(Format::Proto)) => !is_bound(request, &tables.load()),
            (&http::Method::POST, Some(Format::Json)) => is_own_path(request, tables),
            _ => false,
        };
        is_connect.then(|| Self { shape: Shape::Unary, format, coding: coding() })
    }

    /// How its answer may be compressed: messages of streams are compressed one by one, by gRPC's rules.
    pub(super) fn coding(self) -> Option<Coding> {
        self.coding
    }

    fn format(self) -> Result<Format, Fault> {
        self.format.ok_or_else(|| {
            unsupported(
                "Connect is served with `application/proto` and `application/json`, streams with `application/connect+proto` and \
                 `application/connect+json`",
            )
        })
    }
}

impl Codec {
    /// How its answers are written.
    pub(super) fn written_as(&self) -> WrittenAs {
        match self.format {
            Format::Proto => WrittenAs::ConnectProto,
            Format::Json => WrittenAs::ConnectJson,
        }
    }

    /// How its answer may be compressed.
    pub(super) fn coding(&self) -> Option<Coding> {
        self.coding
    }
}

impl Protocol for Connect {
    const IS_BY_LINE: bool = true;

    const IS_GRPC: bool = false;

    type Codec = Codec;

    fn admit(&self, parts: &mut Parts) -> Result<RequestOptions, Fault> {
        self.format()?;
        check_version(parts)?;
        if self.shape != Shape::Get && parts.method != http::Method::POST {
            return Err(method::not_allowed(&[http::Method::POST]));
        }
        let timeout = single(&parts.headers, &TIMEOUT, MALFORMED_TIMEOUT, parse_milliseconds);
        let is_retried_by_caller = parts.headers.contains_key(PREVIOUS_ATTEMPTS);
        let options = RequestOptions { is_retried_by_caller, ..RequestOptions::new(&parts.headers, timeout) };
        if self.shape != Shape::Stream {
            return Ok(RequestOptions { is_metadata: is_metadata_of_messages, ..options });
        }
        rename_encodings(&mut parts.headers)?;
        let is_metadata = match self.format {
            Some(Format::Proto) => is_metadata_of_frames,
            // Its messages are written anew, uncompressed.
            Some(Format::Json) | None => is_metadata_of_messages,
        };
        Ok(RequestOptions { is_metadata, ..options })
    }

    fn find(&self, table: &MethodTable, parts: &Parts) -> Result<RouteMatch<Codec>, Fault> {
        let entry = Arc::clone(method::at_path(table, parts.uri.path())?);
        let method = &entry.method;
        let mode = match (self.shape, method.kind) {
            (Shape::Get, MethodKind::Unary) if method.idempotency_level == IdempotencyLevel::NoSideEffects => {
                BodyMode::Unary
            }
            (Shape::Get, _) => return Err(method::not_allowed(&[http::Method::POST])),
            (Shape::Unary, MethodKind::Unary) => BodyMode::Unary,
            (Shape::Stream, MethodKind::Unary) => {
                return Err(unsupported("the method is unary; call it with `application/proto` or `application/json`"));
            }
            (Shape::Stream, _) => BodyMode::PassThrough,
            (Shape::Unary, _) => {
                let message =
                    "the method streams; call it with `application/connect+proto` or `application/connect+json`";
                return Err(unsupported(message));
            }
        };
        let encoding = parts.headers.get(grpc::ENCODING).cloned();
        let coding = self.coding;
        let codec =
            Codec { shape: self.shape, format: self.format()?, coding, plan: Arc::clone(&entry.plan), encoding };
        Ok(RouteMatch { entry, mode, codec })
    }

    async fn read<B>(codec: &Codec, method: &Method, parts: &Parts, body: B, held: &mut Held) -> Result<Bytes, Fault>
    where
        B: HttpBody<Data = Bytes, Error: Error + 'static> + Unpin,
    {
        match Query::of(&parts.uri) {
            Some(query) if codec.shape == Shape::Get => unary::read_query(codec, method, &query, held),
            _ => unary::read(codec, method, &parts.headers, body, held).await,
        }
    }

    fn frames(codec: &Codec, method: &Method, body: PassedBody, memory: &CallMemory) -> RequestFrames {
        match codec.format {
            // Envelopes of requests are gRPC's frames.
            Format::Proto => RequestFrames::AsTheyStand(body),
            Format::Json => RequestFrames::rewritten(body, JsonMessages::new(codec, method, memory.request())),
        }
    }

    async fn respond(
        codec: &Codec,
        method: &Method,
        reply: Reply,
        memory: &CallMemory,
    ) -> Result<Response<Body>, Fault> {
        match reply {
            Reply::Unary(answer, keep) => unary::respond(codec, method, answer, keep, memory),
            Reply::Stream(response) => stream::respond(codec, method, response, memory),
        }
    }

    fn fault(&self, fault: &Fault) -> Response<Body> {
        match self.format {
            Some(format) if self.shape == Shape::Stream => stream::status_alone(fault.status(), format, None),
            _ => error::respond(fault.status(), fault.http_status(), None),
        }
    }
}

/// Whether a rule of `google.api.http` has the path.
fn is_bound<B>(request: &Request<B>, table: &MethodTable) -> bool {
    table.http(request.method(), request.uri().path()).is_ok()
}

/// Whether the path is the own one of a unary method, whose messages are no content as it stands, and nothing else.
fn is_own_path<B>(request: &Request<B>, tables: &Tables) -> bool {
    let table = tables.load();
    let is_unary = |entry: &Arc<MethodEntry>| {
        let is_any_content = entry.plan.takes_any_content() || entry.plan.gives_any_content();
        entry.method.kind == MethodKind::Unary && !is_any_content
    };
    table.grpc(request.uri().path()).is_some_and(is_unary) && !is_bound(request, &table)
}

/// Refuses versions that nobody knows yet.
fn check_version(parts: &Parts) -> Result<(), Fault> {
    let mut versions = parts.headers.get_all(VERSION).iter().map(HeaderValue::as_bytes);
    let is_known = versions.all(|version| version == b"1") && asked_version(&parts.uri).is_none_or(|it| it == "v1");
    if is_known {
        return Ok(());
    }
    let message =
        "this version of Connect is not served; send `connect-protocol-version: 1`, or `connect=v1` in a query";
    Err(Fault::new(Component::Gateway, Reason::HeaderRefused, message))
}

fn asked_version(uri: &Uri) -> Option<String> {
    Query::of(uri)?.version().map(str::to_owned)
}

/// Gives the compression of messages gRPC's names. Whether the messages are read or not, the same ones are accepted.
fn rename_encodings(headers: &mut HeaderMap) -> Result<(), Fault> {
    for (theirs, grpc) in [(ENCODING, grpc::ENCODING), (ACCEPT_ENCODING, grpc::ACCEPT_ENCODING)] {
        headers.remove(&grpc);
        if let Some(value) = headers.remove(theirs) {
            headers.insert(grpc, value);
        }
    }
    Encoding::of(headers.get(grpc::ENCODING))
        .map(drop)
        .map_err(|error| unsupported(error.to_string()).header(ACCEPT_ENCODING, Encoding::ACCEPTED))
}

fn is_metadata_of_frames(name: &HeaderName) -> bool {
    !(is_of_the_exchange(name) || name.as_str().starts_with("connect-"))
}

fn is_metadata_of_messages(name: &HeaderName) -> bool {
    is_metadata_of_frames(name) && !name.as_str().starts_with("grpc-")
}

pub(super) fn parse_milliseconds(text: &str) -> Option<Duration> {
    let is_number = (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number).map(Duration::from_millis)
}
