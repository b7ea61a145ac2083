//! Several replicas that share an invalidation log, under a seed: a read that starts after an acknowledged write sees it, at every
//! gateway and every replica.
//!
//! Replicas are killed, paused, rolled over, and cut off from the database; the database stops, is replaced by an empty one, and its
//! clock is set; gateways see different replicas; operations on the log are late, lost, or done twice.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::gateway::{CacheProcess, Gateway};
use super::log::Database;
use super::mesh::{Mesh, Variant};
use super::process::Network;
use super::replica_process::REPLICA_LEASE;
use super::scheduler::{Rng, Scheduler, Simulated};
use crate::engine::Rules;
use crate::replica;
use crate::{ConsistencyRequirement, World};

const OPERATIONS: usize = 2_500;
const REPLICAS: usize = 3;

struct Run {
    scheduler: Scheduler,
    mesh: Mesh,
    database: Database,
    replicas: Vec<Arc<CacheProcess>>,
    gateways: Vec<Arc<Gateway>>,
    lives: u128,
}

/// Runs a seed; near hits and acknowledged writes, or the first broken invariant.
fn simulate(seed: u64, variant: Variant) -> Result<(u64, u64), String> {
    let mut run = Run::begin(seed, variant);
    for _ in 0..OPERATIONS {
        run.operate();
        if let Some(broken) = run.mesh.truth.lock().unwrap().broken.take() {
            return Err(broken);
        }
    }
    let truth = run.mesh.truth.lock().unwrap();
    Ok((truth.hits, truth.writes))
}

impl Run {
    fn begin(seed: u64, variant: Variant) -> Self {
        let world = Simulated::begin(Rng::seeded(seed));
        let network = Network { world: world.clone(), is_calm: false };
        let database = Database::new(&world, variant.log, REPLICA_LEASE);
        let mesh = Mesh { world: world.clone(), network, truth: Arc::default(), variant };
        let scheduler = Scheduler::new(world);
        let mut run = Self { scheduler, mesh, database, replicas: Vec::new(), gateways: Vec::new(), lives: 100 };
        (0..REPLICAS).for_each(|_| run.start_replica());
        (0..2).for_each(|_| run.start_gateway());
        run
    }

    fn start_replica(&mut self) {
        self.lives += 1;
        let rate = rate(&self.mesh.world.rng);
        self.replicas.push(CacheProcess::start_replica(&self.mesh, &self.database, self.lives, rate));
        self.show_replicas();
    }

    /// Gateways find out about replicas.
    fn show_replicas(&self) {
        self.gateways.iter().for_each(|gateway| gateway.see(&self.replicas));
    }

    fn start_gateway(&mut self) {
        self.lives += 1;
        let gateway = Gateway::start(&self.mesh, &self.replicas[0], self.lives, rate(&self.mesh.world.rng));
        gateway.see(&self.replicas);
        let announcing = Arc::clone(&gateway).announce();
        self.scheduler.add(Box::pin(async move {
            announcing.await;
        }));
        self.gateways.push(gateway);
    }

    fn operate(&mut self) {
        let rng = self.mesh.world.rng.clone();
        match rng.below(1_000) {
            0 => self.end_gateway(rng.below(2) == 0),
            1 | 2 => self.end_replica(rng.below(2) == 0),
            3 | 4 => self.cut(rng.below(500)),
            5 => self.database.stop(Duration::from_millis(rng.below(300))),
            6 => self.database.set_clock(rng.below(11)),
            7 if rng.below(4) == 0 => self.database.replace(),
            8 => self.diverge(),
            9 => self.show_replicas(),
            10..14 => self.gateway().process.pause(Duration::from_millis(rng.below(400))),
            14..18 => self.replica().process.pause(Duration::from_millis(rng.below(600))),
            20..60 => self.write(),
            _ => self.read(),
        }
        self.mesh.world.advance(rng.below(2_000_000));
        for _ in 0..rng.below(300) {
            if !self.scheduler.step() {
                break;
            }
        }
    }

    fn gateway(&self) -> Arc<Gateway> {
        let chosen = self.mesh.world.rng.below(self.gateways.len() as u64);
        Arc::clone(&self.gateways[usize::try_from(chosen).expect("few gateways")])
    }

