//! Gateways with near caches before a cache service: how they read and write, and what they promise.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::select;

use super::mesh::{MAX_LEASE, Mesh, MeshOrigin, Sample, decode, engine, request, tag};
use super::process::{ClockKind, Process, after};
use super::replica_process::{Sender, SimulatedReplica};
use super::sessions::{PassedTokens, Session};
use crate::consistency_token::Standing;
use crate::near::Near;
use crate::{
    Answer, ConsistencyRequirement, ConsistencyToken, Engine, Key, Lease, LeaseHolder, LeaseRequest, LoadSpan,
    MemoryStore, Moment, NearLimits, Opened, Read, Required, Store, World, own_wait,
};

/// One process of the cache service.
pub(super) struct CacheProcess {
    pub process: Process,
    pub engine: Engine<MeshOrigin, MemoryStore, Process>,
    pub incarnation: u128,
    /// Its successor has begun. It grants nothing more: what else would be is excluded by the lock that a cache holds.
    pub lingers: AtomicBool,
    /// Where it is one of several.
    pub replica: Option<SimulatedReplica>,
}

impl CacheProcess {
    pub(super) fn start(mesh: &Mesh, incarnation: u128, rate: u64) -> Arc<Self> {
        let process = Process::start(&mesh.world, ClockKind::Boot, rate);
        let engine = engine(mesh, &process);
        Arc::new(Self { process, engine, incarnation, lingers: AtomicBool::new(false), replica: None })
    }

    /// What its answers say that they come from: of several, all say the same.
    pub(super) fn origin(&self) -> u128 {
        self.replica.as_ref().map_or(self.incarnation, |replica| replica.replica.incarnation())
    }

    /// What tokens ask of its answers. It reads more of the log before, where it is behind; not always, as where its reader does not
    /// wait for that.
    pub(super) async fn require(&self, tokens: &[Opened], key: &Key) -> Option<Required> {
        let Some(SimulatedReplica { replica, .. }) = &self.replica else {
            let (number, next_serial) = (self.engine.position(), self.engine.0.flights.next_serial());
            let (log, process) = (self.incarnation, 0);
            let standing = Standing { log, number, first_later: number + 1, process, next_serial };
            return Some(standing.require(tokens, key.to_bits()));
        };
        let waits = replica.is_behind(tokens) && self.engine.0.world.random() < 0.75;
        if waits {
            let dies = async { while self.process.poll().await.is_some() {} };
            let (caught_up, dies) = (pin!(replica.catch_up()), pin!(dies));
            select(caught_up, dies).await;
            self.process.turn().await?;
        }
        Some(replica.require(tokens, key, waits))
    }

    /// Nothing is left of what it keeps.
    pub(super) fn evict(&self) -> &'static str {
        for object in 0..3 {
            self.engine.0.store.remove(&request(object, ConsistencyRequirement::MinimizeLatency, None).key);
        }
        "eviction of all entries"
    }

    /// An answer, and when it was given.
    pub(super) async fn read(&self, read: &Read<u8>) -> Option<(Answer, Moment)> {
        self.process.turn().await?;
        let answer = self.engine.read(read).await.ok()?;
        let answered = self.process.true_now();
        let lease = answer.lease.clone().filter(|_| !self.lingers.load(Ordering::Relaxed));
        self.process.turn().await?;
        Some((Answer { lease, ..answer }, answered))
    }
}

