//! `cargo xtask bench counts`: what a request allocates, and how often it writes. These hardly move with what else a machine does,
//! so that they have bounds.

use std::{
    fs,
    io::Read,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
};

use accord_fabric::{Fabric, Part};
use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{
    binaries::Binaries,
    cases::{self, Case},
    load::Tool,
    machine::Cores,
    stage::Stage,
};
use crate::{
    programs::{apt_install, can_install, on_path},
    say::say,
};

/// As `accord-counted` reads it.
const SOCKET: &str = "ACCORD_COUNTED_SOCKET";
const WARM_UP: u32 = 1000;
/// Calls of the system by which a socket is written to. By `write` threads wake each other.
const WRITES: &str = "writev,sendto,sendmsg";

/// What `cargo xtask bench counts` can be asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Cases, by name or by the beginning of their names; all that have a bound where none is given
    cases: Vec<String>,
    /// Requests that are counted
    #[arg(long, default_value_t = 2000)]
    requests: u32,
}

impl Default for Args {
    fn default() -> Self {
        Self { cases: Vec::new(), requests: 2000 }
    }
}

/// The most that a request may take, of gateway and cache together where the cache is asked.
struct Bound {
    case: &'static str,
    allocations: f64,
    bytes: f64,
    writes: f64,
}

const fn bound(case: &'static str, allocations: f64, bytes: f64, writes: f64) -> Bound {
    Bound { case, allocations, bytes, writes }
}

/// What was counted on the day a bound was set, and a little more: whoever needs less lowers it. Writes depend on how many
/// requests come at once, and near hits on how many leases are renewed meanwhile, so that these have more room: a near hit may be
/// answered before the next request has come, by a write of its own, and on a busy machine a lease may end before its renewal has come.
const BOUNDS: [Bound; 14] = [
    bound("grpc-public", 34.0, 19_000.0, 0.6),
    bound("grpc-jwt", 38.0, 21_000.0, 0.6),
    bound("grpc-jwt-limit", 38.0, 21_000.0, 0.6),
    bound("json-get-h1", 60.0, 29_000.0, 1.7),
    bound("json-get-h2", 63.0, 24_000.0, 0.7),
    bound("json-post-h1", 60.0, 34_000.0, 2.7),
    bound("grpc-web", 42.0, 26_000.0, 1.7),
    bound("connect", 58.0, 26_000.0, 0.6),
    bound("near-hit-grpc", 130.0, 75_000.0, 1.4),
    bound("near-hit-h1", 60.0, 40_000.0, 1.9),
    bound("near-hit-h2", 130.0, 75_000.0, 1.4),
    bound("cached-hop-grpc", 170.0, 102_000.0, 0.9),
    bound("cached-hop-h1", 170.0, 105_000.0, 1.9),
    bound("cached-hop-h2", 172.0, 102_000.0, 0.9),
];

/// What a request takes.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    allocations: f64,
    bytes: f64,
    writes: f64,
}

/// Counts, compares with the bounds, and fails where one is exceeded.
pub(crate) fn run(args: &Args) -> Result<()> {
    let cases: Vec<_> = cases::chosen(&args.cases)?.into_iter().filter(|case| case.request("").is_some()).collect();
    let (cores, strace) = (Cores::any()?, strace()?);
    let directory = tempfile::Builder::new().prefix("accord-counts-").tempdir()?;
    let binaries = counted(&directory)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("can't start a runtime")?;
    runtime.block_on(async {
        let sockets = [Part::Gateway, Part::Cache]
            .map(|part| (part, directory.path().join(part.name()).with_extension("socket")));
        let environment = sockets.clone().map(|(part, socket)| (part, SOCKET, socket.display().to_string()));
        let stage = Stage::start(cores, &binaries, None, &environment).await?;
        let load = Tool::find()?;
        say(format_args!(
            "{:<18} {:>24} {:>24} {:>18}",
            "case", "allocations (bound)", "bytes (bound)", "writes (bound)"
        ))?;
        let mut exceeded = Vec::new();
        for case in &cases {
            let counts = count(case, &stage, &load, &sockets.clone().map(|(_, socket)| socket), &strace, args.requests);
            exceeded.extend(judge(case, counts.with_context(|| format!("the case {}", case.name))?)?);
        }
        stage.stop().await?;
        ensure!(exceeded.is_empty(), "{}", exceeded.join("; "));
        Ok(())
    })
}

/// The binaries as every test takes them, those that are counted under the names of those that are not.
fn counted(directory: &TempDir) -> Result<Binaries> {
    let built = accord_fabric::binaries::directory()?;
    let binaries = Binaries { measured: built.to_owned(), beside: built.join("accord-bench") };
    let by = [("accord-gateway", built.join("counted-gateway")), ("accord-cache", built.join("counted-cache"))];
    binaries.replaced(&directory.path().join("bin"), &by)
}

fn strace() -> Result<PathBuf> {
    if on_path("strace").is_none() {
        ensure!(can_install(), "strace is missing: install what Debian calls strace");
        apt_install(&["strace"])?;
    }
    on_path("strace").context("strace is not on PATH")
}

