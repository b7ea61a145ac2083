//! A modelled log in a database: operations are late, lost on their way there or back, done twice, or done when nobody waits for
//! them any more; the database stops for a while, is replaced by an empty one, and its clock is set.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::process::{Network, Process, after};
use super::scheduler::Simulated;
use crate::{
    Appended, GapDetector, Invalidation, InvalidationLog, LogError, Member, Moment, Record, Verification, Verified,
    World, number,
};

/// Records that are kept, and that are read at once: so few that a replica that was away misses some.
const KEPT: usize = 30;
const READ: usize = 4;

/// Where a database's clock shows when it begins.
const WALL: u64 = 1_000_000_000_000_000;

/// What a log has to keep to.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a rule of its own")]
pub(super) struct LogRules {
    pub register_read_in_append: bool,
    pub registrations_stay: bool,
    pub strikes_the_silent_alone: bool,
    pub higher_counter_stays: bool,
    pub lost_numbers_are_not_confirmed: bool,
}

impl LogRules {
    pub(super) const ALL: Self = Self {
        register_read_in_append: true,
        registrations_stay: true,
        strikes_the_silent_alone: true,
        higher_counter_stays: true,
        lost_numbers_are_not_confirmed: true,
    };
}

/// What is stored, which replicas share.
#[derive(Clone)]
pub(super) struct Database {
    world: Simulated,
    stored: Arc<Mutex<Stored>>,
    rules: LogRules,
    /// For how long a registration counts where registrations expire.
    lease: Duration,
}

#[derive(Clone)]
pub(super) struct Stored {
    incarnation: u128,
    head: u64,
    records: VecDeque<Record>,
    /// With the time of the last verification.
    members: BTreeMap<u128, (Member, Moment)>,
    gap_detector: GapDetector,
    stopped_until: Moment,
    /// How far its clock is ahead of the truth.
    ahead: u64,
    /// Changes with each notification.
    news: u64,
    flushes: u64,
    /// The newest mark; of them none comes twice.
    mark: u64,
}

impl Database {
    pub(super) fn new(world: &Simulated, rules: LogRules, lease: Duration) -> Self {
        let stored = Stored {
            incarnation: 1,
            head: 0,
            records: VecDeque::new(),
            members: BTreeMap::new(),
            gap_detector: GapDetector::new(8, Moment(world.now().0 + WALL)),
            stopped_until: Moment::default(),
            ahead: WALL,
            news: 0,
            flushes: 0,
            mark: 0,
        };
        Self { world: world.clone(), stored: Arc::new(Mutex::new(stored)), rules, lease }
    }

    pub(super) fn news(&self) -> u64 {
        self.stored.lock().unwrap().news
    }

    /// The newest mark.
    pub(super) fn mark(&self) -> u64 {
        self.stored.lock().unwrap().mark
    }

    pub(super) fn head(&self) -> u64 {
        self.stored.lock().unwrap().head
    }

    /// A verification comes once more, of a replica that had seen everything.
    pub(super) fn repeat(&self, member: Member) {
        let stored = self.stored();
        let (seen, seen_mark) = (stored.head, stored.mark_of(stored.head).unwrap_or_default());
        self.verify(&Verification { member, seen, seen_mark, silent: Vec::new(), is_last: false });
    }

    pub(super) fn flushes(&self) -> u64 {
        self.stored.lock().unwrap().flushes
    }

    pub(super) fn stop(&self, time: Duration) {
        self.stored.lock().unwrap().stopped_until = self.world.now().after(time);
    }

