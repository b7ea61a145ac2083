//! The soak: two gateways with near caches before one cache, or before three replicas of it whose invalidation log is in a PostgreSQL
//! with a synchronous standby, and who share what they load in a Redis. All of them are real processes that are killed, paused, replaced and parted from each other, and
//! writers and readers hold the mesh to its promise: a read that starts after an acknowledged write sees it, at either gateway, or
//! the write's answer said `DEFERRED`. Some writes go past Accord into the service's database: they are seen within what the
//! contract declares. Others go into a PostgreSQL with an outbox: replicas tell them as soon as that was read.
//!
//! `cargo xtask soak` runs it for long, the suites `faults` and `replicas` for some seconds. A seed gives the same faults in the same
//! order and the same choices of each writer; when they meet is the machine's affair.

mod fault;
pub(crate) mod judge;
pub(crate) mod latency;
mod load;
mod mesh;
mod outage;
mod prices;
mod replicas;
mod report;
mod sql;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

pub use self::{
    fault::{Fault, Kind, Schedule, Victim},
    report::Report,
};
use self::{load::Load, mesh::Mesh, prices::Prices, replicas::LOG_LEASE, sql::SqlWriter};
use crate::{postgres, tool::tool};

/// What stands behind the gateways.
#[derive(Clone, Debug)]
pub enum Shape {
    /// One cache.
    OneCache,
    /// Three replicas, a PostgreSQL with a standby, and a Redis as their second level.
    Replicas {
        /// Where `postgres`, `initdb`, `pg_ctl` and `pg_basebackup` are.
        programs: PathBuf,
        /// The program of Redis.
        redis: PathBuf,
        /// Rows of that PostgreSQL that plain SQL changes, each with a writer of its own.
        prices: usize,
        /// Whether each gateway and each replica is at a wire of its own, for faults of these.
        is_wired: bool,
    },
}

/// What a soak is to be like.
#[derive(Clone, Debug)]
pub struct Soak {
    /// What stands behind the gateways.
    pub shape: Shape,
    /// So many writes have to be acknowledged. It goes on until they are, enough of them against a lease, and each kind of fault
    /// was there; or until a read missed a write.
    pub writes: u64,
    /// It goes on for so long, although everything was there.
    pub at_least: Duration,
    /// The longest that it may take.
    pub within: Duration,
    /// Of faults, pauses and choices.
    pub seed: u64,
    /// Products, each with a writer of its own.
    pub products: usize,
    /// The longest lease that the cache grants.
    pub lease: Duration,
    /// What is done to the processes, over and over again, in an order that the seed gives.
    pub faults: Vec<Kind>,
    /// The longest that a process is paused.
    pub longest_pause: Duration,
    /// Where configuration, databases and logs are kept; without it they are thrown away.
    pub kept_in: Option<PathBuf>,
}

impl Shape {
    /// How much longer the processes are left alone between two faults: replicas acknowledge no write before they have waited for the
    /// lease on the log of one that fell silent.
    fn rest(&self) -> Duration {
        match self {
            Self::OneCache => Duration::ZERO,
            Self::Replicas { .. } => LOG_LEASE * 2,
        }
    }
}

impl Soak {
    /// One of replicas that takes as long as each of these faults once, and some writes: with PostgreSQL as it is installed, and the
    /// Redis at `ACCORD_TEST_REDIS`.
    pub fn short_of_replicas(faults: &[Kind], seed: u64, is_wired: bool) -> Result<Self> {
        let programs = postgres::installed().context("PostgreSQL is not installed")?;
        let redis = PathBuf::from(tool("ACCORD_TEST_REDIS")?);
        Ok(Self {
            shape: Shape::Replicas { programs, redis, prices: 2, is_wired },
            writes: 20,
            at_least: Duration::ZERO,
            within: Duration::from_mins(4),
            seed,
            products: 8,
            lease: Duration::from_millis(200),
            faults: faults.to_vec(),
            longest_pause: Duration::from_millis(1_500),
            kept_in: None,
        })
    }

    /// Runs it, and tells of each fault as it comes.
    pub async fn run(&self, note: impl Fn(&str)) -> Result<Report> {
        let mut mesh = Mesh::start(&self.shape, self.lease, self.kept_in.as_deref()).await?;
        let sql = SqlWriter::open(&mesh.products()).await?;
        let token = mesh.token().await?;
        let prices = mesh.prices(&token, self.seed)?;
        let load = Load::new(mesh.gateways(), token, sql, self.seed, self.products).await?;
        let begun = Instant::now();
        let (writers, of_prices) = (load.start(), prices.as_ref().map(|prices| (prices, prices.start())));
        let faulted = self.disturb(&mut mesh, &load, prices.as_deref(), begun, note).await;
        load.end(writers).await?;
        if let Some((prices, writers)) = of_prices {
            prices.end(writers).await?;
        }
        let faults = faulted?;
        mesh.check()?;
        let prices = prices.as_ref().map(|prices| prices.judge());
        Ok(Report::of(self.writes, self.seed, begun, faults, load.judge(), prices))
    }

    async fn disturb(
        &self,
        mesh: &mut Mesh,
        load: &Arc<Load>,
        prices: Option<&Prices>,
        begun: Instant,
        note: impl Fn(&str),
    ) -> Result<Vec<(Duration, Fault)>> {
        let mut schedule = Schedule::new(self.seed, &self.faults, self.longest_pause);
        let mut faults = Vec::new();
        // Where time runs out before, what was found counts all the same.
        let is_broken =
            || load.judge().has_violations() || prices.is_some_and(|prices| !prices.judge().violations().is_empty());
        let has_tried =
            || load.judge().has_tried(self.writes) && prices.is_none_or(|prices| prices.judge().has_tried());
        while begun.elapsed() < self.within && !is_broken() {
            let is_long_enough = begun.elapsed() >= self.at_least && faults.len() >= self.faults.len();
            if is_long_enough && has_tried() {
                break;
            }
            let (quiet, fault) = schedule.draw();
            tokio::time::sleep(quiet + self.shape.rest()).await;
            let at = begun.elapsed();
            note(&format!("{:>7.1} s  {:>6} writes  {fault}", at.as_secs_f64(), load.judge().acknowledged()));
            faults.push((at, fault));
            let disturbed = fault.kind.gateway().map(|gateway| load.judge().disturbed(gateway));
            let troubled = prices.map(|prices| prices.judge().trouble());
            mesh.suffer(fault).await?;
            drop((disturbed, troubled));
        }
        Ok(faults)
    }
}
