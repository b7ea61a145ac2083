//! Runs under many seeds. What fails is told with its seed, and shortened to the operations that its failure needs (`shrink`).

use std::env;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use super::script::{Broken, Script};
use super::shrink::shrink;

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
