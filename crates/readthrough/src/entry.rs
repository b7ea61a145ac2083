//! A stored answer, and what may be done with it at a moment.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::key::Tag;
use super::validity::Epoch;
use super::{Load, Policy, Wish, world::Moment};

/// What an entry costs beside its bytes: the entry itself, its slot, and what moka keeps to find it and to weigh it up.
/// Measured as 560 to 570 bytes with 50,000 to 400,000 entries without metadata; the rest is for the allocations of
/// message and metadata.
const OVERHEAD: usize = 620;

/// An answer in memory.
#[derive(Debug)]
pub struct Entry {
    /// What the origin said.
    pub(super) load: Load,
    /// What is kept of its metadata.
    pub(super) metadata: Bytes,
    /// The epoch in which its load started.
    pub(super) epoch: Epoch,
    /// When its load started: its age counts from here.
    pub(super) started: Moment,
    /// What its tags are.
    pub(super) tags: Box<[Tag]>,
    /// The part of the declared life that this entry has, so that entries loaded together don't expire together.
    pub(super) share: f64,
    /// Until when the origin is left alone after a failure, in nanoseconds.
    rest_until: AtomicU64,
}

/// What an entry is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// An answer.
    Fresh,
    /// An answer while one reload runs behind it.
    WhileRevalidating,
    /// An answer if the origin fails.
    IfError,
    /// Nothing.
    Unusable,
}

impl Entry {
    pub(super) fn new(
        load: Load,
        metadata: Bytes,
        epoch: Epoch,
        started: Moment,
        tags: Box<[Tag]>,
        share: f64,
    ) -> Self {
        Self { load, metadata, epoch, started, tags, share, rest_until: AtomicU64::new(0) }
    }

    /// Bytes of memory.
    pub fn weight(&self) -> usize {
        let load = match &self.load {
            Ok(message) => message.len(),
            Err(failure) => failure.message.len() + failure.details.len(),
        };
        load + self.metadata.len() + size_of_val(&*self.tags) + OVERHEAD
    }

    /// How long it is fresh. The contract that counts is the reader's, not the one of the time of the load.
    pub(super) fn life(&self, policy: &Policy) -> Duration {
        let declared = if self.load.is_ok() { policy.ttl } else { policy.negative_ttl };
        declared.mul_f64(self.share)
    }

    pub(super) fn judge(&self, policy: &Policy, wish: Wish, now: Moment) -> Verdict {
        let age = now.since(self.started);
        let life = self.life(policy);
        match wish {
            Wish::Strong => return Verdict::Unusable,
            Wish::MaxStaleness(bound) if age > bound => return Verdict::Unusable,
            Wish::MaxStaleness(_) | Wish::Contract => {}
        }
        if age < life {
            Verdict::Fresh
        } else if self.load.is_err() {
            Verdict::Unusable
        } else if age < life + policy.stale_while_revalidate {
            Verdict::WhileRevalidating
        } else if age < life + policy.stale_if_error {
            Verdict::IfError
        } else {
            Verdict::Unusable
        }
    }

    /// Whether the origin failed a short time ago and is left alone.
    pub(super) fn rests(&self, now: Moment) -> bool {
        now.0 < self.rest_until.load(Ordering::Relaxed)
    }

    pub(super) fn rest_until(&self, until: Moment) {
        self.rest_until.store(until.0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Failure, validity::Validity};
    use super::*;

    const POLICY: Policy = Policy {
        ttl: Duration::from_secs(10),
        stale_while_revalidate: Duration::from_secs(5),
        stale_if_error: Duration::from_mins(1),
        negative_ttl: Duration::from_secs(1),
        max_bytes: 1024,
    };

    fn entry(load: Load) -> Entry {
        Entry::new(load, Bytes::new(), Validity::new(1, true).now(), Moment::default(), Box::default(), 1.0)
    }

    fn at(seconds: u64) -> Moment {
        Moment::default().after(Duration::from_secs(seconds))
    }

    #[test]
    fn a_value_passes_through_its_ages() {
        let entry = entry(Ok(Bytes::from_static(b"milk")));
        let judged = |seconds| entry.judge(&POLICY, Wish::Contract, at(seconds));
        assert_eq!(judged(9), Verdict::Fresh);
        assert_eq!(judged(10), Verdict::WhileRevalidating);
        assert_eq!(judged(15), Verdict::IfError);
        assert_eq!(judged(70), Verdict::Unusable);
    }

    #[test]
    fn a_wish_narrows_the_contract_and_never_widens_it() {
        let entry = entry(Ok(Bytes::from_static(b"milk")));
        let within = |bound, seconds| entry.judge(&POLICY, Wish::MaxStaleness(Duration::from_secs(bound)), at(seconds));
        assert_eq!(within(3, 3), Verdict::Fresh);
        assert_eq!(within(3, 4), Verdict::Unusable);
        assert_eq!(within(1000, 70), Verdict::Unusable);
        assert_eq!(entry.judge(&POLICY, Wish::Strong, at(0)), Verdict::Unusable);
    }

    #[test]
    fn a_remembered_absence_has_its_own_life_and_no_stale_use() {
        let entry = entry(Err(Failure { code: 5, ..Failure::default() }));
        assert_eq!(entry.judge(&POLICY, Wish::Contract, at(0)), Verdict::Fresh);
        assert_eq!(entry.judge(&POLICY, Wish::Contract, at(1)), Verdict::Unusable);
    }

    #[test]
    fn weight_counts_message_metadata_and_tags() {
        let bare = entry(Ok(Bytes::new())).weight();
        let of = |load, metadata: &'static [u8], tags| {
            Entry { metadata: Bytes::from_static(metadata), tags, ..entry(load) }.weight() - bare
        };
        assert_eq!(of(Ok(Bytes::from_static(b"milk")), b"", Box::default()), 4);
        assert_eq!(of(Ok(Bytes::from_static(b"milk")), b"etag=7", Box::default()), 4 + 6);
        assert_eq!(of(Ok(Bytes::new()), b"", Box::new([Tag::named("product/milk")])), size_of::<Tag>());
        let absence = Failure { code: 5, message: "none".to_owned(), details: Bytes::from_static(b"why") };
        assert_eq!(of(Err(absence), b"etag=7", Box::default()), 4 + 3 + 6);
    }

    #[test]
    fn a_shorter_contract_counts_at_once() {
        let entry = entry(Ok(Bytes::from_static(b"milk")));
        let shorter = Policy { ttl: Duration::from_secs(1), stale_while_revalidate: Duration::ZERO, ..POLICY };
        assert_eq!(entry.judge(&shorter, Wish::Contract, at(2)), Verdict::IfError);
    }
}
