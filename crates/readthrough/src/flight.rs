//! Flights (singleflight, request coalescing): loads in flight, who waits for which, and which is the newest of its key.
//!
//! A key's generation is the serial number of its newest flight. A newer flight takes the place of an older one, which
//! still answers those who wait for it, but is not stored any more: so an old load can never overwrite a newer one.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::entry::Entry;
use crate::key::{Key, Tag};
use crate::limits::Overload;
use crate::load_span::{LoadSpan, LoadTrace};
use crate::quota::KeyName;
use crate::validity::Epoch;
use crate::world::Moment;

const SHARDS: usize = 64;

/// Keys per shard that are remembered as uncacheable.
const UNCACHEABLE: usize = 256;

/// All flights.
#[derive(Debug)]
pub(crate) struct Flights {
    shards: [Mutex<Shard>; SHARDS],
    serial: AtomicU64,
    in_flight: AtomicUsize,
    max_in_flight: usize,
    max_waiters: usize,
}

/// What a lock protects: the newest flight of each key, and the keys whose answers can't be stored.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    newest: HashMap<Key, Arc<Flight>>,
    uncacheable: HashMap<Key, Moment>,
    uncacheable_order: VecDeque<Key>,
}

/// One load.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) serial: u64,
    pub(crate) epoch: Epoch,
    /// The newest number of the invalidation log that was read before it.
    number: u64,
    pub(crate) started: Moment,
    /// When its load ends: with the time of the reader that started it, or with its own where nobody waits for it.
    pub(crate) until: Moment,
    pub(crate) tags: Arc<[Tag]>,
    /// It looks into the second level before it asks the origin.
    pub(crate) looks: bool,
    /// The key of a namespace that it loads, if it is one.
    of: Option<KeyName>,
    /// Nobody needs to wait for it: it is not cancelled when nobody does.
    background: AtomicBool,
    waiters: AtomicUsize,
    cancel: CancellationToken,
    outcome: watch::Receiver<Option<Arc<LoadOutcome>>>,
}

impl Flight {
    /// Where its load stands, which has not ended yet.
    pub(crate) fn span(&self) -> LoadSpan {
        LoadSpan { serial: self.serial, number: self.number, ended: 0 }
    }
}

/// How a load ended.
#[derive(Debug)]
pub(crate) struct LoadOutcome {
    /// What it brought, stored or not.
    pub(crate) entry: Arc<Entry>,
    /// Whether its tags could be told. Where not, nobody can say whether it was invalidated.
    pub(crate) tagged: bool,
    /// The epoch in which its load started: whoever asked in it or before is content with it.
    pub(crate) asked_until: Epoch,
    pub(crate) stored: bool,
    /// It was found in the second level: whoever waited judges it like an entry in memory.
    pub(crate) is_shared: bool,
    /// The deadline of its starter, where that is what ended it.
    pub(crate) starter_deadline: Option<Moment>,
    /// Its span, where it is sampled.
    pub(crate) trace: Option<LoadTrace>,
}

/// What a flight starts with.
#[derive(Debug)]
pub(crate) struct FlightStart {
    pub(crate) key: Key,
    pub(crate) epoch: Epoch,
    pub(crate) number: u64,
    pub(crate) started: Moment,
    pub(crate) until: Moment,
    pub(crate) tags: Arc<[Tag]>,
    pub(crate) of: Option<KeyName>,
    pub(crate) looks: bool,
    pub(crate) background: bool,
}

