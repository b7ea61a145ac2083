//! `cargo xtask test`: everything that must pass, against real servers and clients nobody here wrote.
//!
//! A suite that could not run is a failure: a green run means that every suite ran.

mod conformance;
mod outside;
mod real_protos;

use std::{
    collections::BTreeSet,
    env, fmt,
    num::NonZero,
    process::Command,
    thread::available_parallelism,
    time::{Duration, Instant},
};

use accord_fabric::{binaries, wire};
use anyhow::{Result, ensure};
use clap::ValueEnum;

pub(crate) use self::outside::modules as node_modules;
use crate::{
    bench::counts,
    postgres,
    programs::{debian, succeed},
    say::say,
    workspace::{self, Package},
};

/// The test targets that `cargo test` leaves out (`test = false`), by the suite that brings what they need. A name that several
/// packages use stands for all of theirs. They are left out by that, and not by features, since features would have all that
/// depends on their packages built twice.
const POSTGRES: [&str; 3] = ["postgres", "replicas", "rolling"];
const NETWORK: [&str; 1] = ["network"];
const OUTSIDE_CLIENTS: [&str; 1] = ["outside"];

/// On how many threads a test target runs its tests, for libtest.
const TEST_THREADS: &str = "RUST_TEST_THREADS";

/// What `cargo xtask test` can be asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run only what needs nothing but Rust: no PostgreSQL, no Python, no buf, no collector
    #[arg(long)]
    embedded: bool,
    /// Run only these suites; may be given again
    #[arg(long, value_name = "SUITE", conflicts_with = "embedded")]
    only: Vec<Suite>,
    /// Drive every set of `real-protos` by all of its bindings, not a sample: about 20,000 methods, many minutes
    #[arg(long)]
    whole: bool,
    /// Hold `real-protos` against the gateway as it is released, with its bounds on time and memory
    #[arg(long)]
    release: bool,
}

/// What can pass or fail on its own.
#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
enum Suite {
    /// All tests that need nothing but Rust
    Rust,
    /// The stores against a real server
    Postgres,
    /// Replicas and gateways whose packets are lost, in network namespaces: takes root, or user namespaces
    Network,
    /// Clients, servers and a collector that nobody here wrote
    OutsideClients,
    /// protobuf's own conformance suite, for JSON and the wire format
    Conformance,
    /// Descriptors that nobody here wrote, each through the real gateway
    RealProtos,
    /// `cargo xtask up --once`
    Tour,
    /// What a request allocates and how often it writes, against bounds: `cargo xtask bench counts`
    Counts,
}

/// Runs every suite, whatever became of the one before, and sums up.
pub(crate) fn run(Args { embedded, only, whole, release }: Args) -> Result<()> {
    has_all_targets(&workspace::packages()?)?;
    let suites = match (embedded, only.is_empty()) {
        (true, _) => vec![Suite::Rust],
        (false, true) => Suite::value_variants().to_vec(),
        (false, false) => only,
    };
    let scope = real_protos::Scope { whole, release };
    let outcomes: Vec<Outcome> = suites.into_iter().map(|suite| Outcome::of(suite, scope)).collect::<Result<_>>()?;
    sum_up(&outcomes)
}

impl Suite {
    fn run(self, scope: real_protos::Scope) -> Result<()> {
        match self {
            Self::Rust => rust(),
            Self::Postgres => against_postgres(),
            Self::Network => in_network_namespaces(),
            Self::OutsideClients => with_outside_clients(),
            Self::Conformance => conformance::run(),
            Self::RealProtos => real_protos::run(scope),
            Self::Tour => tour(),
            Self::Counts => counts::run(&counts::Args::default()),
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        formatter.pad(value.as_ref().map_or("", clap::builder::PossibleValue::get_name))
    }
}

fn rust() -> Result<()> {
    succeed(cargo_test())
}

fn against_postgres() -> Result<()> {
    let server = postgres::start()?;
    let mut command = cargo_test_of(&POSTGRES);
    command.env("ACCORD_TEST_POSTGRES_URL", server.url());
    command.env("ACCORD_TEST_REDIS", outside::redis()?);
    succeed(command)
}

fn in_network_namespaces() -> Result<()> {
    debian("ip", "iproute2")?;
    postgres::programs()?;
    // All that has to be fetched is fetched before: nothing leads out of the namespace.
    binaries::directory()?;
    let mut building = cargo_test_of(&NETWORK);
    building.arg("--no-run");
    succeed(building)?;
    let mut command = wire::inside(&cargo_test_of(&NETWORK));
    command.env("ACCORD_TEST_REDIS", outside::redis()?);
    succeed(command)
}

fn with_outside_clients() -> Result<()> {
    let mut command = cargo_test_of(&OUTSIDE_CLIENTS);
    outside::Tools::install()?.offer_to(&mut command)?;
    succeed(command)
}

/// The first thing a newcomer runs has to work.
fn tour() -> Result<()> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["xtask", "up", "--once"]).current_dir(workspace::root());
    outside::Tools::install()?.offer_to(&mut command)?;
    succeed(command)
}

fn cargo_test() -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.args(["test", "--workspace", "--no-fail-fast"]).current_dir(workspace::root());
    // Tests of processes wait for one another's start and end about half of their time. Whoever sets the number means it.
    if env::var_os(TEST_THREADS).is_none() {
        let cores = available_parallelism().map_or(1, NonZero::get);
        command.env(TEST_THREADS, (cores + cores.div_ceil(2)).to_string());
    }
    command
}

/// That no suite asks for a test target that is not there, and that every one that `cargo test` leaves out is asked for.
fn has_all_targets(packages: &[Package]) -> Result<()> {
    let targets = packages.iter().flat_map(|package| &package.targets);
    let tests = targets.filter(|target| target.kind == ["test"]);
    let left_out: BTreeSet<&str> = tests.filter(|target| !target.test).map(|target| target.name.as_str()).collect();
    let asked_for = BTreeSet::from_iter([&POSTGRES[..], &NETWORK, &OUTSIDE_CLIENTS].concat());
    let differ: Vec<_> = left_out.symmetric_difference(&asked_for).collect();
    ensure!(
        differ.is_empty(),
        "test = false and the suites of `cargo xtask test` differ in these test targets: {differ:?}"
    );
    Ok(())
}

fn cargo_test_of(targets: &[&str]) -> Command {
    let mut command = cargo_test();
    command.args(targets.iter().flat_map(|name| ["--test", name]));
    command
}

struct Outcome {
    suite: Suite,
    took: Duration,
    result: Result<()>,
}

impl Outcome {
    fn of(suite: Suite, scope: real_protos::Scope) -> Result<Self> {
        say(format_args!("\n==> {suite}"))?;
        let started = Instant::now();
        let result = suite.run(scope);
        Ok(Self { suite, took: started.elapsed(), result })
    }
}

fn sum_up(outcomes: &[Outcome]) -> Result<()> {
    say("")?;
    for Outcome { suite, took, result } in outcomes {
        let seconds = took.as_secs_f64();
        match result {
            Ok(()) => say(format_args!("{suite:<16} passed {seconds:8.1} s"))?,
            Err(error) => say(format_args!("{suite:<16} FAILED {seconds:8.1} s  {error:#}"))?,
        }
    }
    let failed = outcomes.iter().filter(|outcome| outcome.result.is_err()).count();
    say(format_args!("suites: {} passed, {failed} failed", outcomes.len() - failed))?;
    ensure!(failed == 0, "not every suite passed");
    Ok(())
}
