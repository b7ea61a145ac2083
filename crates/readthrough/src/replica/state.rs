//! What a replica knows of the log, of the others, and of what it waits for.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use super::{Acknowledgement, Rules};
use crate::log::{Appended, Member, Record, Verification, Verified};
use crate::world::Moment;

/// A record whose epochs are ended; until when others than its writer may hold leases on what it is about.
#[derive(Clone, Debug)]
pub(super) struct Applied {
    pub(super) number: u64,
    pub(super) everything: Option<Moment>,
    pub(super) tags: Vec<Moment>,
}

#[derive(Debug)]
pub(super) struct State {
    name: u128,
    /// The incarnation of the log.
    log: Option<u128>,
    seen: u64,
    /// Of the record of that number.
    seen_mark: u64,
    counter: u64,
    verified_at: Moment,
    /// When the newest verification was sent that read all of the log.
    whole_at: Option<Moment>,
    /// What is applied and not yet confirmed, by number, and when the leases on it are over.
    unconfirmed: VecDeque<(u64, Moment)>,
    confirmed: u64,
    members: HashMap<u128, Other>,
    /// How many registers were noted: with each comes what others have confirmed by then.
    registers: u64,
    pending: BTreeMap<u64, Pending>,
    /// When so much of the log was read first, for twice the lease.
    heads: VecDeque<(u64, Moment)>,
    is_leaving: bool,
}

/// Another replica, as the register showed it last.
#[derive(Clone, Copy, Debug)]
struct Other {
    member: Member,
    /// When its counter was first known.
    since: Moment,
}

/// A number that was appended here and waits for others.
#[derive(Debug)]
struct Pending {
    counted_from: Moment,
    /// The register that was read with the append, and how many were noted before it.
    members: Vec<Member>,
    registers: u64,
}

impl State {
    pub(super) fn new(name: u128, log: Option<u128>) -> Self {
        Self {
            name,
            log,
            seen: 0,
            seen_mark: 0,
            counter: 0,
            verified_at: Moment::default(),
            whole_at: None,
            unconfirmed: VecDeque::new(),
            confirmed: 0,
            members: HashMap::new(),
            registers: 0,
            pending: BTreeMap::new(),
            heads: VecDeque::new(),
            is_leaving: false,
        }
    }

    pub(super) fn incarnation(&self) -> Option<u128> {
        self.log
    }

    /// What is said at a moment.
    pub(super) fn verification(&mut self, now: Moment, lease: Duration) -> Verification {
        self.verified_at = now;
        self.counter += 1;
        while let Some((number, _)) = self.unconfirmed.pop_front_if(|(_, over)| *over <= now) {
            self.confirmed = number;
        }
        let silent = self.members.values().filter(|other| now >= other.since.after(lease));
        Verification {
            member: Member { replica: self.name, counter: self.counter, confirmed: self.confirmed },
            seen: self.seen,
            seen_mark: self.seen_mark,
            silent: silent.map(|other| (other.member.replica, other.member.counter)).collect(),
            is_last: false,
        }
    }

    /// Notes a register, later than all that were noted before.
    pub(super) fn see(&mut self, members: &[Member], now: Moment) {
        let others = members.iter().filter(|member| member.replica != self.name).map(|member| {
            let before = self.members.get(&member.replica);
            let since = before.filter(|other| other.member.counter == member.counter).map_or(now, |other| other.since);
            (member.replica, Other { member: *member, since })
        });
        self.members = others.collect();
        self.registers += 1;
    }

    /// Notes for whom a number waits. What other numbers wait for is left alone: the register may be that of another log, which
    /// knows nobody yet who answers by this one. Whether it is shows in the next verification.
    pub(super) fn note_append(&mut self, appended: &Appended, counted_from: Moment, lease: Duration, rules: &Rules) {
        self.forget_pending(counted_from, lease);
        if !rules.append_tells_of_its_number_alone {
            self.see(&appended.members, counted_from);
        } else if self.log != Some(appended.incarnation) {
            return;
        }
        let others = appended.members.iter().filter(|member| member.replica != self.name);
        let (members, registers) = (|| others.copied().collect(), self.registers);
        // A heartbeat has no number of its own: whoever registers after a number has read it.
        self.pending.entry(appended.head).or_insert_with(|| Pending { counted_from, members: members(), registers });
    }

    /// Whoever has not asked for twice the time does not wait any more.
    fn forget_pending(&mut self, now: Moment, lease: Duration) {
        self.pending.retain(|_, pending| now < pending.counted_from.after(lease * 2));
    }

    /// Whether what was read follows what was read before.
    pub(super) fn continues(&self, verified: &Verified, rules: &Rules) -> bool {
        let has_all = verified.oldest <= self.seen + 1 && verified.head >= self.seen;
        let is_whole = !rules.gap_begins_anew || (has_all && self.are_next(&verified.records));
        let has_seen = !rules.lost_record_begins_anew || verified.has_seen;
        self.log == Some(verified.incarnation) && is_whole && has_seen
    }

