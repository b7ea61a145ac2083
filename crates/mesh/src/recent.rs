//! The tokens that a thread verified last: a token that comes again is found by a comparison of bytes, before any hash of it.
//!
//! Remembered is that the signature holds, as in the memory that all threads share. What may have changed since (keys, revocations,
//! times), and for whom the token is, is checked at each call.

use std::{
    cell::RefCell,
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use accord_token::Verified;

/// Tokens that a thread remembers: more than the connections of which one thread has calls at the same time have in use, for most.
const PLACES: usize = 64;

thread_local! {
    static RECENT: RefCell<[Option<Recent>; PLACES]> = const { RefCell::new([const { None }; PLACES]) };
}

struct Recent {
    verifier: u64,
    token: String,
    verified: Arc<Verified>,
}

/// What one verifier remembers.
pub(crate) struct RecentTokens {
    verifier: u64,
}

impl RecentTokens {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        static VERIFIERS: AtomicU64 = AtomicU64::new(0);
        Self { verifier: VERIFIERS.fetch_add(1, Ordering::Relaxed) }
    }

    /// What a token says whose signature this thread knows to hold.
    pub(crate) fn get(&self, token: &str) -> Option<Arc<Verified>> {
        RECENT.with_borrow(|places| {
            let recent = places.get(place(token))?.as_ref()?;
            (recent.verifier == self.verifier && is_same(&recent.token, token)).then(|| Arc::clone(&recent.verified))
        })
    }

    /// Remembers a token whose signature holds, in the place of an earlier one. Others can't push it out: their tokens would have
    /// to be good as well.
    pub(crate) fn insert(&self, token: &str, verified: &Arc<Verified>) {
        RECENT.with_borrow_mut(|places| {
            if let Some(place) = places.get_mut(place(token)) {
                // What held the earlier one is used again.
                let mut text = place.take().map(|earlier| earlier.token).unwrap_or_default();
                token.clone_into(&mut text);
                *place = Some(Recent { verifier: self.verifier, token: text, verified: Arc::clone(verified) });
            }
        });
    }
}

/// By the end of the token, where its signature stands, whose bits are as good as random.
fn place(token: &str) -> usize {
    let end = token.as_bytes().last_chunk().copied().map_or(0, u64::from_le_bytes);
    // The golden ratio spreads what text leaves unused of its bytes.
    usize::try_from(end.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).unwrap_or(0) % PLACES
}

/// Whether two tokens are the same. The time that it takes is the same wherever they differ, so that nobody who measures it learns
/// of another caller's token how far a guess was right.
fn is_same(remembered: &str, token: &str) -> bool {
    let pairs = remembered.bytes().zip(token.bytes());
    remembered.len() == token.len() && black_box(pairs.fold(0, |differ, (one, other)| differ | (one ^ other))) == 0
}

#[cfg(test)]
mod tests {
    use accord_token::{Kind, Type};

    use super::*;
    use crate::test_claims::claims;

    fn verified() -> Arc<Verified> {
        let claims = claims(Kind::User, "ada");
        Arc::new(Verified { claims, token_type: Type::Access, kid: "k".to_owned() })
    }

    #[test]
    fn token_that_came_before_is_found() {
        let (tokens, verified) = (RecentTokens::new(), verified());
        assert!(tokens.get("head.claims.signature").is_none());
        tokens.insert("head.claims.signature", &verified);
        assert!(tokens.get("head.claims.signature").is_some_and(|found| Arc::ptr_eq(&found, &verified)));
    }

    #[test]
    fn token_that_differs_anywhere_is_not_found() {
        let tokens = RecentTokens::new();
        tokens.insert("head.claims.signature", &verified());
        // The end, and so the place, is the same.
        for other in [
            "hEad.claims.signature",
            "head.claimz.signature",
            "ahead.claims.signature",
            ".claims.signature",
            "signature",
            "",
        ] {
            assert!(tokens.get(other).is_none(), "{other}");
        }
    }

    #[test]
    fn token_is_remembered_for_its_verifier_alone() {
        let (one, other) = (RecentTokens::new(), RecentTokens::new());
        one.insert("head.claims.signature", &verified());
        assert!(other.get("head.claims.signature").is_none());
    }
}
