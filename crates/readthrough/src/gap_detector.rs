//! Gaps in the stream of invalidations: who sent how many, whether one is missing, and whether a sender is gone with some.
//!
//! A sender that dies takes along what it had not delivered, and nobody knows which newcomer follows it. So a newcomer is
//! *settled* once every other sender is accounted for: it has said goodbye with everything delivered, or it has been heard
//! again. Heard again means that it answered in a round which began when the newcomer came: the number of the round goes out
//! with every acknowledgement and comes back with the sender's next batch, so that a batch of a dead sender which lay in a
//! buffer does not pass for a sign of life. Who stays silent is taken for dead, and everything that was loaded for unverified.

mod stored;

use std::collections::HashMap;
use std::time::Duration;

use crate::world::Moment;

/// How long the other senders have to be heard again: some of their heartbeats, which are 500 ms apart.
const SILENCE: Duration = Duration::from_secs(2);
/// How long a silent sender is counted on. It may only have been paused, and lose something when it dies after that: a
/// newcomer in this time does not rely on it either.
const RETENTION: Duration = Duration::from_mins(1);
/// How long a cache does not know yet who sends to it: an unknown sender may follow one that it has never heard.
const YOUTH: Duration = SILENCE;
/// The number of a sender's first batch.
const FIRST: u64 = 1;

/// What a batch says of its sender.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// A random name for each run of a sender.
    pub incarnation: &'a str,
    /// Counts its batches, from 1. One that repeats the newest is a heartbeat.
    pub sequence: u64,
    /// The newest round that the sender was told; 0 before the first.
    pub round: u64,
    /// Whether the sender ends here, with everything delivered. It repeats the number of the batch before.
    pub is_last: bool,
}

/// What follows from a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    /// What it says about those before it.
    pub continuity: Continuity,
    /// Whether its sender may rely on what was loaded before it came.
    pub is_settled: bool,
    /// What the sender has to say with its next batch.
    pub round: u64,
}

/// What a batch says about those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuity {
    /// It is the next one: none is missing.
    InOrder,
    /// It was here before, or comes after a later one. Then what it is about is gone already.
    Duplicate,
    /// Some may be missing: what was loaded before can't be trusted.
    Gap(Missing),
}

/// What may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Batches of this sender.
    Batches,
    /// The last ones of a sender that has fallen silent.
    OfSilentSender,
    /// Those of senders that are not known, or no longer: the cache is new, or has had to forget one.
    OfUnknownSender,
}

/// What is known of each sender. Bounded: where one is forgotten for a newcomer, it may
/// be gone, and is heard again in a moment if it is not: until then the cache is as good as new.
#[derive(Clone, Debug)]
pub struct GapDetector {
    capacity: usize,
    /// Until when there may be senders that were never heard.
    young_until: Moment,
    round: u64,
    senders: HashMap<String, Sender>,
}

#[derive(Clone, Debug)]
struct Sender {
    newest: u64,
    heard: Moment,
    /// The newest round that it answered in.
    round: u64,
    newcomer: Option<Newcomer>,
}

/// A sender that is not settled yet.
#[derive(Clone, Copy, Debug)]
struct Newcomer {
    /// The round that began when it came.
    round: u64,
    since: Moment,
}

impl GapDetector {
    /// Remembers this many senders, from now on.
    pub fn new(capacity: usize, now: Moment) -> Self {
        Self { capacity, young_until: now.after(YOUTH), round: 0, senders: HashMap::new() }
    }

    /// Notes a sender's batch. The caller acts on the result before it acknowledges.
    pub fn note(&mut self, batch: &Batch<'_>, now: Moment) -> Noted {
        let continuity = match self.order(batch, now) {
            Continuity::Gap(missing) => Continuity::Gap(missing),
            continuity => self.settle(batch.incarnation, now).map_or(continuity, Continuity::Gap),
        };
        if matches!(continuity, Continuity::Gap(_)) {
            // Nothing that was loaded before is trusted now, whoever is gone.
            self.senders.values_mut().for_each(|sender| sender.newcomer = None);
        }
        if batch.is_last {
            self.senders.remove(batch.incarnation);
        }
        let sender = self.senders.get(batch.incarnation);
        let is_settled = sender.is_none_or(|sender| sender.newcomer.is_none());
        Noted { continuity, is_settled, round: self.round }
    }

    fn order(&mut self, batch: &Batch<'_>, now: Moment) -> Continuity {
        let Some(sender) = self.senders.get_mut(batch.incarnation) else {
            // Of a sender that this cache has not heard and that has nothing more to say, nothing is missing.
            return if batch.is_last { Continuity::Duplicate } else { self.meet(batch, now) };
        };
        (sender.heard, sender.round) = (now, sender.round.max(batch.round));
        if batch.sequence <= sender.newest {
            return Continuity::Duplicate;
        }
        let is_next = batch.sequence == sender.newest + 1;
        sender.newest = batch.sequence;
        if is_next { Continuity::InOrder } else { Continuity::Gap(Missing::Batches) }
    }

    /// An unknown sender.
    fn meet(&mut self, batch: &Batch<'_>, now: Moment) -> Continuity {
        if self.senders.len() >= self.capacity {
            self.forget_longest_silent();
            self.young_until = now.after(YOUTH);
        }
        let is_alone = self.senders.is_empty();
        self.round += 1;
        let newcomer = (!is_alone).then_some(Newcomer { round: self.round, since: now });
        let sender = Sender { newest: batch.sequence, heard: now, round: batch.round, newcomer };
        self.senders.insert(batch.incarnation.to_owned(), sender);
        if batch.sequence != FIRST {
            return Continuity::Gap(Missing::Batches);
        }
        if now < self.young_until {
            return Continuity::Gap(Missing::OfUnknownSender);
        }
        Continuity::InOrder
    }

    /// Looks whether all others are accounted for, where the sender is a newcomer; what is missing if they are not in time.
    fn settle(&mut self, incarnation: &str, now: Moment) -> Option<Missing> {
        let newcomer = self.senders.get(incarnation)?.newcomer?;
        let is_heard = |name: &str, sender: &Sender| name == incarnation || sender.round >= newcomer.round;
        if self.senders.iter().all(|(name, sender)| is_heard(name, sender)) {
            self.senders.get_mut(incarnation)?.newcomer = None;
            return None;
        }
        if now.since(newcomer.since) < SILENCE {
            return None;
        }
        self.senders.retain(|name, sender| is_heard(name, sender) || now.since(sender.heard) < RETENTION);
        Some(Missing::OfSilentSender)
    }

    fn forget_longest_silent(&mut self) {
        let silent = self.senders.iter().min_by_key(|(_, sender)| sender.heard).map(|(name, _)| name.clone());
        if let Some(name) = silent {
            self.senders.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests;
