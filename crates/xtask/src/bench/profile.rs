//! `cargo xtask bench profile`: where the time of a case goes, by area and by function.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::{
    areas, binaries,
    cases::{self, Case},
    load::Tool,
    machine::Cores,
    stage::Stage,
};
use crate::{
    programs::{apt_install, can_install, on_path},
    say::{note, say},
    workspace,
};

/// With symbols; frame pointers let a profiler see who called.
const PROFILE: &str = "profiling";
/// What stands around it.
const OTHERS: &str = "dist";
const FRAME_POINTERS: (&str, &str) = ("RUSTFLAGS", "-C force-frame-pointers=yes");
/// Samples a second: not a round number, so that nothing periodic is met at the same place each time.
const FREQUENCY: &str = "2999";
const WARM_UP: u32 = 5000;

/// What `cargo xtask bench profile` can be asked.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The case, by its name
    case: String,
    /// Requests while samples are taken
    #[arg(long, default_value_t = 100_000)]
    requests: u32,
    /// Whose time
    #[arg(long, value_enum, default_value = "gateway")]
    of: Of,
    /// How many functions are shown
    #[arg(long, default_value_t = 40)]
    top: usize,
}

/// What can be looked into.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Of {
    /// accord-gateway
    Gateway,
    /// accord-cache
    Cache,
    /// accord-auth
    Auth,
}

impl Of {
    fn program(self) -> &'static str {
        match self {
            Self::Gateway => "accord-gateway",
            Self::Cache => "accord-cache",
            Self::Auth => "accord-auth",
        }
    }
}

/// Builds, runs the case under perf, and shows where the time went.
pub(super) fn run(args: &Args) -> Result<()> {
    let case = cases::named(&args.case)?;
    let (cores, perf) = (Cores::choose()?, perf()?);
    let program = args.of.program();
    binaries::build(PROFILE, &[program], &[FRAME_POINTERS])?;
    let directory = tempfile::tempdir()?;
    let by = [(program, binaries::directory(PROFILE)?.join(program))];
    let binaries = binaries::of(OTHERS)?.replaced(&directory.path().join("bin"), &by)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("can't start a runtime")?;
    let data = workspace::target_directory()?.join("bench").join(format!("{}.{program}.data", case.name));
    fs::create_dir_all(data.parent().context("a file lies in a directory")?)?;
    runtime.block_on(async {
        let stage = Stage::start(cores, &binaries, None, &[]).await?;
        record(args, case, &stage, &perf, &data).await?;
        stage.stop().await
    })?;
    show(args, case, &perf, &data)
}

fn perf() -> Result<std::path::PathBuf> {
    if on_path("perf").is_none() {
        ensure!(can_install(), "perf is missing: install what Debian calls linux-perf");
        apt_install(&["linux-perf"])?;
    }
    on_path("perf").context("perf is not on PATH")
}

async fn record(args: &Args, case: &Case, stage: &Stage, perf: &Path, data: &Path) -> Result<()> {
    let (_, fabric, token) = stage.fabrics.first().context("nothing is measured")?;
    let process = match args.of {
        Of::Gateway => fabric.gateway.process.id(),
        Of::Cache => fabric.cache.process.id(),
        Of::Auth => fabric.auth.process.id(),
    };
    let (load, (address, request)) = (Tool::find()?, case.prepared(fabric, token).await?);
    load.send(address, &request, WARM_UP)?;
    note(format_args!("Sampling {} requests ...", args.requests));
    let mut sampling = Command::new(perf)
        .args(["record", "--quiet", "-e", event(perf), "-F", FREQUENCY, "--call-graph", "fp", "-p"])
        .arg(process.to_string())
        .arg("-o")
        .arg(data)
        .spawn()
        .context("perf could not be started")?;
    let sent = load.send(address, &request, args.requests);
    let id = i32::try_from(sampling.id()).ok().and_then(Pid::from_raw).context("a process has a number")?;
    kill_process(id, Signal::INT)?;
    sampling.wait()?;
    sent
}

/// What counts time: cycles, or the clock on a machine that shows no counters.
fn event(perf: &Path) -> &'static str {
    let counted = Command::new(perf).args(["stat", "-e", "cycles:u", "true"]).output();
    let has_cycles =
        counted.is_ok_and(|it| it.status.success() && !String::from_utf8_lossy(&it.stderr).contains("<not"));
    if has_cycles { "cycles" } else { "cpu-clock" }
}

fn show(args: &Args, case: &Case, perf: &Path, data: &Path) -> Result<()> {
    let mut report = Command::new(perf);
    report.args(["report", "--stdio", "--no-children", "-g", "none", "--sort", "symbol", "--percent-limit", "0", "-i"]);
    let output = report.arg(data).output().context("perf could not be started")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let functions = functions(&text);
    ensure!(!functions.is_empty(), "perf took no samples: {}", String::from_utf8_lossy(&output.stderr));
    let mut areas = BTreeMap::<String, f64>::new();
    for (share, symbol) in &functions {
        *areas.entry(areas::of(symbol)).or_default() += share;
    }
    let mut areas: Vec<_> = areas.into_iter().collect();
    areas.sort_unstable_by(|(_, one), (_, other)| other.total_cmp(one));
    say(format_args!("{} in {}, self time by area", args.of.program(), case.name))?;
    for (area, share) in areas {
        say(format_args!("{share:6.1}%  {area}"))?;
    }
    say(format_args!("\nThe {} functions with most of it", args.top))?;
    for (share, symbol) in functions.iter().take(args.top) {
        say(format_args!("{share:6.2}%  {symbol}"))?;
    }
    say(format_args!("\nWho called them: perf report -i {}", data.display()))
}

/// Share and symbol of each line, the largest first; `[k]` before a symbol stands for the kernel.
fn functions(report: &str) -> Vec<(f64, String)> {
    let lines = report.lines().filter(|line| !line.starts_with('#'));
    let parsed = lines.filter_map(|line| {
        let (share, symbol) = line.trim().split_once('%')?;
        Some((share.trim().parse().ok()?, areas::demangled(symbol.trim())))
    });
    parsed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_report_are_shares_and_symbols() {
        let report = "# Overhead  Symbol\n#\n     3.20%  [.] h2::hpack::encoder::Encoder::encode      -      -\n     1.00%  [k] tcp_sendmsg\n\n";
        let functions = functions(report);
        assert_eq!(functions.len(), 2, "{functions:?}");
        assert!((functions[0].0 - 3.2).abs() < 1e-9);
        assert_eq!(areas::of(&functions[0].1), "h2, hpack, http");
        assert_eq!(areas::of(&functions[1].1), "kernel");
    }
}
