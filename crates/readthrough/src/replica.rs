//! A process of the cache before its invalidation log: alone, or one of several replicas.
//!
//! The rules of replicas (leases of replicas on the log, after Gray and Cheriton):
//! 1. **Verifying.** Every third of its lease `d` a replica registers and reads what is new. It first ends the epochs of what it
//!    read, and is verified then until (*sending* of the verification) + 0.98 d. Only that long it answers from memory, joins loads
//!    that are older than their reader, grants leases, none of them longer, and accepts invalidations.
//! 2. **Epochs.** What is read is applied in the order of numbers, so an epoch of this process stands for a number of the log: the
//!    newest that was applied when the epoch began. An entry carries that of its load's *start*.
//! 3. **Confirming.** A number is confirmed after its epochs are ended and the near leases of others than its writer are over,
//!    and after all numbers before it.
//! 4. **Acknowledging.** A batch is acknowledged when every member of the register that was read with its append has confirmed its
//!    number or is gone from the register, or when d has passed since the append *returned*. By then whoever has not confirmed
//!    it has verified after the append, and so has ended its epochs, or it is not verified any more; and leases on what it
//!    loaded before ended no later.
//!    Whoever waits for no other replica (`ACKNOWLEDGEMENT_LOCAL`) is told when the append has returned. By then this one has read
//!    the number, or answers from memory no more.
//!    The register of an append tells of its number alone: that of another log lacks those who answer by the one before, and whether
//!    it is another log shows in the verification that follows.
//!    A replica that did not append it may say so as well: by a register that it read with the number or after it, or when d has
//!    passed since it *read* the number.
//! 5. **Striking off.** Whose counter is unchanged for d is struck off the register, so that the next writers don't wait for it.
//!    The log looks once more whether the counter is unchanged.
//! 6. **Anew.** Another incarnation of the log, a gap, a trimmed beginning, or a record that the log has lost: everything that was
//!    loaded is dropped, and a first lease time of d begins, in which nothing is acknowledged, granted, joined or kept: replicas on
//!    another log are over then. What the log still has is read from its beginning.
//!
//! A replica does one thing at a time with the log, so it sees registers in the order in which they were committed. A process
//! that is alone has no lease: it is verified for ever, and its register is empty.
//!
//! Who drives it: `verify` is to be called when `next_verification` says, and when the log has news. A log in the simulation
//! loses, repeats and delays operations (`simulation::replicas`).

mod acknowledgement;
mod rules;
mod state;
mod tokens;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, oneshot, watch};

use crate::engine::Engine;
use crate::gap_detector::Noted;
use crate::log::{Appended, Invalidation, InvalidationLog, LogError, Verified};
use crate::origin::Origin;
use crate::store::Store;
use crate::world::{Moment, World};
pub use acknowledgement::Acknowledgement;
pub(crate) use rules::Rules;
use state::{Applied, State};

/// Batches that wait for their append. Each gateway has one under way at a time.
const MOST_WAITING: usize = 1024;

/// Batches that share an append.
const MOST_SHARED: usize = 64;

/// A process of the cache before its log. Clones share everything.
#[derive(Debug)]
pub struct Replica<L, O, S, W>(Arc<Parts<L, O, S, W>>);

impl<L, O, S, W> Clone for Replica<L, O, S, W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct Parts<L, O, S, W> {
    engine: Engine<O, S, W>,
    log: L,
    /// Nothing: the process is alone.
    lease: Option<Duration>,
    rules: Rules,
    /// Of the log.
    incarnation: ArcSwap<u128>,
    /// Held while the log is asked.
    turn: tokio::sync::Mutex<()>,
    waiting: Mutex<Vec<Waiting>>,
    state: Mutex<State>,
    changed: watch::Sender<()>,
    /// Somebody waits for a verification before it is due.
    wanted: Notify,
    /// Others have confirmed something that no register tells yet that was read here.
    others_confirmed: AtomicBool,
}

#[derive(Debug)]
struct Waiting {
    invalidation: Invalidation,
    told: oneshot::Sender<Result<Invalidated, Refused>>,
}

/// What was done with a batch.
#[derive(Clone, Debug)]
pub struct Invalidated {
    /// What the gap detector says of it.
    pub noted: Noted,
    /// How long others than the writer may hold leases on anything, where everything was dropped. Only where the process is alone.
    pub everything: Option<Duration>,
    /// The same for each of its tags.
    pub tags: Vec<Duration>,
    /// The number whose acknowledgement is waited for, where replicas share the log.
    pub number: Option<u64>,
    /// The incarnation of the log that gave it.
    pub incarnation: u128,
    /// The number of the log that it stands for, for consistency tokens.
    pub position: u64,
}

