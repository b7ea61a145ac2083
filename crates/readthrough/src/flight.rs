//! Loads under way: who waits for which, and which of them is the newest of its key.
//!
//! A key's generation is the serial number of its newest flight. A newer flight takes the place of an older one, which
//! still answers those who wait for it, but is not stored any more: so an old load can never overwrite a newer one.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::entry::Entry;
use super::key::{Key, Tag};
use super::validity::Epoch;
use super::{Overload, world::Moment};

const SHARDS: usize = 64;

/// Keys per shard that are remembered as uncacheable.
const UNCACHEABLE: usize = 256;

/// All flights.
#[derive(Debug)]
pub(super) struct Flights {
    shards: [Mutex<Shard>; SHARDS],
    serial: AtomicU64,
    under_way: AtomicUsize,
    max_under_way: usize,
    max_waiters: usize,
}

/// What a lock protects: the newest flight of each key, and the keys whose answers can't be stored.
#[derive(Debug, Default)]
pub(super) struct Shard {
    newest: HashMap<Key, Arc<Flight>>,
    uncacheable: HashMap<Key, Moment>,
    uncacheable_order: VecDeque<Key>,
}

/// One load.
#[derive(Debug)]
pub(super) struct Flight {
    serial: u64,
    pub(super) epoch: Epoch,
    pub(super) started: Moment,
    /// When the reader that started it leaves, and its load ends.
    pub(super) until: Moment,
    pub(super) tags: Arc<[Tag]>,
    /// Nobody needs to wait for it: it is not cancelled when nobody does.
    background: bool,
    waiters: AtomicUsize,
    cancel: CancellationToken,
    landing: watch::Receiver<Option<Arc<Landing>>>,
}

/// How a load ended.
#[derive(Debug)]
pub(super) struct Landing {
    /// What it brought, stored or not.
    pub(super) entry: Arc<Entry>,
    /// Whether its tags could be told. Where not, nobody can say whether it was invalidated.
    pub(super) tagged: bool,
    /// The epoch in which its load started: whoever asked in it or before is content with it.
    pub(super) asked_until: Epoch,
    pub(super) stored: bool,
    /// When the time of its starter was over, where that is what ended it.
    pub(super) cut_at: Option<Moment>,
}

/// What a flight starts with.
#[derive(Debug)]
pub(super) struct Departure {
    pub(super) key: Key,
    pub(super) epoch: Epoch,
    pub(super) started: Moment,
    pub(super) until: Moment,
    pub(super) tags: Arc<[Tag]>,
    pub(super) background: bool,
}

impl Flights {
    pub(super) fn new(max_under_way: usize, max_waiters: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            serial: AtomicU64::new(0),
            under_way: AtomicUsize::new(0),
            max_under_way,
            max_waiters,
        }
    }

    pub(super) fn lock(&self, key: &Key) -> MutexGuard<'_, Shard> {
        self.shards[key.shard(SHARDS)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a flight that is under way.
    pub(super) fn join(self: &Arc<Self>, key: Key, flight: &Arc<Flight>) -> Result<Seat, Overload> {
        if flight.waiters.load(Ordering::Relaxed) >= self.max_waiters {
            return Err(Overload::Waiters);
        }
        Ok(self.seat(key, flight))
    }

    /// A place in a flight. Taken and left under the shard's lock: so nobody joins a flight that is being cancelled.
    pub(super) fn seat(self: &Arc<Self>, key: Key, flight: &Arc<Flight>) -> Seat {
        flight.waiters.fetch_add(1, Ordering::Relaxed);
        Seat { flights: Arc::clone(self), key, flight: Arc::clone(flight), landing: flight.landing.clone() }
    }

    /// Takes the key's newest place.
    pub(super) fn depart(self: &Arc<Self>, shard: &mut Shard, departure: Departure) -> Result<Airborne, Overload> {
        let slot = self.slot()?;
        let (sender, landing) = watch::channel(None);
        let flight = Arc::new(Flight {
            serial: self.serial.fetch_add(1, Ordering::Relaxed),
            epoch: departure.epoch,
            started: departure.started,
            until: departure.until,
            tags: departure.tags,
            background: departure.background,
            waiters: AtomicUsize::new(0),
            cancel: CancellationToken::new(),
            landing,
        });
        shard.newest.insert(departure.key, Arc::clone(&flight));
        Ok(Airborne { slot, key: departure.key, flight, landing: sender })
    }

    /// The right to load, whoever the load is for.
    pub(super) fn slot(self: &Arc<Self>) -> Result<Slot, Overload> {
        // Counted first: so it is given back where it is one too many.
        let before = self.under_way.fetch_add(1, Ordering::Relaxed);
        let slot = Slot(Arc::clone(self));
        if before < self.max_under_way { Ok(slot) } else { Err(Overload::Flights) }
    }
}

/// One of the loads that may be under way at a time, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot(Arc<Flights>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shard {
    pub(super) fn newest(&self, key: &Key) -> Option<&Arc<Flight>> {
        self.newest.get(key)
    }

    /// Ends a flight's time as the newest of its key; whether it still was.
    pub(super) fn retire(&mut self, key: &Key, flight: &Flight) -> bool {
        let newest = self.newest.get(key).is_some_and(|newest| newest.serial == flight.serial);
        if newest {
            self.newest.remove(key);
        }
        newest
    }

    pub(super) fn is_uncacheable(&self, key: &Key, now: Moment) -> bool {
        self.uncacheable.get(key).is_some_and(|until| now < *until)
    }

    /// Remembers a key whose readers should not wait for each other, because each needs a load of its own anyway.
    pub(super) fn remember_uncacheable(&mut self, key: Key, until: Moment) {
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
pub(super) struct Airborne {
    slot: Slot,
    pub(super) key: Key,
    pub(super) flight: Arc<Flight>,
    landing: watch::Sender<Option<Arc<Landing>>>,
}

impl Airborne {
    /// Runs a load until it is done; nothing where the last waiter left before.
    pub(super) async fn unless_abandoned<T>(&self, load: impl Future<Output = T>) -> Option<T> {
        self.flight.cancel.run_until_cancelled(load).await
    }

    pub(super) fn land(self, landing: Landing) {
        self.landing.send_replace(Some(Arc::new(landing)));
    }
}

impl Drop for Airborne {
    fn drop(&mut self) {
        self.slot.0.lock(&self.key).retire(&self.key, &self.flight);
    }
}

/// A waiter's place in a flight. Leaving it is what counts, however the waiter ends.
#[derive(Debug)]
pub(super) struct Seat {
    flights: Arc<Flights>,
    key: Key,
    flight: Arc<Flight>,
    landing: watch::Receiver<Option<Arc<Landing>>>,
}

impl Seat {
    /// How the load ended; nothing where its task died.
    pub(super) async fn landing(&mut self) -> Option<Arc<Landing>> {
        self.landing.wait_for(Option::is_some).await.ok().and_then(|landing| landing.clone())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut shard = self.flights.lock(&self.key);
        let others = self.flight.waiters.fetch_sub(1, Ordering::Relaxed) - 1;
        if others == 0 && !self.flight.background {
            shard.retire(&self.key, &self.flight);
            self.flight.cancel.cancel();
        }
    }
}