    /// Whether nothing is missing between what was read before and these.
    pub(super) fn are_next(&self, records: &[Record]) -> bool {
        (self.seen + 1..).zip(records).all(|(next, record)| next == record.number)
    }

    /// A record is applied.
    pub(super) fn applied(&mut self, record: &Record, over: Moment) {
        (self.seen, self.seen_mark) = (record.number, record.mark);
        self.unconfirmed.push_back((record.number, over));
    }

    /// All numbers before the oldest record are dealt with when everything that was leased is over.
    pub(super) fn begin_anew(&mut self, verified: &Verified, over: Moment) {
        let (before, mark) = verified.before();
        (self.log, self.confirmed) = (Some(verified.incarnation), 0);
        (self.seen, self.seen_mark) = (before, mark.unwrap_or_default());
        self.unconfirmed = VecDeque::from([(before, over)]);
        // These numbers may be of another log.
        self.pending.clear();
        self.heads.clear();
    }

    /// Notes how much is read. Before the oldest that is remembered, all is read for twice the lease.
    pub(super) fn note_head(&mut self, now: Moment, lease: Duration) {
        if self.heads.back().is_none_or(|(head, _)| *head < self.seen) {
            self.heads.push_back((self.seen, now));
        }
        while self.heads.len() > 1 && now >= self.heads[1].1.after(lease * 2) {
            self.heads.pop_front();
        }
    }

    /// Whether an append brought nothing that is to be read, as a heartbeat does not. A number that was seen before is another
    /// record's by now.
    pub(super) fn has_read(&self, appended: &Appended, rules: &Rules) -> bool {
        let has_number = appended.noted.iter().any(|(_, number)| number.is_some());
        let has_lost = rules.number_seen_before_is_looked_into && (has_number || appended.head < self.seen);
        self.log == Some(appended.incarnation) && self.has_seen(appended.head) && !has_lost
    }

    pub(super) fn has_seen(&self, head: u64) -> bool {
        self.seen >= head
    }

    /// A verification that was sent then has read all of the log.
    pub(super) fn note_whole(&mut self, sent: Moment) {
        self.whole_at = Some(sent);
    }

    /// Whether all has been read that the log held at a moment.
    pub(super) fn is_whole_since(&self, moment: Moment) -> bool {
        self.whole_at.is_some_and(|sent| sent > moment)
    }

    /// The newest number that was read.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// The process, as tokens name it.
    pub(super) fn process(&self) -> u64 {
        // Half of a random name: two that are mistaken for one are mistaken in nothing else.
        let low = self.name & u128::from(u64::MAX);
        u64::try_from(low).unwrap_or_default()
    }

    pub(super) fn leave(&mut self) {
        self.is_leaving = true;
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.is_leaving
    }

    pub(super) fn next_verification(&self, lease: Duration) -> Moment {
        let regular = self.verified_at.after(lease / 3);
        let confirms = self.unconfirmed.front().filter(|_| !self.members.is_empty()).map(|(_, over)| *over);
        confirms.map_or(regular, |over| regular.min(over))
    }

    pub(super) fn acknowledgement(
        &mut self,
        number: u64,
        now: Moment,
        lease: Duration,
        first_ends: Moment,
    ) -> Acknowledgement {
        self.forget_pending(now, lease);
        let has_confirmed = |member: &Member| member.confirmed >= number;
        let is_known_to_have = |id: &u128| self.members.get(id).is_none_or(|other| has_confirmed(&other.member));
        let (counted_from, are_confirmed) = if let Some(pending) = self.pending.get(&number) {
            // One that is gone from a later register answers with nothing of it.
            let is_later = self.registers > pending.registers;
            let confirmed = |member: &Member| has_confirmed(member) || (is_later && is_known_to_have(&member.replica));
            (pending.counted_from, pending.members.iter().all(confirmed))
        } else if let Some((_, read_at)) = self.heads.iter().find(|(head, _)| *head >= number) {
            (*read_at, self.members.keys().all(is_known_to_have))
        } else {
            // Appended by another replica. The log tells of it soon.
            return Acknowledgement::Wait(lease / 3);
        };
        let over = counted_from.after(lease);
        let own = self.unconfirmed.iter().filter(|(of, _)| *of <= number).map(|(_, over)| *over).max();
        let own = if self.seen < number { over } else { own.unwrap_or_default().min(over) };
        let until = own.max(if are_confirmed { now } else { over }).max(first_ends);
        if until <= now { Acknowledgement::Done } else { Acknowledgement::Wait(until.since(now)) }
    }
}