/// Why a batch was not accepted. Its sender tries again, here or at another replica.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The replica is not verified.
    #[error("this replica has not verified its invalidation log for too long")]
    Unverified,
    /// Too many wait.
    #[error("too many batches wait for the invalidation log")]
    Overload,
    /// The log did not answer.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl<L: InvalidationLog, O: Origin, S: Store, W: World> Replica<L, O, S, W> {
    /// A process that is alone, before an [`InProcessLog`](crate::InProcessLog) of this incarnation.
    pub fn alone(engine: Engine<O, S, W>, log: L, incarnation: u128) -> Self {
        Self::with_state(engine, log, None, Rules::ALL, State::new(0, Some(incarnation)))
    }

    /// One of several, under a random name, with a lease of this time. It answers nothing from memory before it has verified.
    pub fn sharing(engine: Engine<O, S, W>, log: L, name: u128, lease: Duration) -> Self {
        Self::with_rules(engine, log, name, lease, Rules::ALL)
    }

    pub(crate) fn with_rules(engine: Engine<O, S, W>, log: L, name: u128, lease: Duration, rules: Rules) -> Self {
        engine.unverified();
        Self::with_state(engine, log, Some(lease), rules, State::new(name, None))
    }

    fn with_state(engine: Engine<O, S, W>, log: L, lease: Option<Duration>, rules: Rules, state: State) -> Self {
        Self(Arc::new(Parts {
            engine,
            log,
            lease,
            rules,
            incarnation: ArcSwap::from_pointee(state.incarnation().unwrap_or_default()),
            turn: tokio::sync::Mutex::default(),
            waiting: Mutex::default(),
            state: Mutex::new(state),
            changed: watch::Sender::default(),
            wanted: Notify::new(),
            others_confirmed: AtomicBool::new(false),
        }))
    }

    /// What it answers with.
    pub fn engine(&self) -> &Engine<O, S, W> {
        &self.0.engine
    }

    /// Whether there are others.
    pub fn is_shared(&self) -> bool {
        self.0.lease.is_some()
    }

    /// The incarnation of the log: gateways keep nothing that came under another one. 0 before the first verification.
    pub fn incarnation(&self) -> u128 {
        **self.0.incarnation.load()
    }

    /// Appends a batch, and ends the epochs of its tags here. Waiting batches share an append.
    pub async fn invalidate(&self, invalidation: Invalidation) -> Result<Invalidated, Refused> {
        if !self.0.engine.is_verified() {
            return Err(Refused::Unverified);
        }
        let (told, answer) = oneshot::channel();
        {
            let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.len() >= MOST_WAITING {
                return Err(Refused::Overload);
            }
            waiting.push(Waiting { invalidation, told });
        }
        let turn = self.clone();
        if self.0.lease.is_some() {
            // To its end, whoever else leaves: others share it.
            self.world().spawn(async move { turn.append_waiting().await });
        } else {
            turn.append_waiting().await;
        }
        answer.await.unwrap_or_else(|_| Err(LogError("the append was given up".to_owned()).into()))
    }

    async fn append_waiting(&self) {
        let _turn = self.0.turn.lock().await;
        let waiting: Vec<_> = {
            let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let shared = waiting.len().min(MOST_SHARED);
            waiting.drain(..shared).collect()
        };
        if waiting.is_empty() {
            return;
        }
        let (batches, told): (Vec<_>, Vec<_>) =
            waiting.into_iter().map(|Waiting { invalidation, told }| (invalidation, told)).unzip();
        let sent = self.world().now();
        let appended = match self.0.log.append(&batches).await {
            Ok(appended) => appended,
            Err(error) => {
                // A caller that has left is told nothing.
                for told in told {
                    let _ = told.send(Err(error.clone().into()));
                }
                return;
            }
        };
        let returned = self.world().now();
        if let Some(lease) = self.0.lease {
            let counted_from = if self.0.rules.counted_from_return { returned } else { sent };
            self.state().note_append(&appended, counted_from, lease, &self.0.rules);
        }
        let has_read = self.state().has_read(&appended, &self.0.rules);
        let is_to_be_read = !has_read && self.0.rules.appended_is_read;
        let read = if is_to_be_read { self.verify_in_turn().await } else { Ok(Vec::new()) };
        let applied = read.unwrap_or_else(|_| {
            // It does not know what it appended itself, and answers from memory no more before it has read that.
            if self.0.lease.is_some() {
                self.0.engine.unverified();
            }
            Vec::new()
        });
        self.changed();
        for (told, (noted, number)) in told.into_iter().zip(&appended.noted) {
            let _ = told.send(Ok(self.invalidated(*noted, *number, &appended, &applied)));
        }
    }

    fn invalidated(&self, noted: Noted, number: Option<u64>, of: &Appended, applied: &[Applied]) -> Invalidated {
        if self.0.lease.is_some() {
            let (number, incarnation) = (Some(of.head), of.incarnation);
            return Invalidated { noted, everything: None, tags: Vec::new(), number, incarnation, position: of.head };
        }
        let engine = &self.0.engine;
        let (now, applied) = (self.world().now(), applied.iter().find(|applied| Some(applied.number) == number));
        let everything = applied.and_then(|applied| applied.everything).map(|until| engine.wait_until(until, now));
        let tags = applied.map_or(&[][..], |applied| &applied.tags);
        let tags = tags.iter().map(|until| engine.wait_until(*until, now)).collect();
        Invalidated { noted, everything, tags, number: None, incarnation: of.incarnation, position: of.head }
    }

    /// Registers and reads what is new. Until which moment this replica is verified then depends on when this was called.
    pub async fn verify(&self) -> Result<(), LogError> {
        let _turn = self.0.turn.lock().await;
        let verified = self.verify_in_turn().await;
        self.changed();
        verified.map(drop)
    }

    async fn verify_in_turn(&self) -> Result<Vec<Applied>, LogError> {
        let mut applied = Vec::new();
        loop {
            let sent = self.world().now();
            let verification = self.state().verification(sent, self.lease());
            self.0.others_confirmed.store(false, Ordering::SeqCst);
            let verified = self.0.log.verify(&verification).await.inspect_err(|_| {
                self.0.others_confirmed.store(true, Ordering::SeqCst);
            })?;
            if self.apply(sent, &verified, &mut applied) {
                return Ok(applied);
            }
        }
    }

    /// Applies what was read; whether it was all that there is.
    fn apply(&self, sent: Moment, verified: &Verified, applied: &mut Vec<Applied>) -> bool {
        let (engine, rules, now) = (&self.0.engine, &self.0.rules, self.world().now());
        let mut state = self.state();
        let from = if rules.counted_from_sending { sent } else { now };
        let until = from.after(self.lease().mul_f64(rules.holder_share));
        if !rules.applied_before_verified {
            engine.verified_until(until);
        }
        state.see(&verified.members, now);
        let is_anew = !state.continues(verified, rules);
        if is_anew {
            if rules.first_time_on_another_log {
                engine.begin_first_lease_time(now.after(self.lease()));
            }
            // What the log still has is read all the same: by it values of the second level are judged.
            engine.0.validity.begin_log(verified.incarnation, verified.before());
            engine.reached(verified.before().0);
            state.begin_anew(verified, engine.end_all_epochs(None));
            engine.begin_keys_anew(verified.before().0);
            self.0.incarnation.store(Arc::new(verified.incarnation));
        }
        if !is_anew || state.are_next(&verified.records) {
            if let Some(newest) = verified.records.last() {
                engine.reached(newest.number);
            }
            for record in &verified.records {
                engine.0.validity.reach(record);
                let everything = record.is_flush.then(|| engine.end_all_epochs(record.writer));
                let tags = engine.end_epochs(&record.tags, record.writer);
                if let Some(change) = record.change.as_ref().filter(|_| rules.changes_of_keys_applied) {
                    engine.apply_change(record.number, change);
                }
                let leased = everything.into_iter().chain(tags.iter().copied()).max().unwrap_or_default();
                state.applied(record, if rules.confirmed_after_leases { leased } else { now });
                applied.push(Applied { number: record.number, everything, tags });
            }
        }
        if let Some(lease) = self.0.lease {
            state.note_head(now, lease);
        }
        let is_whole = state.has_seen(verified.head);
        if is_whole {
            state.note_whole(sent);
        }
        if is_whole && self.0.lease.is_some() && !state.is_leaving() {
            engine.verified_until(until);
        }
        is_whole
    }

    /// When to verify again at the latest: a third of the lease after the last time, or when there is something to confirm.
    pub fn next_verification(&self) -> Moment {
        self.state().next_verification(self.lease())
    }

    /// Answers from memory no more; when all leases that it granted are over. Then it may `depart`.
    pub fn begin_to_leave(&self) -> Moment {
        self.state().leave();
        self.0.engine.unverified();
        self.0.engine.0.leases.latest(None)
    }

    /// Leaves the register, so that no writer waits for this replica.
    pub async fn depart(&self) -> Result<(), LogError> {
        let _turn = self.0.turn.lock().await;
        let mut verification = self.state().verification(self.world().now(), self.lease());
        verification.is_last = true;
        self.0.log.verify(&verification).await.map(drop)
    }

    fn changed(&self) {
        self.0.changed.send_replace(());
    }

    fn lease(&self) -> Duration {
        self.0.lease.unwrap_or(Duration::MAX)
    }

    fn world(&self) -> &W {
        &self.0.engine.0.world
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
