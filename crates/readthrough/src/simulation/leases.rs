//! The promise of leases under a seed: a read that starts after an acknowledged write sees it, at every gateway.
//!
//! Gateways and caches have clocks that are one percent off, are paused, restarted and rolled over; messages come late or not
//! at all.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::gateway::{CacheProcess, Gateway};
use super::mesh::{MAX_LEASE, Mesh, Variant};
use super::process::{ClockKind, after, rate};
use super::readers::{Readers, object};
use super::scheduler::{Rng, Scheduler};
use super::script::{Broken, Run, Script, play};
use super::seeds::every_seed;
use super::sessions::Session;
use crate::World;
use crate::engine::Rules;
use crate::near;

struct LeaseRun {
    scheduler: Scheduler,
    mesh: Mesh,
    cache: Arc<CacheProcess>,
    /// By name. The last life of each is the one that is asked, apart from those that are being rolled over.
    gateways: Vec<(u128, Arc<Gateway>)>,
    readers: Readers,
    session: Session,
    lives: u128,
}

/// Runs a script; near hits and acknowledged writes, or the first broken invariant.
fn simulate(script: &Script, variant: Variant) -> Result<(u64, u64), Broken> {
    let mut run = LeaseRun::begin(script, variant);
    play(script, &mut run)?;
    let truth = run.mesh.truth.lock().unwrap();
    Ok((truth.hits, truth.writes))
}

impl Run for LeaseRun {
    fn rng(&self) -> Rng {
        self.mesh.world.rng.clone()
    }

    fn operate(&mut self) -> &'static str {
        let what = self.draw();
        let rng = self.rng();
        self.mesh.world.advance(rng.below(4_000_000));
        for _ in 0..rng.below(40) {
            self.scheduler.step();
        }
        what
    }

    fn verify(&mut self) -> Result<(), String> {
        self.mesh.truth.lock().unwrap().broken.take().map_or(Ok(()), Err)
    }
}

impl LeaseRun {
    fn begin(script: &Script, variant: Variant) -> Self {
        let mesh = Mesh::begin(script, variant);
        let cache = CacheProcess::start(&mesh, 0, rate(&mesh.world.rng));
        let scheduler = Scheduler::new(mesh.world.clone());
        let (gateways, readers) = (Vec::new(), Readers::default());
        let session = Session::new(script.seed);
        let mut run = Self { scheduler, mesh, cache, gateways, readers, session, lives: 0 };
        (0..2).for_each(|name| run.start_gateway(name));
        run
    }

    fn start_gateway(&mut self, name: u128) {
        self.lives += 1;
        let holder = if self.mesh.variant.holder_by_name { name + 1 } else { self.lives + 100 };
        let gateway = Gateway::start(&self.mesh, &self.cache, holder, rate(&self.mesh.world.rng));
        self.gateways.push((name, gateway));
    }