    fn replica(&self) -> Arc<CacheProcess> {
        let chosen = self.mesh.world.rng.below(self.replicas.len() as u64);
        Arc::clone(&self.replicas[usize::try_from(chosen).expect("few replicas")])
    }

    fn object(&self) -> u8 {
        [0, 0, 0, 0, 1, 2][usize::try_from(self.mesh.world.rng.below(6)).expect("a small number")]
    }

    fn read(&mut self) {
        let (gateway, object) = (self.gateway(), self.object());
        let consistency = match self.mesh.world.rng.below(20) {
            0 => ConsistencyRequirement::Strong,
            _ => ConsistencyRequirement::MinimizeLatency,
        };
        self.scheduler.add(Box::pin(async move {
            gateway.read(object, consistency).await;
        }));
    }

    fn write(&mut self) {
        let (gateway, object, overflows) = (self.gateway(), self.object(), self.mesh.world.rng.below(20) == 0);
        self.scheduler.add(Box::pin(async move {
            gateway.write_logged(object, overflows).await;
        }));
    }

    /// A gateway ends, in order or not, and another one begins.
    fn end_gateway(&mut self, in_order: bool) {
        let gateway = self.gateway();
        self.gateways.retain(|other| !Arc::ptr_eq(other, &gateway));
        if in_order {
            self.scheduler.add(Box::pin(async move {
                gateway.say_goodbye().await;
            }));
        } else {
            gateway.process.end();
        }
        self.start_gateway();
    }

    /// A replica ends, in order or not, and another one begins. Gateways find out now or later.
    fn end_replica(&mut self, in_order: bool) {
        let replica = self.replica();
        self.replicas.retain(|other| !Arc::ptr_eq(other, &replica));
        if in_order {
            self.scheduler.add(Box::pin(async move {
                replica.leave().await;
            }));
        } else {
            replica.process.end();
        }
        self.start_replica();
    }

    /// A replica can't reach the database for a while.
    fn cut(&mut self, milliseconds: u64) {
        let (replica, world) = (self.replica(), self.mesh.world.clone());
        let began = world.now();
        replica.replica().faults.is_cut.store(true, Ordering::Relaxed);
        self.scheduler.add(Box::pin(async move {
            super::process::after(&world, began, Duration::from_millis(milliseconds)).await;
            replica.replica().faults.is_cut.store(false, Ordering::Relaxed);
        }));
    }

    /// A gateway does not reach all replicas: so the same object has two owners.
    fn diverge(&self) {
        let hidden = self.replica();
        let seen: Vec<_> = self.replicas.iter().filter(|other| !Arc::ptr_eq(other, &hidden)).cloned().collect();
        self.gateway().see(&seen);
    }
}

fn rate(rng: &Rng) -> u64 {
    [990, 1_000, 1_010][usize::try_from(rng.below(3)).expect("a small number")]
}

/// One of ten seeds: a run takes longer than one of the engine alone.
#[test]
fn every_seed_keeps_the_promise_of_replicas() {
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for worker in 0..workers {
            scope.spawn(move || {
                for seed in super::seeds().step_by(10).skip(worker).step_by(workers) {
                    if let Err(broken) = simulate(seed, Variant::ALL) {
                        panic!("seed {seed}: {broken}");
                    }
                }
            });
        }
    });
}

#[test]
fn same_seed_replays_same_run_of_replicas() {
    let once = simulate(7, Variant::ALL).expect("the invariants hold");
    assert_eq!(once, simulate(7, Variant::ALL).expect("the invariants hold"));
    assert!(once.0 > 30 && once.1 > 5, "a run that shows little: {once:?}");
}

/// Without a rule, one of a few seeds breaks the promise. What random schedules meet too seldom is directed
/// (`replica_schedules`).
fn assert_fails(variant: Variant) {
    let broken = (0..100).find_map(|seed| simulate(seed, variant).err()).expect("nothing was noticed");
    assert!(broken.starts_with("I6"), "{broken}");
}

#[test]
fn confirmation_before_near_leases_are_over_simulation_fails() {
    let replica = replica::Rules { confirmed_after_leases: false, ..replica::Rules::ALL };
    assert_fails(Variant { replica, ..Variant::ALL });
}

#[test]
fn unverified_replica_that_answers_simulation_fails() {
    let rules = Rules { unverified_answers_nothing: false, ..Variant::ALL.rules };
    assert_fails(Variant { rules, ..Variant::ALL });
}
