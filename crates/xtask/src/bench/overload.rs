//! `cargo xtask bench overload`: what an upstream with few workers answers in time, by how much is asked of it, with its adaptive
//! limit and without.
//!
//! Each figure is taken on processes of its own, so that no queue of one is in the next. The upstream works on calls whose callers
//! have left as well, as many services do: that is what makes an overload without a limit last. Where a machine is busy with other
//! work the figures are that work's, and nothing is said of the limit.

mod callers;
mod picture;

use std::{fs, path::PathBuf, process, time::Duration};

use accord_fabric::Fabric;
use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use toml::toml;

use self::callers::{Callers, Outcomes};
use super::{
    binaries::{self, Binaries},
    machine,
    stage::{self, Started},
};
use crate::say::{note, say};

/// What `cargo xtask bench overload` can be asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Calls that the upstream works on at a time
    #[arg(long, default_value_t = 8)]
    workers: u32,
    /// Milliseconds that each takes
    #[arg(long, default_value_t = 40)]
    service: u32,
    /// Seconds that each figure is measured, once the load has lasted as long as half of that
    #[arg(long, default_value_t = 8)]
    seconds: u32,
    /// The profile that the binaries are built with, unless `ACCORD_BINARIES` names a directory of them
    #[arg(long, default_value = "dist")]
    profile: String,
    /// Draw the figures into this file, as SVG
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
}

/// Offered load, in capacities.
const OFFERED: [f64; 9] = [0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0];
/// Load by which the gateway learns how long answers take, and for how many seconds.
const CALM: f64 = 0.5;
const CALM_SECONDS: f64 = 3.0;
/// The part of the peak that is answered in time under any load, and how much longer that may take than without a queue.
const GOODPUT: f64 = 0.9;
const SLOWER: f64 = 3.0;
/// The part of the critical calls that is answered in time under any load.
const CRITICAL: f64 = 0.95;
/// From here on the upstream is asked for more than it has.
const OVERLOAD: f64 = 1.5;
/// The part of a worker's time for which gateway, upstream and callers together may wait for a core for each call: where it was
/// longer, the machine ran something else.
const WAITED: f64 = 0.125;

const OVERLAY: &str = "crates/xtask/src/bench/overload/overlay.toml";

/// What came of one load.
#[derive(Clone, Debug)]
struct Point {
    /// In capacities.
    offered: f64,
    /// Answers within the deadline, a second, in capacities.
    goodput: f64,
    outcomes: Outcomes,
    /// How long a core was waited for, for each call.
    waited: Duration,
}

/// Measures every load with the limit and without, prints a table, draws it, and fails where the limit does not do what it is for.
pub(crate) fn run(args: &Args) -> Result<()> {
    let binaries = binaries::of(&args.profile)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("can't start a runtime")?;
    runtime.block_on(tokio::task::LocalSet::new().run_until(measure(args, &binaries)))
}

async fn measure(args: &Args, binaries: &Binaries) -> Result<()> {
    say(machine::describe())?;
    say(format_args!("{} workers, {} ms a call: {:.0} calls a second", args.workers, args.service, args.capacity()))?;
    say("limit     offered   goodput   critical  sheddable       late       p50       p99  no core")?;
    let mut curves = Vec::new();
    for is_limited in [true, false] {
        let mut curve = Vec::new();
        for offered in OFFERED {
            let point = args.point(binaries, is_limited, offered).await?;
            say(point.row(if is_limited { "adaptive" } else { "none" }))?;
            curve.push(point);
        }
        curves.push(curve);
    }
    if let (Some(file), [limited, unlimited]) = (&args.picture, curves.as_slice()) {
        let title = format!("{} workers, {} ms a call; {}", args.workers, args.service, machine::describe());
        let drawn = picture::draw(&title, limited, unlimited);
        fs::write(file, drawn).with_context(|| format!("{} can't be written", file.display()))?;
    }
    judge(&curves[0], Duration::from_millis(args.service.into()))
}

impl Args {
    /// Calls a second that the upstream can answer.
    fn capacity(&self) -> f64 {
        f64::from(self.workers) * 1e3 / f64::from(self.service)
    }

