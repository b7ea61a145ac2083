//! The decisions that a thread met last, before the memory that all threads share: found without a hash of what is asked.

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use moka::Equivalent as _;

use super::{
    CachedDecision,
    key::{BorrowedKey, DecisionKey},
};

/// Decisions that a thread remembers: several methods for each of the tokens that it remembers.
const PLACES: usize = 256;

thread_local! {
    static RECENT: RefCell<[Option<Recent>; PLACES]> = const { RefCell::new([const { None }; PLACES]) };
}

struct Recent {
    decider: u64,
    key: DecisionKey,
    decision: Arc<CachedDecision>,
}

/// What one decider remembers.
pub(super) struct RecentDecisions {
    decider: u64,
}

impl RecentDecisions {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        static DECIDERS: AtomicU64 = AtomicU64::new(0);
        Self { decider: DECIDERS.fetch_add(1, Ordering::Relaxed) }
    }

    /// The decision of the same question, as long as it holds.
    pub(super) fn get(&self, key: &BorrowedKey<'_>) -> Option<Arc<CachedDecision>> {
        RECENT.with_borrow(|places| {
            let recent = places.get(place(key))?.as_ref()?;
            let is_same = recent.decider == self.decider && key.equivalent(&recent.key);
            (is_same && recent.decision.holds()).then(|| Arc::clone(&recent.decision))
        })
    }

    /// Remembers a decision in the place of an earlier one.
    pub(super) fn insert(&self, key: BorrowedKey<'_>, decision: &Arc<CachedDecision>) {
        RECENT.with_borrow_mut(|places| {
            if let Some(place) = places.get_mut(place(&key)) {
                let decision = Arc::clone(decision);
                *place = Some(Recent { decider: self.decider, key: key.to_owned(), decision });
            }
        });
    }
}

/// By the end of the token's id, which is random, and by where the method's name stands, which is the same for all its calls. Where
/// both are another question's as well, the comparison tells.
fn place(key: &BorrowedKey<'_>) -> usize {
    let id = key.token_id().as_bytes().last_chunk().copied().map_or(0, usize::from_le_bytes);
    let mixed = (id ^ key.method().as_ptr().addr()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) % PLACES
}
