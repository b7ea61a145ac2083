//! Runs under many seeds. What fails is told with its seed, and shortened to the operations that its failure needs (`shrink`).
//!
//! Each operation draws from random numbers of its own, which the seed and its place in the run give. So the others do the same
//! where one is left out.

use std::env;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use super::scheduler::Rng;
use super::shrink::shrink;

/// Operations of a seed.
pub(super) const OPERATIONS: usize = 2_000;

/// What of a seed is run.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub seed: u64,
    /// The places of its operations, in their order.
    pub operations: Vec<usize>,
    /// Messages arrive at once, and none is lost.
    pub is_calm: bool,
}

/// A run, operation by operation.
pub(super) trait Run {
    /// Where it draws from.
    fn rng(&self) -> Rng;
    /// Draws an operation and carries it out; what it is.
    fn operate(&mut self) -> &'static str;
    /// Whether all that was seen so far is as it should be.
    fn verify(&mut self) -> Result<(), String>;
    /// Lets everything come to rest, and looks at what remains.
    fn settle(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// An invariant that a run broke.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    pub told: String,
    /// The operations up to then.
    pub operations: Vec<(usize, &'static str)>,
}

impl Script {
    /// All of a seed.
    pub(super) fn whole(seed: u64) -> Self {
        Self { seed, operations: (0..OPERATIONS).collect(), is_calm: false }
    }

    pub(super) fn rng(&self) -> Rng {
        Rng::seeded(self.seed)
    }

    /// The seed of an operation.
    fn at(&self, place: usize) -> u64 {
        // Another one for each pair: the multiplier is odd, and no run has as many operations as 24 bits can count.
        ((self.seed << 24) ^ (place as u64 + 1)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// Plays a script to its end, or to the first invariant that is broken.
pub(super) fn play<R: Run>(script: &Script, run: &mut R) -> Result<(), Broken> {
    let (rng, mut operations) = (run.rng(), Vec::with_capacity(script.operations.len()));
    for place in &script.operations {
        rng.reseed(script.at(*place));
        operations.push((*place, run.operate()));
        if let Err(told) = run.verify() {
            return Err(Broken { told, operations });
        }
    }
    rng.reseed(script.at(OPERATIONS));
    run.settle().map_err(|told| Broken { told, operations })
}

impl Broken {
    /// Which invariant it is.
    pub(super) fn invariant(&self) -> &str {
        self.told.split(':').next().unwrap_or_default()
    }
}

/// Runs each seed of the environment on all threads, and says how fast that went. Panics with the first that fails.
pub(super) fn every_seed(name: &str, simulate: impl Fn(&Script) -> Result<(), Broken> + Sync) {
    let (begun, done) = (Instant::now(), AtomicU64::new(0));
    let workers = workers();
    thread::scope(|scope| {
        for worker in 0..workers {
            let (simulate, done) = (&simulate, &done);
            scope.spawn(move || {
                for seed in seeds().skip(worker).step_by(workers) {
                    let script = Script::whole(seed);
                    if let Err(broken) = simulate(&script) {
                        panic!("{}", shrink(&script, broken, simulate));
                    }
                    done.fetch_add(script.operations.len() as u64, Ordering::Relaxed);
                }
            });
        }
    });
    let (operations, took) = (done.into_inner(), begun.elapsed().as_secs_f64());
    println!("{name}: {operations} operations in {took:.1} s, {} a second", per_second(operations, took));
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "to be read")]
fn per_second(operations: u64, seconds: f64) -> u64 {
    (operations as f64 / seconds.max(0.001)) as u64
}

fn workers() -> usize {
    let most = thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    usize::try_from(number("ACCORD_SIMULATION_THREADS", most)).expect("few threads").max(1)
}

fn seeds() -> Range<u64> {
    let from = number("ACCORD_SIMULATION_FROM", 0);
    from..from + number("ACCORD_SIMULATION_SEEDS", 500)
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().expect("a number"))
}