    async fn point(&self, binaries: &Binaries, is_limited: bool, offered: f64) -> Result<Point> {
        let directory = tempfile::Builder::new().prefix("accord-overload-").tempdir()?;
        let (upstream, fabric) = self.start(binaries, &directory, is_limited).await?;
        let callers = Callers::connect(fabric.gateway.listen).await?;
        callers.call(self.capacity() * CALM, CALM_SECONDS).await?;
        let (rate, seconds) = (self.capacity() * offered, f64::from(self.seconds));
        let processes = [fabric.gateway.process.id(), upstream.process.id(), process::id()];
        let before = waited_for_a_core(&processes)?;
        let (first, outcomes) = callers.call_twice(rate, seconds / 2.0, seconds).await?;
        let waited = waited_for_a_core(&processes)?.saturating_sub(before) / (first.asked() + outcomes.asked()).max(1);
        let goodput = outcomes.good() / seconds / self.capacity();
        fabric.stop().await?;
        drop(upstream);
        Ok(Point { offered, goodput, outcomes, waited })
    }

    async fn start(&self, binaries: &Binaries, directory: &TempDir, is_limited: bool) -> Result<(Started, Fabric)> {
        let (workers, service) = (self.workers.to_string(), self.service.to_string());
        let flags = ["--workers", &workers, "--service", &service];
        let upstream = stage::beside(&binaries.beside, "limited", &flags, directory.path()).await?;
        let descriptors = directory.path().join("bench.binpb");
        stage::write_descriptors(&descriptors, None)?;
        let builder = stage::builder(upstream.address, &descriptors)?.binaries(&binaries.measured).overlay(OVERLAY);
        let fabric = builder.upstream_settings("bench", toml! { adaptive = { enabled = is_limited } }).start().await?;
        Ok((upstream, fabric))
    }
}

/// How long all of these have waited together.
fn waited_for_a_core(processes: &[u32]) -> Result<Duration> {
    processes.iter().map(|process| machine::waited_for_a_core(*process)).sum()
}

impl Point {
    fn row(&self, limit: &str) -> String {
        let Self { offered, goodput, outcomes, waited } = self;
        let [critical, sheddable] = [&outcomes.critical, &outcomes.sheddable].map(|some| some.part_good() * 100.0);
        let [p50, p99] = [50, 99].map(|percent| outcomes.percentile(percent).as_secs_f64() * 1e3);
        let (late, waited) = (outcomes.late(), waited.as_secs_f64() * 1e3);
        format!(
            "{limit:<9} {offered:>6.2} x {goodput:>7.2} x {critical:>8.1} % {sheddable:>8.1} % {late:>10} {p50:>6.0} ms {p99:>6.0} ms \
             {waited:>5.1} ms"
        )
    }
}

/// With the limit, goodput stays near its peak, and what is answered is answered soon; unless nobody can tell.
fn judge(limited: &[Point], service: Duration) -> Result<()> {
    let waited = limited.iter().map(|point| point.waited).max().unwrap_or_default();
    ensure!(
        waited <= service.mul_f64(WAITED),
        "these figures say nothing: gateway, upstream and callers waited for a core for {waited:?} with each call; run it on a \
         machine that has nothing else to do"
    );
    let peak = limited.iter().map(|point| point.goodput).fold(0.0, f64::max);
    let unloaded = limited.first().map_or(Duration::ZERO, |point| point.outcomes.percentile(99));
    for point in limited.iter().filter(|point| point.offered >= OVERLOAD) {
        let Point { offered, goodput, outcomes, .. } = point;
        ensure!(*goodput >= GOODPUT * peak, "at {offered} capacities goodput is {goodput:.2}, at its peak {peak:.2}");
        let p99 = outcomes.percentile(99);
        ensure!(p99 <= unloaded.mul_f64(SLOWER), "at {offered} capacities p99 is {p99:?}, unloaded {unloaded:?}");
        let critical = outcomes.critical.part_good();
        ensure!(
            critical >= CRITICAL,
            "at {offered} capacities {:.0}% of critical calls are answered",
            critical * 100.0
        );
    }
    note("Goodput, latency and critical calls are as they should be in an overload.");
    Ok(())
}
