//! The operational contract: descriptors and their options, merged with overlays, checked, and compiled to plain
//! policies that the gateway enforces.
//!
//! Invariants: this crate opens no socket and knows no HTTP message. It never decodes a whole request to answer a
//! question about one field. What it can't enforce it refuses when a contract is loaded, never later.

pub mod http;
pub mod limits;

mod behavior;
mod canonical;
mod check;
mod compile;
mod contract;
mod diff;
mod editions;
mod encoded;
mod field_type;
mod finding;
mod load;
mod merge;
mod method;
mod options;
mod overlay;
mod path;
mod policy;
mod pool;
mod reach;
mod required;
mod rules;
mod served;
mod shared;
mod source;
mod template;
mod version;

pub use accord_api::accord::policy::v1::Criticality;
pub use behavior::behaviors;
pub use canonical::Canonical;
pub use contract::{Contract, OwnError};
pub use diff::{Change, Effect, diff};
pub use encoded::EncodedSet;
pub use finding::{Finding, Severity, refused};
pub use method::{FieldSource, IdempotencyLevel, Method, MethodKind, STREAM_FAILURE};
pub use options::policy_type;
pub use overlay::Overlay;
pub use path::{PathError, compile_path};
pub use policy::{
    Access, CachePolicy, CacheScope, Deadline, Idempotency, JsonPolicy, Kinds, Near, OnCacheFailure, Policy,
    PrincipalKind, RateLimit, RateLimitBy, RateLimitPlan, Resource, Retry,
};
pub use source::{Source, SourceError};
pub use template::{TemplateError, compile_template};
pub use version::{VersionError, compile_version};