    /// The same as an operation of a run.
    pub(super) fn stopped(&self, milliseconds: u64) -> &'static str {
        self.stop(Duration::from_millis(milliseconds));
        "the database stops for a while"
    }

    /// Its clock jumps: with up to 10 seconds by 5 back and forth of where it is in the middle.
    pub(super) fn set_clock(&self, seconds_ahead: u64) -> &'static str {
        self.stored.lock().unwrap().ahead = WALL + seconds_ahead * 1_000_000_000;
        "the clock of the database is set"
    }

    /// An empty one takes its place.
    pub(super) fn replace(&self) -> &'static str {
        let mut stored = self.stored.lock().unwrap();
        stored.incarnation += 1;
        stored.head = 0;
        stored.records.clear();
        stored.members.clear();
        stored.gap_detector = GapDetector::new(8, self.wall(&stored));
        "an empty database takes the place of the other"
    }

    /// What it has by now.
    pub(super) fn stored(&self) -> Stored {
        self.stored.lock().unwrap().clone()
    }

    /// Another server takes over, which has no more than this.
    pub(super) fn fail_over(&self, to: Stored) {
        let mut stored = self.stored.lock().unwrap();
        *stored = Stored { mark: stored.mark, news: stored.news, ..to };
    }

    fn wall(&self, stored: &Stored) -> Moment {
        Moment(self.world.now().0 + stored.ahead)
    }

    fn is_stopped(&self) -> bool {
        self.world.now() < self.stored.lock().unwrap().stopped_until
    }

    pub(super) fn members(&self) -> Vec<Member> {
        let stored = self.stored.lock().unwrap();
        let now = self.wall(&stored);
        let counts = |at: Moment| self.rules.registrations_stay || now.since(at) < self.lease;
        stored.members.values().filter(|(_, at)| counts(*at)).map(|(member, _)| *member).collect()
    }

    pub(super) fn append(&self, batches: &[Invalidation]) -> Appended {
        let members = self.members();
        let mut guard = self.stored.lock().unwrap();
        let now = self.wall(&guard);
        let stored = &mut *guard;
        stored.mark += 1;
        let (noted, mut records) =
            number(batches, stored.head, stored.mark, |batch| stored.gap_detector.note(batch, now));
        stored.head += records.len() as u64;
        stored.flushes += records.iter().filter(|record| record.is_flush).count() as u64;
        for flush in records.iter_mut().filter(|record| record.is_flush) {
            // Nobody drops all of his own copies by himself.
            flush.writer = None;
        }
        let is_news = !records.is_empty();
        stored.records.extend(records);
        while stored.records.len() > KEPT {
            stored.records.pop_front();
        }
        self.notify(stored, is_news);
        Appended { incarnation: stored.incarnation, noted, head: stored.head, members }
    }

    pub(super) fn verify(&self, verification: &Verification) -> Verified {
        let (mut guard, mut member) = (self.stored.lock().unwrap(), verification.member);
        let now = self.wall(&guard);
        let stored = &mut *guard;
        for (replica, counter) in &verification.silent {
            let is_unchanged = |(member, _): &(Member, Moment)| member.counter == *counter;
            if stored.members.get(replica).is_some_and(is_unchanged) || !self.rules.strikes_the_silent_alone {
                stored.members.remove(replica);
            }
        }
        let has_seen = verification.seen == 0 || stored.mark_of(verification.seen) == Some(verification.seen_mark);
        if !has_seen && self.rules.lost_numbers_are_not_confirmed {
            member.confirmed = 0;
        }
        let before = stored.members.get(&member.replica).map(|(before, _)| *before);
        let is_newer = before.is_none_or(|before| before.counter < member.counter) || !self.rules.higher_counter_stays;
        if verification.is_last {
            stored.members.remove(&member.replica);
        } else if is_newer {
            stored.members.insert(member.replica, (member, now));
        }
        self.notify(stored, before.is_none_or(|before| before.confirmed != member.confirmed));
        let oldest = stored.records.front().map_or(stored.head + 1, |record| record.number);
        let new = stored.records.iter().filter(|record| record.number > verification.seen);
        let (incarnation, head, records) = (stored.incarnation, stored.head, new.take(READ).cloned().collect());
        let head_mark = stored.mark_of(head).unwrap_or_default();
        drop(guard);
        Verified { incarnation, oldest, head, head_mark, has_seen, records, members: self.members() }
    }

    /// Now and then one gets lost.
    fn notify(&self, stored: &mut Stored, is_news: bool) {
        if is_news && self.world.rng.below(4) > 0 {
            stored.news += 1;
        }
    }
}