impl Flights {
    pub(crate) fn new(max_in_flight: usize, max_waiters: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            // 0 is no load.
            serial: AtomicU64::new(1),
            in_flight: AtomicUsize::new(0),
            max_in_flight,
            max_waiters,
        }
    }

    /// The serial number of the next flight: what starts from now on has this one or a higher one.
    pub(crate) fn next_serial(&self) -> u64 {
        self.serial.load(Ordering::SeqCst)
    }

    /// Takes the next serial number: of a load that nobody shares, or of the end of one.
    pub(crate) fn take_serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::SeqCst)
    }

    pub(crate) fn lock(&self, key: &Key) -> MutexGuard<'_, Shard> {
        lock(&self.shards[key.shard(SHARDS)])
    }

    /// Retires the flights that load such keys. There are no more to look through than may be in flight.
    pub(crate) fn retire_all(&self, is_meant: impl Fn(&KeyName) -> bool) {
        for shard in &self.shards {
            lock(shard).newest.retain(|_, flight| !flight.of.as_ref().is_some_and(&is_meant));
        }
    }

    /// Waits for a flight that has room for another waiter.
    pub(crate) fn join(self: &Arc<Self>, key: Key, flight: &Arc<Flight>) -> Result<Waiter, Overload> {
        if flight.waiters.load(Ordering::Relaxed) >= self.max_waiters {
            return Err(Overload::Waiters);
        }
        Ok(self.wait_for(key, flight))
    }

    /// Waits for a flight, whatever its bound. Waiters come and leave under the shard's lock: so nobody joins a flight that
    /// is being cancelled.
    pub(crate) fn wait_for(self: &Arc<Self>, key: Key, flight: &Arc<Flight>) -> Waiter {
        flight.waiters.fetch_add(1, Ordering::Relaxed);
        Waiter { flights: Arc::clone(self), key, flight: Arc::clone(flight), outcome: flight.outcome.clone() }
    }

    /// Takes the key's newest place.
    pub(crate) fn start(self: &Arc<Self>, shard: &mut Shard, start: FlightStart) -> Result<FlightHandle, Overload> {
        let slot = self.slot()?;
        let (sender, outcome) = watch::channel(None);
        let flight = Arc::new(Flight {
            serial: self.take_serial(),
            epoch: start.epoch,
            number: start.number,
            started: start.started,
            until: start.until,
            tags: start.tags,
            looks: start.looks,
            of: start.of,
            background: start.background.into(),
            waiters: AtomicUsize::new(0),
            cancel: CancellationToken::new(),
            outcome,
        });
        shard.newest.insert(start.key, Arc::clone(&flight));
        Ok(FlightHandle { slot, key: start.key, flight, outcome: sender })
    }

    /// The right to load, whoever the load is for.
    pub(crate) fn slot(self: &Arc<Self>) -> Result<Slot, Overload> {
        // Counted first: so it is given back where it is one too many.
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let slot = Slot(Arc::clone(self));
        if before < self.max_in_flight { Ok(slot) } else { Err(Overload::Flights) }
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One of the loads that may be in flight at a time, until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot(Arc<Flights>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shard {
    pub(crate) fn newest(&self, key: &Key) -> Option<&Arc<Flight>> {
        self.newest.get(key)
    }

    /// Lets the newest load of a key go on, although nobody may wait for it any more.
    pub(crate) fn detach(&self, key: &Key) {
        if let Some(flight) = self.newest.get(key) {
            flight.background.store(true, Ordering::Relaxed);
        }
    }

    /// Ends a flight's time as the newest of its key; whether it still was.
    pub(crate) fn retire(&mut self, key: &Key, flight: &Flight) -> bool {
        let newest = self.newest.get(key).is_some_and(|newest| newest.serial == flight.serial);
        if newest {
            self.newest.remove(key);
        }
        newest
    }

    /// Retires whatever flight is the newest of a key: it answers those who wait for it, and is not stored.
    pub(crate) fn retire_newest(&mut self, key: &Key) {
        self.newest.remove(key);
    }

    pub(crate) fn is_uncacheable(&self, key: &Key, now: Moment) -> bool {
        self.uncacheable.get(key).is_some_and(|until| now < *until)
    }

    /// Remembers a key whose readers should not wait for each other, because each needs a load of its own anyway.
    pub(crate) fn remember_uncacheable(&mut self, key: Key, until: Moment) {
        if self.uncacheable.insert(key, until).is_none() {
            self.uncacheable_order.push_back(key);
        }
        if self.uncacheable_order.len() > UNCACHEABLE
            && let Some(oldest) = self.uncacheable_order.pop_front()
        {
            self.uncacheable.remove(&oldest);
        }
    }
}

/// A flight as its own task sees it. However the task ends, the key is free again and the waiters are woken.
#[derive(Debug)]
pub(crate) struct FlightHandle {
    slot: Slot,
    pub(crate) key: Key,
    pub(crate) flight: Arc<Flight>,
    outcome: watch::Sender<Option<Arc<LoadOutcome>>>,
}

impl FlightHandle {
    /// Runs a load until it is done; nothing where the last waiter left before.
    pub(crate) async fn unless_abandoned<T>(&self, load: impl Future<Output = T>) -> Option<T> {
        self.flight.cancel.run_until_cancelled(load).await
    }

    /// Ends when the last waiter has left.
    pub(crate) async fn abandoned(&self) {
        self.flight.cancel.cancelled().await;
    }

    pub(crate) fn finish(self, outcome: LoadOutcome) {
        self.outcome.send_replace(Some(Arc::new(outcome)));
    }
}

impl Drop for FlightHandle {
    fn drop(&mut self) {
        self.slot.0.lock(&self.key).retire(&self.key, &self.flight);
    }
}

/// One who waits for a flight. Dropping it is leaving, however that comes about.
#[derive(Debug)]
pub(crate) struct Waiter {
    flights: Arc<Flights>,
    key: Key,
    flight: Arc<Flight>,
    outcome: watch::Receiver<Option<Arc<LoadOutcome>>>,
}

impl Waiter {
    /// How the load ended; nothing where its task died.
    pub(crate) async fn outcome(&mut self) -> Option<Arc<LoadOutcome>> {
        self.outcome.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone())
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut shard = self.flights.lock(&self.key);
        let others = self.flight.waiters.fetch_sub(1, Ordering::Relaxed) - 1;
        if others == 0 && !self.flight.background.load(Ordering::Relaxed) {
            shard.retire(&self.key, &self.flight);
            self.flight.cancel.cancel();
        }
    }
}
