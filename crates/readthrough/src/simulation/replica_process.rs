//! A replica before a modelled log, and what a gateway knows as a sender.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;

use super::log::{Database, LogFaults, ModelledLog};
use super::mesh::MeshOrigin;
use super::process::Process;
use crate::{MemoryStore, Namespace, Replica, World};

/// The lease of a replica on the log.
pub(super) const REPLICA_LEASE: Duration = Duration::from_millis(300);

/// A replica, with the loop that keeps it verified.
#[derive(Clone)]
pub(super) struct SimulatedReplica {
    pub replica: Replica<ModelledLog, MeshOrigin, MemoryStore, Process>,
    pub faults: Arc<LogFaults>,
    /// What it holds of the keys that replicas write through.
    pub namespace: Namespace,
    /// What it was the first to acknowledge of each key.
    pub told: Arc<[AtomicU64; 2]>,
    /// It does not verify by itself.
    pub is_idle: Arc<AtomicBool>,
}

/// A gateway's sender: its batches, and the newest round that it was told.
#[derive(Default)]
pub(super) struct Sender {
    pub sequence: u64,
    pub round: u64,
}

impl SimulatedReplica {
    /// A commit of a key is known here.
    pub(super) fn tell(&self, key: u8, number: u64) {
        self.told[usize::from(key)].fetch_max(number, Ordering::Relaxed);
    }

    /// The newest commit of a key that is known here.
    pub(super) fn told(&self, key: u8) -> u64 {
        self.told[usize::from(key)].load(Ordering::Relaxed)
    }

    /// Verifies when it is due, or when the log has news.
    pub(super) async fn follow(self, process: Process, database: Database) -> Option<()> {
        loop {
            process.turn().await?;
            let news = database.news();
            // What fails is tried again.
            let _ = self.replica.verify().await.is_ok();
            loop {
                process.poll().await?;
                let is_woken = database.news() != news && !self.faults.is_cut.load(Ordering::Relaxed);
                let is_wanted = self.replica.verification_wanted().now_or_never().is_some();
                let is_due = is_woken
                    || (is_wanted && !self.faults.is_cut.load(Ordering::Relaxed))
                    || process.now() >= self.replica.next_verification();
                if is_due && !self.is_idle.load(Ordering::Relaxed) {
                    break;
                }
            }
        }
    }
}
