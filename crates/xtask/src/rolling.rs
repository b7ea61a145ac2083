//! `cargo xtask rolling`: each process of a mesh is restarted under load, with the same binaries or with those of another commit.

use std::{path::PathBuf, time::Duration};

use accord_fabric::{
    binaries,
    rolling::{Discovery, End, Rolling},
};
use anyhow::{Context, Result};

use crate::{
    postgres,
    programs::debian,
    say::{note, say},
    soak::any_seed,
};

/// What `cargo xtask rolling` can be asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How often each process is restarted
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// How each is ended
    #[arg(long, value_enum, default_value_t = How::InOrder)]
    end: How,
    /// How gateways and caches find auth and the cache
    #[arg(long, value_enum, default_value_t = DiscoveryMode::Balancer)]
    discovery: DiscoveryMode,
    /// All speak TLS, and with certificates on both sides among each other; certificates and their authority are replaced meanwhile
    #[arg(long)]
    tls: bool,
    /// A directory with the binaries to begin with, such as target/debug of another commit; every second round goes back to them
    #[arg(long, value_name = "DIRECTORY", requires = "to")]
    from: Option<PathBuf>,
    /// A directory with the binaries that are started in their place
    #[arg(long, value_name = "DIRECTORY", requires = "from")]
    to: Option<PathBuf>,
    /// Products, each with a writer of its own
    #[arg(long, default_value_t = 24)]
    products: usize,
    /// Between two reads of a writer, in milliseconds
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 10)]
    pace: u64,
    /// How long all are left alone after each restart, in milliseconds; 2000 at least with `--discovery dns`
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 3_000)]
    rest: u64,
    /// Gives the same choices of each writer. Default: others each time
    #[arg(long)]
    seed: Option<u64>,
    /// Keeps configuration and logs in this directory, which should be a new one
    #[arg(long, value_name = "DIRECTORY")]
    keep: Option<PathBuf>,
}

/// How a process is ended.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum How {
    /// As by Kubernetes: its name leads to it no more, then it gets SIGTERM, and drains
    InOrder,
    /// With SIGTERM, but those who call it are not told before
    Unannounced,
    /// With SIGKILL
    Killed,
}

/// How processes find each other.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum DiscoveryMode {
    /// By plain TCP balancers; a process comes back where it was
    Balancer,
    /// By the SRV records of a name server; a process comes back at another address
    Dns,
}

impl From<DiscoveryMode> for Discovery {
    fn from(mode: DiscoveryMode) -> Self {
        match mode {
            DiscoveryMode::Balancer => Self::Balancer,
            DiscoveryMode::Dns => Self::Dns,
        }
    }
}

impl From<How> for End {
    fn from(how: How) -> Self {
        match how {
            How::InOrder => Self::InOrder,
            How::Unannounced => Self::Unannounced,
            How::Killed => Self::Killed,
        }
    }
}

/// Runs it; fails where a call failed that had to go well, an answer was older than it may be, or a revoked token was let in.
pub(crate) fn run(args: Args) -> Result<()> {
    let versions = args.from.zip(args.to).map(|(from, to)| [from, to]);
    if versions.is_none() {
        note("Building (the first time takes minutes) ...");
        binaries::directory()?;
    }
    let rolling = Rolling {
        postgres: postgres::programs()?,
        redis: debian("redis-server", "redis-server")?,
        rounds: args.rounds,
        end: args.end.into(),
        discovery: args.discovery.into(),
        tls: args.tls,
        versions,
        products: args.products,
        pace: Duration::from_millis(args.pace),
        rest: Duration::from_millis(args.rest),
        seed: args.seed.unwrap_or_else(any_seed),
        kept_in: args.keep,
    };
    note(format_args!("Seed {}; each restart as it comes:", rolling.seed));
    let runtime = tokio::runtime::Runtime::new().context("can't start a runtime")?;
    let report = runtime.block_on(rolling.run(|restart| note(restart)))?;
    report.verdict()?;
    say(report)
}
