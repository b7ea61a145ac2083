//! The policy of one method, compiled: every default filled in, every value within its bounds.

use std::sync::Arc;
use std::time::Duration;

use accord_api::accord::policy::v1::Criticality;
use accord_wire::{FieldPath, Malformed, Template, VersionPath};
use tonic::Code;

use crate::limits::OBJECT_ID;

/// How a method behaves in operation.
#[derive(Clone, Debug)]
pub struct Policy {
    /// How long a call may take.
    pub deadline: Deadline,
    /// Who may call.
    pub access: Access,
    /// The kinds of principals that may call.
    pub kinds: Kinds,
    /// The object that access is decided about; the upstream where there is none.
    pub resource: Option<Resource>,
    /// How an answer may be reused; not at all where there is none.
    pub cache: Option<CachePolicy>,
    /// What a call makes invalid. Templates over the request only.
    pub invalidates: Vec<Template>,
    /// Whether what it makes invalid may be served while its origin fails.
    pub invalidation_expires: bool,
    /// Whether a call answers before other gateways and replicas of the cache know what it makes invalid.
    pub acknowledged_locally: bool,
    /// How often the method may be called. All must pass.
    pub rate_limits: Vec<RateLimit>,
    /// How a failed attempt is repeated; not at all where there is none.
    pub retry: Option<Retry>,
    /// Whether and how clients may repeat a call under a key.
    pub idempotency: Option<Idempotency>,
    /// What is shed first under overload.
    pub criticality: Criticality,
    /// Largest request message, in bytes.
    pub max_request_bytes: u64,
    /// Largest response message, in bytes.
    pub max_response_bytes: u64,
    /// Most messages in one direction of a stream.
    pub max_stream_messages: Option<u64>,
    /// Longest silence between two messages of a stream.
    pub stream_idle: Option<Duration>,
    /// What a cached read does when the cache does not answer.
    pub on_cache_failure: OnCacheFailure,
    /// How it is read and written as JSON.
    pub json: JsonPolicy,
    /// Whether requests are held against what their messages say of their own fields. None: where they are read anyway.
    pub validate: Option<bool>,
}

/// The time a call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// Of a call that brings none.
    pub default: Duration,
    /// Cap on what a call brings. Never below `default`.
    pub max: Duration,
}

/// Who may call a method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// No layer says: nobody.
    Denied,
    /// Anyone, without a credential.
    Public,
    /// Any authenticated principal.
    Authenticated,
    /// A principal to whom this permission is granted.
    Permission(Arc<str>),
}

/// The object of a request: its type, and the field that has its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The type, as policies name it.
    pub object_type: Box<str>,
    /// What stands before the id, the type included: `Product/`, or `Order/eu-`.
    pub(crate) beginning: Box<str>,
    pub(crate) id: FieldPath,
}

impl Resource {
    /// The object that a request names, `Product/42`; None where it names none.
    pub fn of(&self, request: &[u8]) -> Result<Option<String>, Malformed> {
        let Some(value) = self.id.scalar(request)? else { return Ok(None) };
        let value = value.text();
        // What is longer is no id, and would be kept with each decision about it.
        let is_id = OBJECT_ID.contains(&value.len());
        Ok(is_id.then(|| [&*self.beginning, &*value].concat()))
    }
}

/// A kind of principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrincipalKind {
    /// A person.
    User,
    /// A program or workload.
    Service,
}

/// The kinds of principals that a method accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds {
    /// Whether people may call.
    pub users: bool,
    /// Whether programs may call.
    pub services: bool,
}

impl Kinds {
    /// Every kind.
    pub const ALL: Self = Self { users: true, services: true };

    /// Whether a principal of this kind may call.
    pub fn accepts(self, kind: PrincipalKind) -> bool {
        match kind {
            PrincipalKind::User => self.users,
            PrincipalKind::Service => self.services,
        }
    }
}

