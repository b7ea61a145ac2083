//! Calls that go to the endpoint which owns their key: what is remembered of a key is then at one place.

use std::sync::Arc;

use tokio::time::Instant;

use crate::balance::Upstream;
use crate::client::Client;
use crate::hot_keys::HotKeys;
use crate::owner::CallKey;

/// An upstream whose calls have keys.
#[derive(Debug)]
pub struct Owners {
    upstream: Arc<Upstream>,
    hot_keys: HotKeys,
}

impl Owners {
    /// The owners of keys among the endpoints of this upstream.
    pub fn new(upstream: Arc<Upstream>) -> Self {
        Self { upstream, hot_keys: HotKeys::new(Instant::now()) }
    }

    /// Whose endpoints they are.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// Makes a call by the key of this hash, which everybody has to make alike ([`accord_wire::hash_parts`]).
    pub fn client(&self, hash: u64) -> Client {
        Client::for_key(Arc::clone(&self.upstream), self.key(hash))
    }

    /// The key, counted.
    pub(crate) fn key(&self, hash: u64) -> CallKey {
        CallKey { hash, share: self.hot_keys.count(hash, Instant::now()) }
    }
}
