//! The soak of the leases: two gateways with near caches before one cache, all of them real processes that are killed, paused and
//! replaced, and writers and readers that hold the mesh to its promise: a read that starts after an acknowledged write sees it,
//! at either gateway, or the write's answer said `DEFERRED`.
//!
//! `cargo xtask soak` runs it for long, the suite `faults` for some seconds. A seed gives the same faults in the same order and
//! the same choices of each writer; when they meet is the machine's affair.

mod fault;
mod judge;
mod load;
mod mesh;
mod report;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;

pub use self::{
    fault::{Fault, Kind, Schedule},
    report::Report,
};
use self::{load::Load, mesh::Mesh};

/// What a soak is to be like.
#[derive(Clone, Debug)]
pub struct Soak {
    /// So many writes have to be acknowledged. It goes on until they are, enough of them against a lease, and each kind of fault
    /// was there; or until a read missed a write.
    pub writes: u64,
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

impl Soak {
    /// Runs it, and tells of each fault as it comes.
    pub async fn run(&self, note: impl Fn(&str)) -> Result<Report> {
        let mut mesh = Mesh::start(self.lease, self.kept_in.as_deref()).await?;
        let load = Load::new(mesh.gateways(), mesh.token().await?, self.seed, self.products).await?;
        let begun = Instant::now();
        let writers = load.start();
        let faulted = self.disturb(&mut mesh, &load, begun, note).await;
        load.end(writers).await?;
        let faults = faulted?;
        mesh.check()?;
        Ok(Report::of(self.writes, self.seed, begun, faults, load.judge()))
    }

    async fn disturb(
        &self,
        mesh: &mut Mesh,
        load: &Arc<Load>,
        begun: Instant,
        note: impl Fn(&str),
    ) -> Result<Vec<(Duration, Fault)>> {
        let mut schedule = Schedule::new(self.seed, &self.faults, self.longest_pause);
        let mut faults = Vec::new();
        // Where time runs out before, what was found counts all the same.
        while begun.elapsed() < self.within && !load.judge().has_violations() {
            if faults.len() >= self.faults.len() && load.judge().has_tried(self.writes) {
                break;
            }
            let (quiet, fault) = schedule.draw();
            tokio::time::sleep(quiet).await;
            let at = begun.elapsed();
            note(&format!("{:>7.1} s  {:>6} writes  {fault}", at.as_secs_f64(), load.judge().acknowledged()));
            faults.push((at, fault));
            mesh.suffer(fault).await?;
        }
        Ok(faults)
    }
}
