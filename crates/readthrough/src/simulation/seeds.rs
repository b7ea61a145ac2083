//! Runs under many seeds. What fails is told with its seed, and shortened to the operations that its failure needs (`shrink`).

use std::env;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::script::{Broken, Script};
use super::shrink::shrink;

/// Between two reports of progress.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Runs each seed of the environment on all threads, reports its progress, and says how fast it went. Panics with the first that fails.
pub(super) fn every_seed(name: &str, simulate: impl Fn(&Script) -> Result<(), Broken> + Sync) {
    let progress = Progress {
        name,
        begun: Instant::now(),
        seeds: AtomicU64::new(0),
        operations: AtomicU64::new(0),
        reported_at: Mutex::default(),
    };
    let workers = workers();
    thread::scope(|scope| {
        for worker in 0..workers {
            let (simulate, progress) = (&simulate, &progress);
            scope.spawn(move || {
                for seed in seeds().skip(worker).step_by(workers) {
                    let script = Script::whole(seed);
                    if let Err(broken) = simulate(&script) {
                        panic!("{}", shrink(&script, broken, simulate));
                    }
                    progress.advance(script.operations.len() as u64);
                }
            });
        }
    });
    let (operations, took) = (progress.operations.into_inner(), progress.begun.elapsed().as_secs_f64());
    println!("{name}: {operations} operations in {took:.1} s, {} a second", per_second(operations, took));
}

/// How far it is.
struct Progress<'a> {
    name: &'a str,
    begun: Instant,
    seeds: AtomicU64,
    operations: AtomicU64,
    /// When it was reported last, from the beginning.
    reported_at: Mutex<Duration>,
}

impl Progress<'_> {
    fn advance(&self, operations: u64) {
        self.operations.fetch_add(operations, Ordering::Relaxed);
        let seeds = self.seeds.fetch_add(1, Ordering::Relaxed) + 1;
        // Where it is locked, another thread reports just now.
        let Ok(mut reported_at) = self.reported_at.try_lock() else { return };
        let elapsed = self.begun.elapsed();
        if elapsed >= *reported_at + REPORT_INTERVAL {
            *reported_at = elapsed;
            let all = self::seeds();
            eprintln!("{}: {seeds} of {} seeds, {} s", self.name, all.end - all.start, elapsed.as_secs());
        }
    }
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
