//! Turns: so much work for each line of standard input, and what came of it on standard output.

use std::{
    io::stdin,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tokio::task;

/// A turn for each line of standard input; whatever is open stays open in between. Says that it has begun by a report of nothing.
pub(crate) async fn serve(mut turn: impl AsyncFnMut(u64) -> Result<Vec<u64>>) -> Result<()> {
    report(Vec::new());
    // A thread reads, so that pings are answered meanwhile.
    while let Some(line) = task::spawn_blocking(|| stdin().lines().next()).await?.transpose()? {
        let count = line.trim().parse().with_context(|| format!("{line:?} is no number of requests"))?;
        report(turn(count).await?);
    }
    Ok(())
}

/// Prints how many succeeded and how long that took: `ok N`, then microseconds by percentile.
pub(crate) fn report(mut times: Vec<u64>) {
    times.sort_unstable();
    println!("ok {}", times.len());
    for (name, per_mille) in [("p50", 500), ("p90", 900), ("p99", 990), ("p99.9", 999)] {
        println!("{name} {}", percentile(&times, per_mille));
    }
}

/// How long that took, in microseconds.
pub(crate) fn timed<T, E>(work: impl FnOnce() -> Result<T, E>) -> Result<u64, E> {
    let begun = Instant::now();
    work().map(|_done| microseconds(begun.elapsed()))
}

pub(crate) fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn percentile(sorted: &[u64], per_mille: usize) -> u64 {
    let at = sorted.len() * per_mille / 1000;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}
