//! The near cache: answers that a gateway keeps in its own memory, each under a lease of the cache service.
//!
//! Its rules:
//! 1. A lease counts from when the request *left*, and a little less than it was given. It is judged for each read by a fresh
//!    reading of a clock that goes on while the machine sleeps.
//! 2. When the acknowledgement of an invalidation arrives that this gateway asked for, its copies are dropped, and so is what it
//!    asked for before that moment and has not yet: the cache does not wait for the leases of the gateway that writes.
//! 3. What comes from a new process of the cache ends all that came from the one before. While two answer behind one name,
//!    nothing is kept.
//! 4. What is read once is not kept.
//! 5. Who passes a consistency token may ask for more than what is kept here: whoever keeps it judges that.
//! 6. A quarter of a lease before its end one reader is sent to the cache, while the others are still answered: of a key that is
//!    read all along, one request a lease reaches the cache, however many ask at once.
//!
//! Other requests under way are not shared here: the cache service shares their loads.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use moka::Equivalent;
use moka::sync::Cache;
use opentelemetry::metrics::Meter;

use crate::admission::Admission;
use crate::grant::HOLDER_SHARE;
use crate::incarnations::{Incarnations, Sighting};
use crate::key::Tag;
use crate::near_metrics::NearMetrics;
use crate::policy::ConsistencyRequirement;
use crate::validity::{Epoch, Validity};
use crate::world::{Moment, World};

/// What an entry costs beside what its holder counts: the entry, and what moka keeps to find it and to weigh it up.
const OVERHEAD: usize = 400;
/// The share of a lease after which one reader renews it: what is left is more than a way to the cache takes.
const RENEWED_AFTER: f64 = 0.75;

/// Bounds of a near cache.
#[derive(Clone, Copy, Debug)]
pub struct NearLimits {
    /// Bytes of all entries.
    pub bytes: u64,
    /// Bytes of one entry: what is larger stays in the cache service.
    pub max_entry_bytes: usize,
    /// Tags whose invalidation is remembered one by one.
    pub tags: usize,
    /// The longest lease, whatever is granted.
    pub max_lease: Duration,
}

/// Answers in the memory of a gateway.
pub struct Near<K, V, W> {
    world: W,
    limits: NearLimits,
    rules: Rules,
    /// What was invalidated here: the copies and the requests of an epoch end with it.
    validity: Validity,
    entries: Cache<K, Arc<Entry<V>>>,
    admission: Admission,
    incarnations: Incarnations,
    metrics: NearMetrics,
}

/// The rules that a simulation takes out one by one, to see that it would notice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) counted_from_asking: bool,
    pub(crate) older_fills_refused: bool,
    pub(crate) tokens_heeded: bool,
    pub(crate) holder_share: f64,
    pub(crate) renewed_after: f64,
}

impl Rules {
    pub(crate) const ALL: Self = Self {
        counted_from_asking: true,
        older_fills_refused: true,
        tokens_heeded: true,
        holder_share: HOLDER_SHARE,
        renewed_after: RENEWED_AFTER,
    };
}

struct Entry<V> {
    value: Arc<V>,
    tags: Box<[Tag]>,
    epoch: Epoch,
    /// Not before the start of its load.
    loaded: Moment,
    /// When its life ends.
    expires: Moment,
    /// When its lease ends, or its life.
    until: Moment,
    /// When somebody goes for a new lease; never where the life of the answer ends first, which no lease makes longer.
    renewed: Option<Moment>,
    /// Whether somebody has gone for it.
    is_renewed: AtomicBool,
    weight: u32,
}

/// A request that is about to leave.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    at: Moment,
    epoch: Epoch,
}

/// The lease that came with an answer.
#[derive(Clone, Debug)]
pub struct Lease {
    /// For how long it was granted.
    pub duration: Duration,
    /// How old the answer was when it was given.
    pub age: Duration,
    /// For how long it was fresh from then on.
    pub left: Duration,
    /// Its tags.
    pub tags: Box<[Tag]>,
}

