//! Gateways with near caches before a cache service: how they read and write, and what they promise.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::process::{ClockKind, Network, Process};
use super::scheduler::Simulated;
use crate::engine::Rules;
use crate::near::{self, Near};
use crate::{
    Answer, Audience, ConsistencyRequirement, Engine, Identity, Key, Lease, LeaseHolder, LeaseRequest, Limits, Loaded,
    MemoryStore, Metrics, Moment, NearLimits, Origin, Policy, Read, Tag, World, own_wait,
};

pub(super) const MAX_LEASE: Duration = Duration::from_millis(200);

const LIMITS: Limits = Limits {
    capacity: 1 << 20,
    waiters: 100,
    flights: 100,
    // Fewer than there are objects, so that notes are forgotten.
    tags: 2,
    cool_down: Duration::ZERO,
    uncacheable: Duration::ZERO,
    max_lease: MAX_LEASE,
    first_lease_time: MAX_LEASE,
};

const POLICY: Policy = Policy {
    ttl: Duration::from_secs(1),
    stale_while_revalidate: Duration::ZERO,
    stale_if_error: Duration::ZERO,
    negative_ttl: Duration::ZERO,
    max_bytes: 1_000,
};

/// Without which rules the mesh runs. What a process of the mesh does by itself is told by the engine's and the holder's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Variant {
    pub rules: Rules,
    pub near: near::Rules,
    pub clock: ClockKind,
    /// A new life of a gateway has the name of the one before, and names are what leases are noted under.
    pub holder_by_name: bool,
    /// The writer drops its copies when it sends its invalidation.
    pub drops_when_sending: bool,
}

impl Variant {
    /// Tags that were invalidated lately are leased all the same: that rule is for speed, and without it writes may come
    /// close together.
    pub(super) const ALL: Self = Self {
        rules: Rules { restless_tags_refused: false, ..Rules::ALL },
        near: near::Rules::ALL,
        clock: ClockKind::Boot,
        holder_by_name: false,
        drops_when_sending: false,
    };
}

/// A version of an object, and when it was read at the origin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub object: u8,
    pub version: usize,
    pub at: Moment,
}

/// What was committed and when, and up to which version writes were acknowledged, by object.
#[derive(Debug, Default)]
pub(super) struct Truth {
    commits: [Vec<Moment>; 3],
    acknowledged: [usize; 3],
    /// Loads that have read the truth.
    pub samples: u64,
    pub hits: u64,
    pub writes: u64,
    pub broken: Option<String>,
}

impl Truth {
    pub(super) fn commit(&mut self, object: u8, now: Moment) -> usize {
        self.commits[usize::from(object)].push(now);
        self.current(object)
    }

    fn current(&self, object: u8) -> usize {
        self.commits[usize::from(object)].len()
    }

    pub(super) fn acknowledge(&mut self, versions: [usize; 3]) {
        self.writes += 1;
        for (acknowledged, version) in self.acknowledged.iter_mut().zip(versions) {
            *acknowledged = version.max(*acknowledged);
        }
    }

    fn ensure(&mut self, holds: bool, broken: impl FnOnce() -> String) {
        if !holds {
            self.broken.get_or_insert_with(broken);
        }
    }
}

/// What all of it shares.
#[derive(Clone)]
pub(super) struct Mesh {
    pub world: Simulated,
    pub network: Network,
    pub truth: Arc<Mutex<Truth>>,
    pub variant: Variant,
}

/// An origin that takes its time.
#[derive(Clone)]
pub(super) struct MeshOrigin {
    mesh: Mesh,
    process: Process,
}

impl Origin for MeshOrigin {
    type Call = u8;

    async fn load(&self, object: u8, _: Duration) -> Loaded {
        // What gets lost on this way is only late.
        let _ = self.mesh.network.carry().await;
        let version = {
            let mut truth = self.mesh.truth.lock().unwrap();
            truth.samples += 1;
            truth.current(object)
        };
        let value = [&[object][..], &(version as u64).to_be_bytes(), &self.mesh.world.now().0.to_be_bytes()].concat();
        let _ = self.mesh.network.carry().await;
        let _ = self.process.turn().await;
        // Every other object's tag is told by the answer alone.
        let tags = if object % 2 == 1 { vec![tag(object)] } else { Vec::new() };
        Loaded { tags: Some(tags), ..Ok(Bytes::from(value)).into() }
    }
}