fn count(case: &Case, stage: &Stage, load: &Tool, sockets: &[PathBuf], strace: &Path, requests: u32) -> Result<Counts> {
    let (_, fabric, token) = stage.fabrics.first().context("nothing is counted")?;
    let (address, request) = (fabric.gateway.listen, case.request(token).context("the gateway does not answer it")?);
    load.send(address, &request, WARM_UP)?;
    let before = allocated(sockets)?;
    load.send(address, &request, requests)?;
    let after = allocated(sockets)?;
    let per_request = |before: f64, after: f64| (after - before) / f64::from(requests);
    let trace = Trace::begin(strace, fabric, stage.directory())?;
    load.send(address, &request, requests)?;
    let writes = trace.end()?;
    Ok(Counts {
        allocations: per_request(before.0, after.0),
        bytes: per_request(before.1, after.1),
        writes: per_request(0.0, writes),
    })
}

/// Allocations and bytes since the start, of all who count.
fn allocated(sockets: &[PathBuf]) -> Result<(f64, f64)> {
    let mut sum = (0.0, 0.0);
    for socket in sockets {
        let mut line = String::new();
        UnixStream::connect(socket).context("the counters don't answer")?.read_to_string(&mut line)?;
        let numbers: Vec<f64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [allocations, bytes] = numbers[..] else { anyhow::bail!("the counters say {line:?}") };
        sum = (sum.0 + allocations, sum.1 + bytes);
    }
    Ok(sum)
}

/// strace, attached to gateway and cache.
struct Trace {
    process: std::process::Child,
    file: PathBuf,
}

impl Trace {
    fn begin(strace: &Path, fabric: &Fabric, directory: &Path) -> Result<Self> {
        let file = directory.join("strace");
        let said = directory.join("strace.log");
        let mut command = Command::new(strace);
        command.args(["-c", "-f", "-e", &format!("trace={WRITES}"), "-o"]).arg(&file);
        for process in [fabric.gateway.process.id(), fabric.cache.process.id()] {
            command.args(["-p", &process.to_string()]);
        }
        let process = command.stderr(fs::File::create(&said)?).spawn().context("strace could not be started")?;
        let mut trace = Self { process, file };
        trace.wait_attached(&said)?;
        Ok(trace)
    }

    /// It says so for each process, once all of its threads are traced.
    fn wait_attached(&mut self, said: &Path) -> Result<()> {
        loop {
            let text = fs::read_to_string(said)?;
            if text.lines().filter(|line| line.contains("attached")).count() >= 2 {
                return Ok(());
            }
            if let Some(status) = self.process.try_wait()? {
                anyhow::bail!("strace ended with {status}: {text}");
            }
            std::thread::yield_now();
        }
    }

    /// Lets go, and returns how many writes there were.
    fn end(mut self) -> Result<f64> {
        let id = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw).context("a process has a number")?;
        kill_process(id, Signal::INT)?;
        self.process.wait()?;
        let table = fs::read_to_string(&self.file)?;
        let total = table.lines().rfind(|line| line.trim_end().ends_with(" total"));
        let calls = total.and_then(|line| line.split_whitespace().nth(3)?.parse().ok());
        calls.with_context(|| format!("strace's table has no total: {table}"))
    }
}

/// Says what was counted; returns what is above its bound.
fn judge(case: &Case, counts: Counts) -> Result<Vec<String>> {
    let Some(bound) = BOUNDS.iter().find(|bound| bound.case == case.name) else {
        return Ok(vec![format!("{} has no bound: it takes {counts:?}", case.name)]);
    };
    say(format_args!(
        "{:<18} {:>15.1} ({:>6.0}) {:>15.0} ({:>6.0}) {:>9.2} ({:>4.1})",
        case.name, counts.allocations, bound.allocations, counts.bytes, bound.bytes, counts.writes, bound.writes
    ))?;
    Ok(above(bound, counts))
}

fn above(bound: &Bound, counts: Counts) -> Vec<String> {
    let values = [
        ("allocations", counts.allocations, bound.allocations),
        ("bytes", counts.bytes, bound.bytes),
        ("writes", counts.writes, bound.writes),
    ];
    let above = values.into_iter().filter(|(_, value, limit)| value > limit);
    above
        .map(|(what, value, limit)| {
            format!("{} takes {value:.1} {what} a request, above its bound of {limit:.1}", bound.case)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn count_above_its_bound_is_told_with_both() {
        let bound = bound("grpc", 10.0, 100.0, 1.0);
        let counts = Counts { allocations: 11.0, bytes: 100.0, writes: 0.5 };
        assert_eq!(above(&bound, counts), ["grpc takes 11.0 allocations a request, above its bound of 10.0"]);
    }

    #[test]
    fn every_case_that_the_gateway_answers_has_a_bound() {
        let cases = cases::chosen(&[]).unwrap().into_iter().filter(|case| case.request("").is_some());
        let without: Vec<_> = cases.filter(|case| BOUNDS.iter().all(|bound| bound.case != case.name)).collect();
        assert_eq!(without.iter().map(|case| case.name).collect::<Vec<_>>(), [""; 0]);
    }
}