/// An answer from the gateway's own memory.
#[derive(Clone, Debug)]
pub struct Hit<V> {
    /// What was kept.
    pub value: Arc<V>,
    /// No less than its age.
    pub age: Duration,
    /// How long it stays fresh, as far as its contract is concerned.
    pub left: Duration,
}

/// Why an answer is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It was asked for before one of its tags was invalidated here.
    Invalidated,
    /// Its lease, or its life, was over before it came.
    Expired,
    /// It is larger than one entry may be.
    TooLarge,
    /// Two processes answer behind the name of the cache.
    Suspended,
}

impl<V> Entry<V> {
    /// Whether the lease is to be renewed by who asks now: it is the first to ask so late.
    fn is_to_be_renewed(&self, now: Moment) -> bool {
        self.renewed.is_some_and(|renewed| now >= renewed) && !self.is_renewed.swap(true, Ordering::Relaxed)
    }
}

impl<K, V, W> std::fmt::Debug for Near<K, V, W> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Near").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Refusal {
    fn name(self) -> &'static str {
        match self {
            Self::Invalidated => "invalidated",
            Self::Expired => "expired",
            Self::TooLarge => "too_large",
            Self::Suspended => "suspended",
        }
    }
}

impl<K, V, W> Near<K, V, W>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    W: World,
{
    /// An empty one, with its instruments on this meter.
    pub fn new(world: W, limits: NearLimits, meter: &Meter) -> Self {
        Self::with_rules(world, limits, meter, Rules::ALL)
    }

    pub(crate) fn with_rules(world: W, limits: NearLimits, meter: &Meter, rules: Rules) -> Self {
        let weigher = |_: &K, entry: &Arc<Entry<V>>| entry.weight;
        let entries: Cache<K, Arc<Entry<V>>> = Cache::builder().max_capacity(limits.bytes).weigher(weigher).build();
        let [bytes, count] = [entries.clone(), entries.clone()];
        let metrics = NearMetrics::new(meter, move || bytes.weighted_size(), move || count.entry_count());
        Self {
            world,
            limits,
            rules,
            validity: Validity::new(limits.tags, true),
            entries,
            admission: Admission::new(),
            incarnations: Incarnations::default(),
            metrics,
        }
    }

    /// An answer from memory, under a lease that holds now. To be called after whoever reads was authorized, and right before it
    /// is answered.
    pub fn get<Q>(&self, key: &Q, consistency: ConsistencyRequirement) -> Option<Hit<V>>
    where
        Q: Equivalent<K> + Hash + ?Sized,
    {
        self.get_if(key, consistency, |_| true)
    }

    /// The same, where what is kept meets the consistency tokens of the reader as well.
    pub fn get_if<Q>(
        &self,
        key: &Q,
        consistency: ConsistencyRequirement,
        meets_tokens: impl FnOnce(&V) -> bool,
    ) -> Option<Hit<V>>
    where
        Q: Equivalent<K> + Hash + ?Sized,
    {
        let kept = self.entries.get(key).filter(|entry| meets_tokens(&entry.value) || !self.rules.tokens_heeded);
        let hit = kept.and_then(|entry| self.judge(&entry, consistency));
        self.metrics.read(hit.is_some());
        hit
    }

    fn judge(&self, entry: &Entry<V>, consistency: ConsistencyRequirement) -> Option<Hit<V>> {
        let now = self.world.now();
        let age = now.since(entry.loaded);
        let is_fresh_enough = match consistency {
            ConsistencyRequirement::MinimizeLatency => true,
            ConsistencyRequirement::MaxStaleness(bound) => age <= bound,
            ConsistencyRequirement::Strong => false,
        };
        let is_held = now < entry.until && !self.incarnations.is_suspended(now);
        let is_valid = is_fresh_enough && is_held && self.validity.holds(&entry.tags, entry.epoch);
        let is_hit = is_valid && !entry.is_to_be_renewed(now);
        is_hit.then(|| Hit { value: Arc::clone(&entry.value), age, left: entry.expires.since(now) })
    }