pub(super) fn decode(value: &[u8]) -> Sample {
    let number = |from: usize| u64::from_be_bytes(value[from..from + 8].try_into().expect("eight bytes"));
    Sample { object: value[0], version: usize::try_from(number(1)).expect("few versions"), at: Moment(number(9)) }
}

pub(super) fn tag(object: u8) -> Tag {
    Tag::named(&format!("object/{object}"))
}

/// One process of the cache service.
pub(super) struct CacheProcess {
    pub process: Process,
    pub engine: Engine<MeshOrigin, MemoryStore, Process>,
    pub incarnation: u128,
    /// Its successor has begun. It grants nothing more: what else would be is excluded by the lock that a cache holds.
    pub lingers: AtomicBool,
}

impl CacheProcess {
    pub(super) fn start(mesh: &Mesh, incarnation: u128, rate: u64) -> Arc<Self> {
        let process = Process::start(&mesh.world, ClockKind::Boot, rate);
        let origin = MeshOrigin { mesh: mesh.clone(), process: process.clone() };
        let metrics = Metrics::new(&opentelemetry::global::meter("simulation"));
        let store = MemoryStore::new(LIMITS.capacity, |_| {});
        let engine = Engine::with_rules(origin, store, process.clone(), LIMITS, metrics, mesh.variant.rules);
        Arc::new(Self { process, engine, incarnation, lingers: AtomicBool::new(false) })
    }

    pub(super) async fn read(&self, read: &Read<u8>) -> Option<Answer> {
        self.process.turn().await?;
        let answer = self.engine.read(read).await.ok()?;
        let lease = answer.lease.clone().filter(|_| !self.lingers.load(Ordering::Relaxed));
        self.process.turn().await?;
        Some(Answer { lease, ..answer })
    }
}

/// One life of a gateway.
pub(super) struct Gateway {
    pub mesh: Mesh,
    pub process: Process,
    pub near: Near<u8, Sample, Process>,
    pub holder: LeaseHolder,
    pub cache: Mutex<Arc<CacheProcess>>,
}

impl Gateway {
    pub(super) fn start(mesh: &Mesh, cache: &Arc<CacheProcess>, holder: u128, rate: u64) -> Arc<Self> {
        let process = Process::start(&mesh.world, mesh.variant.clock, rate);
        let limits = NearLimits { bytes: 1 << 20, max_entry_bytes: 16 << 10, tags: 2, max_lease: MAX_LEASE };
        let meter = opentelemetry::global::meter("simulation");
        let near = Near::with_rules(process.clone(), limits, &meter, mesh.variant.near);
        if mesh.variant.clock == ClockKind::Cached {
            let ticking = process.clone();
            mesh.world.spawn(async move {
                ticking.tick().await;
            });
        }
        let (mesh, cache) = (mesh.clone(), Mutex::new(Arc::clone(cache)));
        Arc::new(Self { mesh, process, near, holder: LeaseHolder(holder), cache })
    }

    fn cache(&self) -> Arc<CacheProcess> {
        Arc::clone(&self.cache.lock().unwrap())
    }

    /// Reads, and holds what comes against the truth.
    pub(super) async fn read(self: Arc<Self>, object: u8, consistency: ConsistencyRequirement) -> Option<()> {
        let asked_at = self.mesh.world.now();
        let acknowledged = self.mesh.truth.lock().unwrap().acknowledged[usize::from(object)];
        self.process.turn().await?;
        let (sample, from) = match self.near.get(&object, consistency) {
            Some(hit) => {
                self.check_age(&hit.value, hit.age);
                (*hit.value, "near")
            }
            None => (self.ask(object, consistency).await?, "cache"),
        };
        let mut truth = self.mesh.truth.lock().unwrap();
        truth.hits += u64::from(from == "near");
        let told = || format!("{sample:?} from {from} at {asked_at:?} where {acknowledged} was acknowledged");
        truth.ensure(sample.object == object, || format!("I1: {}", told()));
        truth.ensure(sample.version >= acknowledged, || format!("I6: {}", told()));
        if let ConsistencyRequirement::MaxStaleness(bound) = consistency {
            let superseded = truth.commits[usize::from(object)].get(sample.version).copied();
            let oldest = asked_at.before(with_clock_error(bound));
            truth.ensure(superseded.is_none_or(|at| at >= oldest), || format!("I2: {bound:?}: {}", told()));
        }
        Some(())
    }

