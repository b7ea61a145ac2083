//! One method of a contract, with its compiled policy.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use accord_api::accord::policy::v1::MethodPolicy;
use accord_wire::Malformed;
use bytes::{BufMut, Bytes, BytesMut};
use prost_reflect::MethodDescriptor;

use crate::canonical::Canonical;
use crate::http::Binding;
use crate::policy::{CachePolicy, Deadline, Policy};
use crate::required::Required;

/// The member by which the last line of a server stream in JSON says that the stream failed. No field has this name, unless
/// its `json_name` says so.
pub const STREAM_FAILURE: &str = "@error";

/// One method.
pub struct Method {
    /// `pkg.Service/Method`.
    pub name: Arc<str>,
    /// The upstream that serves it.
    pub upstream: Arc<str>,
    /// Its descriptor, in its upstream's pool.
    pub descriptor: MethodDescriptor,
    /// Which sides stream.
    pub kind: MethodKind,
    /// What repeating a call does.
    pub idempotency_level: IdempotencyLevel,
    /// How it behaves in operation.
    pub policy: Policy,
    /// The same policy as a message, with defaults filled in. Methods with the same one share it.
    pub effective: Arc<MethodPolicy>,
    /// How it is reached over HTTP.
    pub http: Vec<Binding>,
    /// Why bindings that its descriptor declares were left out, one line each.
    pub left_out: Vec<String>,
    /// Whether callers should leave it.
    pub deprecated: bool,
    /// Where each field of the policy comes from, in the order of the vocabulary. Most are the same for many methods, which
    /// share them.
    pub sources: Box<[Arc<FieldSource>]>,
    /// Whether its requests are read: its contract can only be kept by looking at them.
    pub is_read: bool,
    /// Whether its requests are held against the rules of `buf.validate`.
    pub is_validated: bool,
    pub(crate) required: Required,
    /// Compiled when the first request needs it: most methods' never do.
    pub(crate) canonical: OnceLock<Canonical>,
}

/// Which sides of a method stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodKind {
    /// One request, one answer.
    Unary,
    /// Many requests, one answer.
    ClientStreaming,
    /// One request, many answers.
    ServerStreaming,
    /// Many requests, many answers.
    BidiStreaming,
}

/// What repeating a call does: `google.protobuf.MethodOptions.idempotency_level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdempotencyLevel {
    /// Not said: a repetition may act twice.
    Unknown,
    /// A call changes nothing.
    NoSideEffects,
    /// A repetition changes nothing more.
    Idempotent,
}

/// Where a field of a policy comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldSource {
    /// Its path, such as `deadline.max`.
    pub field: String,
    /// Its value as text.
    pub value: String,
    /// `default`, `file NAME`, `service NAME`, `method NAME` or `overlay FILE (SELECTOR)`.
    pub source: String,
}

impl Method {
    /// Whether a call may be made twice: it is declared so, or it carries an idempotency key that the policy honours.
    pub fn may_repeat(&self, keyed: bool) -> bool {
        self.idempotency_level != IdempotencyLevel::Unknown || (keyed && self.policy.idempotency.is_some())
    }

    /// What tells a cached answer from others of the method: the declared key fields, or else the whole request in
    /// canonical form. Requests that differ in a key field have different keys, whatever their values hold.
    pub fn cache_key(&self, cache: &CachePolicy, request: &[u8]) -> Result<Bytes, Malformed> {
        if cache.key.is_empty() {
            return self.canonical(request);
        }
        let mut key = BytesMut::new();
        for path in &cache.key {
            match path.read(request)? {
                // A length before each value keeps ("a", "bc") apart from ("ab", "c").
                Some(value) => {
                    key.put_u64(value.len() as u64 + 1);
                    key.put_slice(value.as_bytes());
                }
                None => key.put_u64(0),
            }
        }
        Ok(key.freeze())
    }

    /// A request in canonical form, which all its encodings share.
    pub fn canonical(&self, request: &[u8]) -> Result<Bytes, Malformed> {
        self.canonical.get_or_init(|| Canonical::of(&self.descriptor.input())).form(request)
    }

    /// The deadlines that some layer declares, the default and the longest: nothing where only the contract's own default
    /// holds.
    pub fn declared_deadline(&self) -> (Option<Duration>, Option<Duration>) {
        let is_declared = |field: &str| {
            self.sources.iter().any(|source| source.field == field && source.source != FieldSource::DEFAULT)
        };
        let Deadline { default, max } = self.policy.deadline;
        (is_declared("deadline.default").then_some(default), is_declared("deadline.max").then_some(max))
    }

    /// The path of the first field declared REQUIRED (`google.api.field_behavior`) that the request doesn't set, of those that
    /// its field mask names where it has one.
    pub fn missing(&self, request: &[u8]) -> Result<Option<String>, Malformed> {
        self.required.missing(request)
    }
}

impl FieldSource {
    /// The source of what no layer declares.
    pub(crate) const DEFAULT: &str = "default";
}

impl MethodKind {
    pub(crate) fn of(descriptor: &MethodDescriptor) -> Self {
        match (descriptor.is_client_streaming(), descriptor.is_server_streaming()) {
            (false, false) => Self::Unary,
            (true, false) => Self::ClientStreaming,
            (false, true) => Self::ServerStreaming,
            (true, true) => Self::BidiStreaming,
        }
    }
}

impl fmt::Display for MethodKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Unary => "UNARY",
            Self::ClientStreaming => "CLIENT_STREAMING",
            Self::ServerStreaming => "SERVER_STREAMING",
            Self::BidiStreaming => "BIDI_STREAMING",
        })
    }
}

impl fmt::Display for IdempotencyLevel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Unknown => "IDEMPOTENCY_UNKNOWN",
            Self::NoSideEffects => "NO_SIDE_EFFECTS",
            Self::Idempotent => "IDEMPOTENT",
        })
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("Method");
        debug.field("name", &self.name).field("policy", &self.policy).finish_non_exhaustive()
    }
}
