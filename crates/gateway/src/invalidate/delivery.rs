//! How far the invalidation of a write has come when it answers, and what the answer says of it.

use crate::consistency_token::{CONSISTENCY_TOKEN, UNKNOWN};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::sync::{Arc, OnceLock};

/// Says that a mutation's invalidations had not reached the cache when it answered, or who may see it later.
const INVALIDATION: HeaderName = HeaderName::from_static("x-accord-invalidation");

/// The consistency token of a write, once the cache has told it.
#[derive(Clone, Debug, Default)]
pub(super) struct WriteToken(Arc<OnceLock<HeaderValue>>);

impl WriteToken {
    /// The cache has told it.
    pub(super) fn tell(&self, token: HeaderValue) {
        // Only the first is told: later ones stand for no less.
        let _ = self.0.set(token);
    }
}

/// How far an invalidation got before its mutation answered.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    /// The cache has it, and nobody answers with what it is about, unless it `is_local`. Otherwise it is kept and sent when the cache can be reached, or
    /// others may hold leases yet.
    pub is_acknowledged: bool,
    /// Its contract asks for no more than that the cache has it.
    pub is_local: bool,
    pub(super) token: WriteToken,
}

impl Delivery {
    /// Says so in the head of the answer. `is_seen_later`: the contract lets other gateways answer with something older for a while.
    ///
    /// Where the cache has not told a token, nothing stored can be held against the write: whoever passes this one has a load.
    pub(crate) fn tell(&self, is_seen_later: bool, head: &mut HeaderMap) {
        let said = match (self.is_acknowledged, self.is_local) {
            (false, _) => Some("DEFERRED"),
            (true, true) => Some("LOCAL"),
            (true, false) => is_seen_later.then_some("BOUNDED"),
        };
        if let Some(said) = said {
            head.insert(INVALIDATION, HeaderValue::from_static(said));
        }
        head.insert(CONSISTENCY_TOKEN, self.token.0.get().cloned().unwrap_or(UNKNOWN));
    }
}