    fn check_age(&self, sample: &Sample, told: Duration) {
        let age = self.mesh.world.now().since(sample.at);
        let holds = age <= with_clock_error(told);
        self.mesh.truth.lock().unwrap().ensure(holds, || format!("I9: {sample:?} is {age:?} old, and said {told:?}"));
    }

    async fn ask(&self, object: u8, consistency: ConsistencyRequirement) -> Option<Sample> {
        let cache = self.cache();
        let wish = LeaseRequest { holder: self.holder, duration: MAX_LEASE, is_bounded: false };
        let read = request(object, consistency, self.near.is_wanted(&object, MAX_LEASE).then_some(wish));
        let asked = self.near.begin();
        self.mesh.network.carry().await?;
        let answer = cache.read(&read).await?;
        self.mesh.network.carry().await?;
        self.process.turn().await?;
        self.near.observe(asked, cache.incarnation);
        let sample = decode(&answer.load.ok()?);
        if let Some(granted) = answer.lease {
            let left = answer.lifetime.saturating_sub(answer.age);
            let lease = Lease { duration: granted.duration, age: answer.age, left, tags: (*granted.tags).into() };
            // Whether it is kept shows in later reads.
            let _ = self.near.fill(asked, object, Arc::new(sample), 100, lease);
        }
        Some(sample)
    }

    /// Writes, and acknowledges it when no gateway answers with what it replaced any more.
    pub(super) async fn write(self: Arc<Self>, object: u8, flushes: bool) -> Option<()> {
        self.process.turn().await?;
        self.mesh.network.carry().await?;
        let versions = {
            let mut truth = self.mesh.truth.lock().unwrap();
            truth.commit(object, self.mesh.world.now());
            [0, 1, 2].map(|of| if flushes || of == object { truth.current(of) } else { 0 })
        };
        // Where this is lost, its outcome is open: then it may have committed, and is invalidated as well.
        let _ = self.mesh.network.carry().await;
        let wait = loop {
            self.process.turn().await?;
            if let Some(wait) = self.invalidate(object, flushes).await {
                break wait;
            }
        };
        self.process.wait(own_wait(wait)).await?;
        self.mesh.truth.lock().unwrap().acknowledge(versions);
        Some(())
    }

    /// Sends an invalidation once; how long the cache says that others may hold what it is about.
    async fn invalidate(&self, object: u8, flushes: bool) -> Option<Duration> {
        let (cache, drops_when_sending) = (self.cache(), self.mesh.variant.drops_when_sending);
        let asked = self.near.begin();
        if drops_when_sending {
            self.near.acknowledged([tag(object)]);
        }
        self.mesh.network.carry().await?;
        cache.process.turn().await?;
        let wait = if flushes {
            cache.engine.invalidate_all(Some(self.holder))
        } else {
            cache.engine.invalidate_leased(&[tag(object)], Some(self.holder))[0]
        };
        cache.process.turn().await?;
        self.mesh.network.carry().await?;
        self.process.turn().await?;
        self.near.observe(asked, cache.incarnation);
        match flushes {
            true => self.near.acknowledged_all(),
            false if drops_when_sending => {}
            false => self.near.acknowledged([tag(object)]),
        }
        Some(wait)
    }
}

/// A time by a clock that may be one percent off, as somebody else's may be in the other direction.
fn with_clock_error(time: Duration) -> Duration {
    time.mul_f64(1.021)
}

pub(super) fn request(object: u8, consistency: ConsistencyRequirement, lease: Option<LeaseRequest>) -> Read<u8> {
    let identity = Identity { method: "m", origin: "o", tenant: "", audience: Audience::Shared, bytes: &[object] };
    let tags = if object.is_multiple_of(2) { vec![tag(object)] } else { Vec::new() };
    Read {
        key: Key::of(&identity),
        policy: POLICY,
        tags: tags.into(),
        consistency,
        wait_budget: Duration::from_secs(10),
        load_timeout: Duration::from_secs(10),
        call: object,
        lease,
    }
}