/// One life of a gateway.
pub(super) struct Gateway {
    pub mesh: Mesh,
    pub process: Process,
    pub near: Near<u8, (Sample, ConsistencyToken), Process>,
    pub holder: LeaseHolder,
    pub cache: Mutex<Arc<CacheProcess>>,
    /// Those of several that it sees: none where there is but one.
    pub replicas: Mutex<Vec<Arc<CacheProcess>>>,
    pub sender: tokio::sync::Mutex<Sender>,
    /// Caches that it does not reach.
    pub parted_from: Mutex<BTreeSet<u128>>,
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
        let (replicas, sender, parted_from) = (Mutex::default(), tokio::sync::Mutex::default(), Mutex::default());
        Arc::new(Self { mesh, process, near, holder: LeaseHolder(holder), cache, replicas, sender, parted_from })
    }

    /// For a while no message passes between it and a cache.
    pub(super) async fn parted(self: Arc<Self>, cache: u128, milliseconds: u64) {
        let began = self.mesh.world.now();
        self.parted_from.lock().unwrap().insert(cache);
        after(&self.mesh.world, began, Duration::from_millis(milliseconds)).await;
        self.parted_from.lock().unwrap().remove(&cache);
    }

    /// Carries a message to a cache, or from it.
    pub(super) async fn carry(&self, cache: &CacheProcess) -> Option<()> {
        self.mesh.network.carry().await?;
        (!self.parted_from.lock().unwrap().contains(&cache.incarnation)).then_some(())
    }

    fn cache(&self) -> Arc<CacheProcess> {
        Arc::clone(&self.cache.lock().unwrap())
    }

    /// Who is asked for an object: of several that this gateway sees, its owner.
    fn owner(&self, object: u8) -> Arc<CacheProcess> {
        let replicas = self.replicas.lock().unwrap();
        let score = |of: &Arc<CacheProcess>| (of.incarnation ^ u128::from(object)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        replicas.iter().max_by_key(|replica| score(replica) % 1_000).map_or_else(|| self.cache(), Arc::clone)
    }

    /// Reads, and holds what comes against the truth.
    pub(super) async fn read(self: Arc<Self>, object: u8, consistency: ConsistencyRequirement) -> Option<()> {
        self.read_in(object, consistency, None).await
    }

    /// The same for a session, which must be told no less than what it has written and seen.
    pub(super) async fn read_in(
        self: Arc<Self>,
        object: u8,
        consistency: ConsistencyRequirement,
        session: Option<Session>,
    ) -> Option<()> {
        let asked_at = self.mesh.world.now();
        let passed = session.as_ref().map_or_else(PassedTokens::default, |session| session.pass(object));
        let acknowledged = self.mesh.truth.lock().unwrap().acknowledged[usize::from(object)];
        self.process.turn().await?;
        let is_seen = |token: &ConsistencyToken| passed.tokens.iter().all(|seen| *seen == Opened::Known(*token));
        let ((sample, token), from) = match self.near.get_if(&object, consistency, |(_, token)| is_seen(token)) {
            Some(hit) => {
                self.check_age(&hit.value.0, hit.age, self.mesh.world.now());
                (*hit.value, "near")
            }
            None => (self.ask(object, consistency, &passed.tokens).await?, "cache"),
        };
        let kept = session.map_or(Ok(()), |session| session.check(&passed, object, sample.version as u64, token));
        let mut truth = self.mesh.truth.lock().unwrap();
        truth.hits += u64::from(from == "near");
        let told = || format!("{sample:?} from {from} at {asked_at:?} where {acknowledged} was acknowledged");
        truth.ensure(sample.object == object, || format!("I1: {}", told()));
        truth.ensure(sample.version >= acknowledged, || format!("I6: {}", told()));
        if let Err(broken) = kept {
            truth.ensure(false, || format!("{broken}: {}", told()));
        }
        if let ConsistencyRequirement::MaxStaleness(bound) = consistency {
            let superseded = truth.commits[usize::from(object)].get(sample.version).copied();
            let oldest = asked_at.before(with_clock_error(bound));
            truth.ensure(superseded.is_none_or(|at| at >= oldest), || format!("I2: {bound:?}: {}", told()));
        }
        Some(())
    }

    fn check_age(&self, sample: &Sample, told: Duration, at: Moment) {
        let age = at.since(sample.at);
        let holds = age <= with_clock_error(told);
        self.mesh.truth.lock().unwrap().ensure(holds, || format!("I9: {sample:?} is {age:?} old, and said {told:?}"));
    }

    async fn ask(
        &self,
        object: u8,
        consistency: ConsistencyRequirement,
        tokens: &[Opened],
    ) -> Option<(Sample, ConsistencyToken)> {
        let cache = self.owner(object);
        let wish = LeaseRequest { holder: self.holder, duration: MAX_LEASE, is_bounded: false };
        let read = request(object, consistency, self.near.is_wanted(&object, MAX_LEASE).then_some(wish));
        let asked = self.near.begin();
        self.carry(&cache).await?;
        let required = cache.require(tokens, &read.key).await?;
        let (answer, answered) = cache.read(&Read { floor: required.floor, ..read }).await?;
        self.carry(&cache).await?;
        self.process.turn().await?;
        self.near.observe(asked, cache.origin());
        let sample = decode(&answer.load.ok()?);
        self.check_age(&sample, answer.age, answered);
        let token = if self.mesh.variant.seen_loads_told {
            required.token(&answer.span)
        } else {
            required.token(&LoadSpan::default())
        };
        if let Some(granted) = answer.lease {
            let left = answer.lifetime.saturating_sub(answer.age);
            let lease = Lease { duration: granted.duration, age: answer.age, left, tags: (*granted.tags).into() };
            // Whether it is kept shows in later reads.
            let _ = self.near.fill(asked, object, Arc::new((sample, token)), 100, lease);
        }
        Some((sample, token))
    }

    /// Writes, and acknowledges it when no gateway answers with what it replaced any more.
    pub(super) async fn write(self: Arc<Self>, object: u8, flushes: bool, session: Option<Session>) -> Option<()> {
        let versions = self.commit(object, flushes).await?;
        let version = versions[usize::from(object)] as u64;
        let session = session.map(|session| (session.committed(object, version), session));
        let (wait, token) = loop {
            self.process.turn().await?;
            if let Some(invalidated) = self.invalidate(object, flushes).await {
                break invalidated;
            }
        };
        if let Some((write, session)) = session {
            session.appended(write, token);
        }
        self.process.wait(own_wait(wait)).await?;
        self.mesh.truth.lock().unwrap().acknowledge(versions);
        Some(())
    }

    /// Changes an object at the origin; what is acknowledged with it.
    pub(super) async fn commit(&self, object: u8, flushes: bool) -> Option<[usize; 3]> {
        self.process.turn().await?;
        self.mesh.network.carry().await?;
        let versions = {
            let mut truth = self.mesh.truth.lock().unwrap();
            truth.commit(object, self.mesh.world.now());
            [0, 1, 2].map(|of| if flushes || of == object { truth.current(of) } else { 0 })
        };
        // Where this is lost, its outcome is open: then it may have committed, and is invalidated as well.
        let _ = self.mesh.network.carry().await;
        Some(versions)
    }

    /// Sends an invalidation once; how long the cache says that others may hold what it is about, and its token.
    async fn invalidate(&self, object: u8, flushes: bool) -> Option<(Duration, ConsistencyToken)> {
        let (cache, drops_when_sending) = (self.cache(), self.mesh.variant.drops_when_sending);
        let asked = self.near.begin();
        if drops_when_sending {
            self.near.acknowledged([tag(object)]);
        }
        self.carry(&cache).await?;
        cache.process.turn().await?;
        cache.engine.reached(cache.engine.position() + 1);
        let wait = if flushes {
            cache.engine.invalidate_all(Some(self.holder))
        } else {
            cache.engine.invalidate_leased(&[tag(object)], Some(self.holder))[0]
        };
        let token = ConsistencyToken::of_write(cache.incarnation, cache.engine.position());
        cache.process.turn().await?;
        self.carry(&cache).await?;
        self.process.turn().await?;
        self.near.observe(asked, cache.incarnation);
        match flushes {
            true => self.near.acknowledged_all(),
            false if drops_when_sending => {}
            false => self.near.acknowledged([tag(object)]),
        }
        Some((wait, token))
    }
}

/// A time by a clock that may be one percent off, as somebody else's may be in the other direction.
fn with_clock_error(time: Duration) -> Duration {
    time.mul_f64(1.021)
}