impl Stored {
    fn mark_of(&self, number: u64) -> Option<u64> {
        self.records.iter().find(|record| record.number == number).map(|record| record.mark)
    }
}

/// The log, as one replica reaches it.
#[derive(Clone)]
pub(super) struct ModelledLog {
    pub database: Database,
    pub process: Process,
    pub network: Network,
    pub faults: Arc<LogFaults>,
}

/// What goes wrong between a replica and the database.
#[derive(Default)]
pub(super) struct LogFaults {
    /// There is no way.
    pub is_cut: AtomicBool,
    /// How much later appends arrive there, in nanoseconds.
    pub append_later: AtomicU64,
    /// How much later the answers to verifications arrive.
    pub verified_later: AtomicU64,
}

#[derive(Clone)]
enum Operation {
    Append(Vec<Invalidation>),
    Verify(Verification),
}

impl ModelledLog {
    /// Asks, and waits for as long as a client waits.
    async fn reach(&self, operation: &Operation) -> Result<(), LogError> {
        let asked = self.database.world.now();
        self.process.turn().await.ok_or_else(gone)?;
        let arrives = self.network.carry_near().await.is_some() && !self.is_cut();
        while self.database.is_stopped() {
            after(&self.database.world, self.database.world.now(), Duration::from_millis(1)).await;
            if asked.after(Duration::from_millis(200)) < self.database.world.now() {
                self.do_later(operation, 0);
                return Err(gone());
            }
        }
        if arrives {
            self.do_later(operation, 20);
            return Ok(());
        }
        if !self.is_cut() {
            self.do_later(operation, 1);
        }
        Err(gone())
    }

    /// The answer comes back.
    async fn answer<T>(&self, answer: T) -> Result<T, LogError> {
        let arrives = self.network.carry_near().await.is_some() && !self.is_cut();
        self.process.turn().await.ok_or_else(gone)?;
        if arrives { Ok(answer) } else { Err(gone()) }
    }

    /// One in so many operations is done late, or once more: what nobody waits for any more.
    fn do_later(&self, operation: &Operation, one_in: u64) {
        let world = &self.database.world;
        if self.network.is_calm || (one_in > 1 && world.rng.below(one_in) > 0) {
            return;
        }
        let (log, operation) = (self.clone(), operation.clone());
        let (asked, delay) = (world.now(), Duration::from_millis(world.rng.below(400)));
        world.spawn(async move {
            after(&log.database.world, asked, delay).await;
            match operation {
                Operation::Append(batches) => drop(log.database.append(&batches)),
                Operation::Verify(verification) => drop(log.database.verify(&verification)),
            }
        });
    }

    async fn delay(&self, nanoseconds: &AtomicU64) {
        let world = &self.database.world;
        after(world, world.now(), Duration::from_nanos(nanoseconds.load(Ordering::Relaxed))).await;
    }

    fn is_cut(&self) -> bool {
        self.faults.is_cut.load(Ordering::Relaxed)
    }
}

fn gone() -> LogError {
    LogError("nothing came back".to_owned())
}

impl InvalidationLog for ModelledLog {
    async fn append(&self, batches: &[Invalidation]) -> Result<Appended, LogError> {
        let before = self.database.members();
        self.delay(&self.faults.append_later).await;
        self.reach(&Operation::Append(batches.to_vec())).await?;
        let mut appended = self.database.append(batches);
        if !self.database.rules.register_read_in_append {
            appended.members = before;
        }
        self.answer(appended).await
    }

    async fn verify(&self, verification: &Verification) -> Result<Verified, LogError> {
        self.reach(&Operation::Verify(verification.clone())).await?;
        let verified = self.database.verify(verification);
        self.delay(&self.faults.verified_later).await;
        self.answer(verified).await
    }
}
