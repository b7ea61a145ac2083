//! Origins of namespaces (cache-aside): where what a key does not hold is loaded from.

pub mod batch;
mod method;
pub mod query;
pub mod records;
pub mod upstream;
mod value;

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use accord_mesh::Question;
use accord_readthrough::{Failure, Loaded};
use accord_runtime::{current_call::CurrentCall, fair_share::Holder, request::RequestId};
use http::HeaderValue;
use tonic::Status;

use crate::origin_failure::failure_of;

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

/// What there is of each key, of rows that were found by their keys.
fn by_key(keys: &[&str], rows: Result<Vec<(Vec<u8>, Loaded)>, Status>) -> Vec<Loaded> {
    match rows.map(HashMap::<_, _>::from_iter) {
        Ok(found) => {
            let loaded = |key: &&str| found.get(key.as_bytes()).cloned().unwrap_or_else(|| Err(absent()).into());
            keys.iter().map(loaded).collect()
        }
        Err(status) => vec![Err(failure_of(&status)).into(); keys.len()],
    }
}

/// The origin has nothing of a key.
fn absent() -> Failure {
    failure_of(&Status::not_found("there is no such row"))
}
