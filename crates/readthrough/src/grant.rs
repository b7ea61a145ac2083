//! Granting leases, and what invalidations wait for. Its rules:
//!
//! 1. A reader's lease is noted after its question arrived and *before* its entry is judged valid: an invalidation then sees
//!    the note, or the judgement sees the invalidation. Noting too much only makes a writer wait.
//! 2. An invalidation ends the epoch, and only then looks who may hold leases. It is acknowledged when those of others than the
//!    writer are over: the writer drops its own copies itself, when it hears of the acknowledgement.
//! 3. In the first lease time of a process nothing is acknowledged: what a process before it granted is over then. Nor is
//!    anything granted, does anybody join a load, or is anything kept that was loaded: so a process before it that still
//!    acknowledges for a moment, which its lock excludes, does no harm either.
//! 4. Only what is fresh, stored, and was not invalidated a moment ago is leased.
//! 5. Of several processes that share an invalidation log, none grants for longer than it may answer from memory itself
//!    (`verified`, `replica`).
//!
//! Keys of namespaces are leased to nobody, so what is done to them waits for nobody.
//!
//! What this promises: a read that starts after an acknowledged write sees it, at every gateway. It does not cover an origin that
//! answers loads from a lagging replica, a write whose outcome stays open and that commits after its invalidation, or a
//! hypervisor that stops a guest's clock.

use std::time::Duration;

use crate::engine::Engine;
use crate::entry::Entry;
use crate::key::Tag;
use crate::lease::{Granted, LeaseHolder, LeaseRequest};
use crate::metrics::LeaseRefusal;
use crate::origin::Origin;
use crate::store::Store;
use crate::world::{Moment, World};

/// What of its lease a holder uses: two clocks' rates differ by less than what is left.
pub(crate) const HOLDER_SHARE: f64 = 0.98;

/// How long a writer waits by its own clock, from when it hears of it, for what the grantor says is left by its.
pub fn own_wait(left: Duration) -> Duration {
    left.div_f64(HOLDER_SHARE)
}

/// Whether an entry is valid, and the lease on it.
pub(crate) struct Judged {
    pub(crate) is_valid: bool,
    pub(crate) lease: Option<Granted>,
}

impl<O: Origin, S: Store, W: World> Engine<O, S, W> {
    /// Ends the time of all that was loaded under the tags so far, and says for each, in their order, how long it takes until
    /// nobody but the writer answers with it from memory any more. To be asked again where that got lost.
    pub fn invalidate_leased(&self, tags: &[Tag], writer: Option<LeaseHolder>) -> Vec<Duration> {
        let ends = self.end_epochs(tags, writer);
        let now = self.0.world.now();
        ends.into_iter().map(|others| self.wait_until(others, now)).collect()
    }

    /// Ends the time of all that was loaded under the tags so far; until when others than the writer may hold leases on each.
    pub(crate) fn end_epochs(&self, tags: &[Tag], writer: Option<LeaseHolder>) -> Vec<Moment> {
        let rules = &self.0.rules;
        if rules.epoch_ends_before_look {
            self.invalidate(tags.iter().copied());
        }
        let now = self.0.world.now();
        let ends = tags.iter().map(|tag| self.0.leases.invalidated(tag.base(), writer, now)).collect();
        if !rules.epoch_ends_before_look {
            self.0.world.now();
            self.invalidate(tags.iter().copied());
        }
        ends
    }

    /// The same for everything that was loaded so far.
    pub fn invalidate_all(&self, writer: Option<LeaseHolder>) -> Duration {
        let others = self.end_all_epochs(writer);
        self.wait_until(others, self.0.world.now())
    }

    /// The same for everything: until when others than the writer may hold any lease.
    pub(crate) fn end_all_epochs(&self, writer: Option<LeaseHolder>) -> Moment {
        self.0.validity.invalidate_all();
        self.0.leases.latest(writer)
    }

    /// How long a writer waits for leases of others, and for the first lease time.
    pub(crate) fn wait_until(&self, others: Moment, now: Moment) -> Duration {
        let rules = &self.0.rules;
        let first = if rules.first_time_acknowledges_nothing { self.0.leases.first_ends() } else { now };
        let others = if rules.invalidation_waits { others } else { now };
        let wait = others.max(first).since(now);
        self.0.metrics.invalidation_waits(wait);
        wait
    }

    /// Judges a stored entry, or one that was just loaded, for a reader to whom it is `fresh`.
    ///
    /// `is_noted`: the lease is noted. It always is, but where the simulation takes that rule out.
    pub(crate) fn judge(&self, wish: Option<&LeaseRequest>, entry: &Entry, fresh: bool, is_noted: bool) -> Judged {
        let rules = &self.0.rules;
        let noted = if rules.noted_before_judged { self.note(wish, entry, fresh, is_noted) } else { None };
        let is_valid = self.holds_verified(&entry.tags, entry.epoch);
        let noted = if rules.noted_before_judged { noted } else { self.note(wish, entry, fresh, is_noted) };
        let duration = noted.filter(|_| is_valid || !rules.valid_answers_leased_alone);
        if let Some(duration) = duration {
            self.0.metrics.lease_granted();
            return Judged { is_valid, lease: Some(Granted { duration, tags: entry.tags.clone() }) };
        }
        if noted.is_some() {
            self.0.metrics.lease_refused(LeaseRefusal::Invalid);
        }
        Judged { is_valid, lease: None }
    }

    /// Notes the lease that a reader asks for; its duration, where nothing forbids it.
    fn note(&self, wish: Option<&LeaseRequest>, entry: &Entry, fresh: bool, is_noted: bool) -> Option<Duration> {
        let wish = wish?;
        let now = self.0.world.now();
        let duration = wish.duration.min(self.0.leases.max()).min(self.verified_for(now));
        if let Some(refusal) = self.refusal(entry, fresh, duration, now) {
            self.0.metrics.lease_refused(refusal);
            return None;
        }
        if is_noted && !wish.is_bounded {
            self.0.leases.note(&entry.tags, wish.holder, now, now.after(duration));
        }
        Some(duration)
    }

    fn refusal(&self, entry: &Entry, fresh: bool, duration: Duration, now: Moment) -> Option<LeaseRefusal> {
        let leases = &self.0.leases;
        if leases.max().is_zero() {
            Some(LeaseRefusal::Off)
        } else if duration.is_zero() {
            Some(LeaseRefusal::Unverified)
        } else if self.0.rules.first_time_grants_nothing && leases.is_first(entry.started) {
            Some(LeaseRefusal::FirstLeaseTime)
        } else if !fresh {
            Some(LeaseRefusal::NotFresh)
        } else if self.0.rules.restless_tags_refused && leases.is_restless(&entry.tags, now) {
            Some(LeaseRefusal::InvalidatedLately)
        } else {
            None
        }
    }

    /// A first lease time begins anew: replicas on another log may not know of this one.
    pub(crate) fn begin_first_lease_time(&self, ends: Moment) {
        self.0.leases.begin_first(ends);
    }

    /// Whether something that began then belongs to the first lease time.
    pub(crate) fn is_first_lease_time(&self, began: Moment) -> bool {
        self.0.leases.is_first(began)
    }
}