    fn draw(&mut self) -> &'static str {
        let rng = self.rng();
        match rng.below(300) {
            0 => self.restart_gateway(),
            1 => self.roll_gateway(),
            2 => self.restart_cache(),
            3 => self.roll_cache(),
            4..8 => self.gateway().1.process.paused(rng.below(400), "a gateway is paused"),
            8..10 => self.cache.process.paused(rng.below(400), "the cache is paused"),
            10..18 => self.write(),
            18 => self.cache.evict(),
            19 => self.part(rng.below(400)),
            20..25 => self.readers.leave(&mut self.scheduler),
            _ => self.read(),
        }
    }

    fn gateway(&self) -> (u128, Arc<Gateway>) {
        let chosen = self.mesh.world.rng.below(self.gateways.len() as u64);
        self.gateways[usize::try_from(chosen).expect("few gateways")].clone()
    }

    fn read(&mut self) -> &'static str {
        let gateway = self.gateway().1;
        self.readers.read(&mut self.scheduler, (&self.mesh.world.rng, &self.session), gateway)
    }

    /// A gateway and the cache do not reach each other for a while.
    fn part(&mut self, milliseconds: u64) -> &'static str {
        let (_, gateway) = self.gateway();
        self.scheduler.add(Box::pin(gateway.parted(self.cache.incarnation, milliseconds)));
        "a gateway is parted from the cache"
    }

    fn write(&mut self) -> &'static str {
        let (flushes, (_, gateway), object) =
            (self.mesh.world.rng.below(8) == 0, self.gateway(), object(&self.mesh.world.rng));
        let session = self.session.sometimes();
        self.scheduler.add(Box::pin(async move {
            gateway.write(object, flushes, session).await;
        }));
        "write"
    }

    /// A gateway ends, with whatever it was about to do, and begins anew.
    fn restart_gateway(&mut self) -> &'static str {
        let (name, gateway) = self.gateway();
        gateway.process.end();
        self.gateways.retain(|(_, other)| other.process.is_alive());
        if self.gateways.iter().all(|(other, _)| *other != name) {
            self.start_gateway(name);
        }
        "a gateway is killed, and another one begins"
    }

    /// A new life begins beside the old one, which goes on for a while.
    fn roll_gateway(&mut self) -> &'static str {
        if self.gateways.len() < 4 {
            let (name, _) = self.gateway();
            self.start_gateway(name);
        }
        "another life of a gateway begins beside it"
    }

    /// The cache ends. Its successor begins after it.
    fn restart_cache(&mut self) -> &'static str {
        self.cache.process.end();
        self.succeed();
        for (_, gateway) in &self.gateways {
            *gateway.cache.lock().unwrap() = Arc::clone(&self.cache);
        }
        "the cache is killed, and its successor begins"
    }

    /// The successor begins before the cache has ended, which grants nothing more. Its lock excludes that; where it fails to,
    /// the first lease time still helps.
    fn roll_cache(&mut self) -> &'static str {
        let old = Arc::clone(&self.cache);
        old.lingers.store(true, Ordering::Relaxed);
        self.succeed();
        let (world, longest) = (self.mesh.world.clone(), MAX_LEASE.mul_f64(0.9));
        let began = world.now();
        for (_, gateway) in self.gateways.clone() {
            let (world, new) = (world.clone(), Arc::clone(&self.cache));
            let moved = Duration::from_millis(world.rng.below(150));
            self.scheduler.add(Box::pin(async move {
                after(&world, began, moved).await;
                let mut cache = gateway.cache.lock().unwrap();
                if cache.incarnation < new.incarnation {
                    *cache = new;
                }
            }));
        }
        self.scheduler.add(Box::pin(async move {
            after(&world, began, longest).await;
            old.process.end();
        }));
        "the cache is rolled over"
    }

    fn succeed(&mut self) {
        let incarnation = self.cache.incarnation + 1;
        self.cache = CacheProcess::start(&self.mesh, incarnation, rate(&self.mesh.world.rng));
    }
}

#[test]
fn every_seed_keeps_the_promise_of_leases() {
    every_seed("leases", |script| simulate(script, Variant::ALL).map(drop));
}

#[test]
fn same_seed_replays_same_run_of_leases() {
    let once = simulate(&Script::whole(7), Variant::ALL).expect("the invariants hold");
    assert_eq!(once, simulate(&Script::whole(7), Variant::ALL).expect("the invariants hold"));
    assert!(once.0 > 50 && once.1 > 10, "a run that shows little: {once:?}");
}

/// Without a rule, one of a few seeds breaks one of these.
fn assert_fails(variant: Variant, invariants: &[&str]) {
    let broken = (0..200).find_map(|seed| simulate(&Script::whole(seed), variant).err()).expect("nothing was noticed");
    assert!(invariants.contains(&broken.invariant()), "{}", broken.told);
}

#[test]
fn lease_counted_from_answer_simulation_fails() {
    let near = near::Rules { counted_from_asking: false, ..near::Rules::ALL };
    assert_fails(Variant { near, ..Variant::ALL }, &["I6"]);
}

#[test]
fn invalidation_that_waits_for_no_lease_simulation_fails() {
    assert_fails(Variant { rules: Rules { invalidation_waits: false, ..Variant::ALL.rules }, ..Variant::ALL }, &["I6"]);
}

#[test]
fn near_cache_without_heed_of_tokens_simulation_fails() {
    let near = near::Rules { tokens_heeded: false, ..near::Rules::ALL };
    assert_fails(Variant { near, ..Variant::ALL }, &["I3", "I5"]);
}

#[test]
fn token_of_read_that_names_no_load_simulation_of_leases_fails() {
    assert_fails(Variant { seen_loads_told: false, ..Variant::ALL }, &["I5"]);
}

#[test]
fn epoch_taken_at_the_end_of_load_simulation_of_leases_fails() {
    assert_fails(Variant { rules: Rules { start_epochs: false, ..Variant::ALL.rules }, ..Variant::ALL }, &["I6", "I2"]);
}

/// A clock that stands while its process is paused shows ages that are too low as well.
#[test]
fn stopping_clock_of_gateway_simulation_fails() {
    assert_fails(Variant { clock: ClockKind::Stopping, ..Variant::ALL }, &["I6", "I9", "I2"]);
}

#[test]
fn cached_clock_of_gateway_simulation_fails() {
    assert_fails(Variant { clock: ClockKind::Cached, ..Variant::ALL }, &["I6", "I9", "I2"]);
}
