//! What the processes of a mesh share: the truth, an origin that takes its time, and the rules that are taken out.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::log::LogRules;
use super::process::{ClockKind, Network, Process};
use super::scheduler::Simulated;
use super::script::Script;
use super::through_model;
use crate::engine::Rules;
use crate::near;
use crate::replica;
use crate::{
    Audience, ConsistencyRequirement, Engine, Failure, Identity, Key, LeaseRequest, Limits, Loaded, MemoryStore,
    Metrics, Moment, Origin, Policy, Read, StartFloor, Tag, World,
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
#[expect(clippy::struct_excessive_bools, reason = "each is a rule of its own")]
pub(super) struct Variant {
    pub rules: Rules,
    pub near: near::Rules,
    pub replica: replica::Rules,
    pub log: LogRules,
    pub clock: ClockKind,
    /// A new life of a gateway has the name of the one before, and names are what leases are noted under.
    pub holder_by_name: bool,
    /// The writer drops its copies when it sends its invalidation, or when a replica has appended it.
    pub drops_when_sending: bool,
    /// The token of a read names its load.
    pub seen_loads_told: bool,
    /// What is acknowledged locally is promised of its own replica alone, and of others a lease later.
    pub local_is_local: bool,
    /// Of how many writes one is acknowledged locally.
    pub one_local_in: u64,
}

impl Variant {
    /// Tags that were invalidated lately are leased all the same: that rule is for speed, and without it writes may come
    /// close together.
    pub(super) const ALL: Self = Self {
        rules: Rules { restless_tags_refused: false, ..Rules::ALL },
        near: near::Rules::ALL,
        replica: replica::Rules::ALL,
        log: LogRules::ALL,
        clock: ClockKind::Boot,
        holder_by_name: false,
        drops_when_sending: false,
        seen_loads_told: true,
        local_is_local: true,
        one_local_in: 4,
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
    pub commits: [Vec<Moment>; 3],
    pub acknowledged: [usize; 3],
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

    pub(super) fn current(&self, object: u8) -> usize {
        self.commits[usize::from(object)].len()
    }

    pub(super) fn acknowledge(&mut self, versions: [usize; 3]) {
        self.writes += 1;
        for (acknowledged, version) in self.acknowledged.iter_mut().zip(versions) {
            *acknowledged = version.max(*acknowledged);
        }
    }

    pub(super) fn ensure(&mut self, holds: bool, broken: impl FnOnce() -> String) {
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
    /// What keys of the namespace that replicas write through have.
    pub keys: Arc<Mutex<through_model::Truth>>,
    pub variant: Variant,
}

impl Mesh {
    /// Nothing has happened in it yet.
    pub(super) fn begin(script: &Script, variant: Variant) -> Self {
        let world = Simulated::begin(script.rng());
        let network = Network { world: world.clone(), is_calm: script.is_calm };
        Self { world, network, truth: Arc::default(), keys: Arc::default(), variant }
    }
}

/// An origin that takes its time, and fails now and then.
#[derive(Clone)]
pub(super) struct MeshOrigin {
    mesh: Mesh,
    process: Process,
}

impl MeshOrigin {
    async fn load_key(&self, key: &'static str) -> Loaded {
        // As above.
        let _ = self.mesh.network.carry().await;
        let current = self.mesh.keys.lock().unwrap().current(key);
        let _ = self.mesh.network.carry().await;
        let _ = self.process.turn().await;
        let absent = || Failure { code: 5, ..Failure::default() };
        let load = current.map(|number| Bytes::copy_from_slice(&number.to_be_bytes())).ok_or_else(absent);
        Loaded { version: current, ..load.into() }
    }
}

impl Origin for MeshOrigin {
    type Call = u8;

    async fn load(&self, object: u8, _: Duration) -> Loaded {
        if let Some(key) = through_model::of_call(object) {
            return self.load_key(key).await;
        }
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
        if !self.mesh.network.is_calm && self.mesh.world.rng.below(50) == 0 {
            return Err(Failure { code: 14, ..Failure::default() }).into();
        }
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

pub(super) fn engine(mesh: &Mesh, process: &Process) -> Engine<MeshOrigin, MemoryStore, Process> {
    let origin = MeshOrigin { mesh: mesh.clone(), process: process.clone() };
    let metrics = Metrics::new(&opentelemetry::global::meter("simulation"));
    let store = MemoryStore::new(LIMITS.capacity, |_| {});
    Engine::with_rules(origin, store, process.clone(), LIMITS, metrics, mesh.variant.rules)
}

pub(super) fn request(object: u8, consistency: ConsistencyRequirement, lease: Option<LeaseRequest>) -> Read<u8> {
    let identity = Identity { method: "m", origin: "o", tenant: "", audience: Audience::Shared, bytes: &[object] };
    let tags = if object.is_multiple_of(2) { vec![tag(object)] } else { Vec::new() };
    Read {
        key: Key::of(&identity),
        policy: POLICY,
        tags: tags.into(),
        consistency,
        floor: StartFloor::default(),
        wait_budget: Duration::from_secs(10),
        load_timeout: Duration::from_secs(10),
        too_late: None,
        call: object,
        lease,
    }
}
