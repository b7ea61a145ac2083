//! `cargo xtask soak`: the promise of the leases on real processes that are killed, paused, rolled over and parted, for as long as it
//! takes.

use std::{
    env,
    path::PathBuf,
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use accord_fabric::{
    binaries,
    soak::{Kind, Shape, Soak},
    wire,
};
use anyhow::{Context, Result, bail};

use crate::{
    postgres,
    programs::{debian, succeed},
    say::{note, say},
};

/// What `cargo xtask soak` can be asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What stands behind the gateways
    #[arg(long, value_enum, default_value_t = Behind::OneCache)]
    shape: Behind,
    /// Writes that have to be acknowledged before it ends
    #[arg(long, default_value_t = 10_000)]
    writes: u64,
    /// The longest that it may take
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Goes on to the end of these minutes, although enough writes are acknowledged
    #[arg(long)]
    whole: bool,
    /// Gives the same faults in the same order, and the same choices of each writer. Default: another one each time
    #[arg(long)]
    seed: Option<u64>,
    /// Products, each with a writer of its own
    #[arg(long, default_value_t = 400)]
    products: usize,
    /// Rows of the PostgreSQL of the replicas that plain SQL changes, and of which an outbox tells
    #[arg(long, default_value_t = 16)]
    prices: usize,
    /// Gives each replica and each gateway a network namespace, and loses its packets too. Takes root, or user namespaces
    #[arg(long)]
    namespaces: bool,
    /// The longest lease, in milliseconds, at most 400: a slow machine needs a long one to come by a near answer
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 200)]
    lease: u64,
    /// The longest that a process is paused, in milliseconds
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 3_000)]
    longest_pause: u64,
    /// Keeps configuration, databases and logs in this directory, which should be a new one
    #[arg(long, value_name = "DIRECTORY")]
    keep: Option<PathBuf>,
}

/// What stands behind the gateways.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Behind {
    /// One cache
    OneCache,
    /// Three replicas that share a log in a PostgreSQL with a synchronous standby, and a second level in a Redis
    Replicas,
}

impl Behind {
    fn shape(self, prices: usize, is_wired: bool) -> Result<Shape> {
        match self {
            Self::OneCache if is_wired => bail!("--namespaces goes with --shape replicas"),
            Self::OneCache => Ok(Shape::OneCache),
            Self::Replicas => {
                let redis = debian("redis-server", "redis-server")?;
                Ok(Shape::Replicas { programs: postgres::programs()?, redis, prices, is_wired })
            }
        }
    }

    fn faults(self, is_wired: bool) -> Vec<Kind> {
        let wires = if is_wired { &Kind::WIRES[..] } else { &[] };
        match self {
            Self::OneCache => [&Kind::PROCESSES[..], &Kind::PAIRS, &Kind::ROLLOVERS].concat(),
            Self::Replicas => [&Kind::PROCESSES[..], &Kind::PAIRS, &Kind::REPLICAS, wires].concat(),
        }
    }
}

/// Runs it; fails where a read did not see an acknowledged write, or where that was hardly tried.
pub(crate) fn run(args: Args) -> Result<()> {
    note("Building (the first time takes minutes) ...");
    let binaries = binaries::directory()?;
    let shape = args.shape.shape(args.prices, args.namespaces)?;
    if args.namespaces && !wire::is_own()? {
        debian("ip", "iproute2")?;
        let mut again = Command::new(env::current_exe()?);
        again.args(env::args_os().skip(1)).env("ACCORD_BINARIES", binaries);
        return succeed(wire::inside(&again));
    }
    let within = Duration::from_mins(args.minutes);
    let soak = Soak {
        shape,
        writes: args.writes,
        at_least: if args.whole { within } else { Duration::ZERO },
        within,
        seed: args.seed.unwrap_or_else(any_seed),
        products: args.products,
        lease: Duration::from_millis(args.lease),
        faults: args.shape.faults(args.namespaces),
        longest_pause: Duration::from_millis(args.longest_pause),
        kept_in: args.keep,
    };
    note(format_args!("Seed {}; each fault as it comes:", soak.seed));
    let runtime = tokio::runtime::Runtime::new().context("can't start a runtime")?;
    let report = runtime.block_on(soak.run(|fault| note(fault)))?;
    report.verdict()?;
    say(report)
}

/// One that differs from run to run.
pub(crate) fn any_seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