    /// Notes a miss; whether a lease of this time is worth asking for. A key that is read all along is missed once a lease, so two
    /// leases are the time that counts.
    pub fn is_wanted<Q: Hash + ?Sized>(&self, key: &Q, lease: Duration) -> bool {
        let now = self.world.now();
        self.admission.is_second(key, now, lease.min(self.limits.max_lease) * 2) && !self.incarnations.is_suspended(now)
    }

    /// A request is about to leave.
    pub fn begin(&self) -> Asked {
        // The epoch first: an invalidation that comes in between then reaches what this request brings.
        let epoch = self.validity.now();
        Asked { at: self.world.now(), epoch }
    }

    /// Notes which process of the cache answered, before its answer is kept.
    pub fn observe(&self, asked: Asked, incarnation: u128) -> Sighting {
        let sighting = self.incarnations.observe(asked.at, incarnation, self.world.now());
        if sighting != Sighting::Same {
            self.acknowledged_all();
        }
        sighting
    }

    /// Whether two processes answered behind the name of the cache a short time ago: then reads should go past it.
    pub fn is_suspended(&self) -> bool {
        self.incarnations.is_suspended(self.world.now())
    }

    /// Keeps an answer. `weight` is what all forms of it take in memory, with its key.
    pub fn fill(&self, asked: Asked, key: K, value: Arc<V>, weight: usize, lease: Lease) -> Result<(), Refusal> {
        let entry =
            self.entry(asked, value, weight, lease).inspect_err(|refusal| self.metrics.refused(refusal.name()))?;
        self.entries.insert(key, Arc::new(entry));
        // Moka makes room when it gets around to it, and it has no thread of its own.
        self.entries.run_pending_tasks();
        Ok(())
    }

    fn entry(&self, asked: Asked, value: Arc<V>, weight: usize, lease: Lease) -> Result<Entry<V>, Refusal> {
        let now = self.world.now();
        let (rules, Lease { duration, age, left, tags }) = (&self.rules, lease);
        if weight > self.limits.max_entry_bytes {
            return Err(Refusal::TooLarge);
        }
        if self.incarnations.is_suspended(now) {
            return Err(Refusal::Suspended);
        }
        let from = if rules.counted_from_asking { asked.at } else { now };
        let expires = asked.at.after(left);
        let held = duration.min(self.limits.max_lease).mul_f64(rules.holder_share);
        let until = from.after(held).min(expires);
        if now >= until {
            return Err(Refusal::Expired);
        }
        // Judged again at each look: what is invalidated between here and there is dead as well.
        let epoch = if rules.older_fills_refused { asked.epoch } else { self.validity.now() };
        if !self.validity.holds(&tags, epoch) {
            return Err(Refusal::Invalidated);
        }
        let weight = u32::try_from(weight + size_of_val(&*tags) + OVERHEAD).unwrap_or(u32::MAX);
        let renewed = (until < expires).then(|| from.after(held.mul_f64(rules.renewed_after)));
        let is_renewed = AtomicBool::new(false);
        Ok(Entry { value, tags, epoch, loaded: asked.at.before(age), expires, until, renewed, is_renewed, weight })
    }

    /// The cache has acknowledged an invalidation that this gateway asked for; or nobody knows whether it has. To be called
    /// when that is heard, and before the write is answered.
    pub fn acknowledged(&self, tags: impl IntoIterator<Item = Tag>) {
        for tag in tags {
            self.validity.invalidate(tag);
        }
    }

    /// The same for an invalidation of everything.
    pub fn acknowledged_all(&self) {
        self.validity.invalidate_all();
    }
}

#[cfg(test)]
mod tests;
