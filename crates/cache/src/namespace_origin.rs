//! Origins of namespaces (cache-aside): where what a key does not hold is loaded from.

pub mod batch;
pub mod upstream;
mod value;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use accord_mesh::Question;
use accord_readthrough::Loaded;
use accord_runtime::{current_call::CurrentCall, fair_share::Holder, request::RequestId};
use http::HeaderValue;

/// An origin of the keys of one namespace.
#[tonic::async_trait]
pub trait KeyOrigin: Debug + Send + Sync {
    /// Most keys that it loads in one go.
    fn most_keys(&self) -> usize;

    /// What auth is asked before a load, and under whose passport it then runs; nothing where the permission to read the
    /// namespace is all that counts.
    fn question(&self) -> Option<Question<'_>>;

    /// What there is of each of these keys, in their order.
    async fn load(&self, keys: &[&str], caller: &KeyCaller, time: Duration) -> Vec<Loaded>;
}

/// Whose load it is.
#[derive(Clone, Debug)]
pub struct KeyCaller {
    /// The tenant whose keys these are.
    pub tenant: Arc<str>,
    /// The passport under which it runs, where the origin takes one.
    pub passport: Option<HeaderValue>,
    /// The principal, so that nobody takes all the room of an upstream.
    pub holder: Holder,
    /// Whether the caller counts attempts of its own.
    pub is_retried_outside: bool,
    /// The id of the read.
    pub id: RequestId,
    /// The read, as a call.
    pub read: CurrentCall,
}

/// The load of one key.
#[derive(Clone, Debug)]
pub struct KeyCall {
    /// Where from.
    pub origin: Arc<dyn KeyOrigin>,
    /// The key.
    pub key: Arc<str>,
    /// For whom.
    pub caller: KeyCaller,
}
