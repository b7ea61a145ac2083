//! Acknowledgement of a write where replicas share a log: whether each of them has confirmed it, and when to look again.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;

use super::Replica;
use crate::{log::InvalidationLog, origin::Origin, store::Store, world::World};

/// Whether a number is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledgement {
    /// No process answers with what it is about.
    Done,
    /// Not before something changes, or this time has passed.
    Wait(Duration),
    /// It is a number of another log.
    Unknown,
}

impl<L: InvalidationLog, O: Origin, S: Store, W: World> Replica<L, O, S, W> {
    /// Whether a number of a log is acknowledged, whichever replica appended it.
    pub fn acknowledgement(&self, incarnation: u128, number: u64) -> Acknowledgement {
        let mut state = self.state();
        // Under the lock: what begins anew begins a first lease time, and numbers from before it are not known any more.
        let (now, first_ends) = (self.world().now(), self.0.engine.0.leases.first_ends());
        if state.incarnation() != Some(incarnation) {
            return Acknowledgement::Unknown;
        }
        state.acknowledgement(number, now, self.lease(), first_ends)
    }

    /// Tells when an acknowledgement may have come nearer. What others confirmed while nobody listened is read now.
    pub fn changes(&self) -> watch::Receiver<()> {
        let changes = self.0.changed.subscribe();
        if self.0.others_confirmed.load(Ordering::SeqCst) {
            self.0.wanted.notify_one();
        }
        changes
    }

    /// Another replica has confirmed something: its register is read where somebody waits for changes, or else when somebody
    /// begins to.
    pub fn others_confirmed(&self) {
        self.0.others_confirmed.store(true, Ordering::SeqCst);
        if self.0.changed.receiver_count() > 0 {
            self.0.wanted.notify_one();
        }
    }
}