/// How an answer may be reused.
#[derive(Clone, Debug)]
pub struct CachePolicy {
    /// How long an answer is fresh, measured from the start of its load.
    pub ttl: Duration,
    /// Further time in which a stale answer is served while one reload runs behind it.
    pub stale_while_revalidate: Duration,
    /// Further time in which a stale answer is served when the origin fails.
    pub stale_if_error: Duration,
    /// How long a reader waits for a load where a stale answer may serve instead. None: as long as loads usually take.
    pub soft_timeout: Option<Duration>,
    /// How long `NOT_FOUND` is remembered; zero is not at all.
    pub negative_ttl: Duration,
    /// Who shares an answer.
    pub scope: CacheScope,
    /// The request fields that make the key. Empty: the whole request in canonical form.
    pub key: Vec<FieldPath>,
    /// The tags of an answer, over the request or the answer.
    pub tags: Vec<Template>,
    /// A larger answer is not stored.
    pub max_bytes: u64,
    /// Metadata of an answer that is kept and given with it, as lower-case names, each once. No other passes on.
    pub keep_headers: Vec<Box<str>>,
    /// Request headers that enter the key, as lower-case names, each once. No other header of a caller goes to the origin.
    pub vary: Vec<Box<str>>,
    /// Whether the wishes of callers are ignored.
    pub ignore_cache_control: bool,
    /// Whether gateways may answer from their own memory as well.
    pub near: Option<Near>,
    /// Where an answer tells its version. None: its answers have none.
    pub version: Option<VersionPath>,
}

/// How long a gateway may answer from its own memory without asking again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Near {
    /// Under a lease, for which writes wait: no acknowledged write is missed.
    Lease(Duration),
    /// Without one: for so long after a write, another gateway may miss it.
    Bounded(Duration),
}

impl Near {
    /// How long.
    pub fn duration(self) -> Duration {
        let (Self::Lease(duration) | Self::Bounded(duration)) = self;
        duration
    }
}

/// Who shares a cached answer. The tenant always separates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheScope {
    /// Only the principal that caused the load.
    PerPrincipal,
    /// All who may call the method.
    Shared,
}

/// A limit on how often a method may be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests allowed in a period. Never zero.
    pub requests: u32,
    /// The period. Never zero.
    pub per: Duration,
    /// Requests that may come at once. Never zero.
    pub burst: u32,
    /// Who is counted.
    pub by: RateLimitBy,
    /// Other figures for callers who have a role. The first whose role a caller has holds; no two have the same.
    pub plans: Vec<RateLimitPlan>,
}

/// Other figures of a rate limit, for callers who have a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimitPlan {
    /// The role. Never empty.
    pub role: Box<str>,
    /// Requests allowed in a period. Never zero.
    pub requests: u32,
    /// The period. Never zero.
    pub per: Duration,
    /// Requests that may come at once. Never zero.
    pub burst: u32,
}

/// Whom a rate limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RateLimitBy {
    /// Each principal; anonymous callers by address.
    Principal,
    /// Each tenant.
    Tenant,
    /// Each client address.
    Address,
    /// All callers of the method together.
    Method,
}

/// Retries and hedging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all, the first included: 2 to 5.
    pub max_attempts: u32,
    /// The codes that are retried. Never empty.
    pub on: Vec<Code>,
    /// Hedging: another attempt starts each time this long has passed without an answer, up to `max_attempts`.
    pub hedge_after: Option<Duration>,
    /// How long an attempt may take that another one may follow.
    pub attempt_timeout: Option<Duration>,
}

/// A mutation that clients may repeat under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// Refuse calls without a key.
    pub required: bool,
    /// How long an answer is kept.
    pub window: Duration,
}

/// How a method is read and written as JSON. The default is what `ProtoJSON` and `google.api.http` say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JsonPolicy {
    /// Whether answers have the fields without presence that are at their default values.
    pub defaults: bool,
    /// Whether the members of answers have the names of the proto file.
    pub proto_names: bool,
    /// Whether the enums of answers are numbers.
    pub enum_numbers: bool,
    /// HTTP status of an answer without an error, where it is not 200.
    pub success: Option<u16>,
    /// Query parameters that are of no consequence: names, or their beginnings before a `*`.
    pub ignored_parameters: Arc<[Box<str>]>,
}

/// What a cached read does when the cache does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnCacheFailure {
    /// Go to the origin.
    Bypass,
    /// Answer UNAVAILABLE.
    Fail,
}
