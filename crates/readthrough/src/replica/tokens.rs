//! What consistency tokens ask of a replica: to have read as much of the log as they name.
//!
//! A reader waits for that, as long as it will; a load that starts now meets every token whatever was read. What it waits for is a
//! verification that was sent after it came: all who came before share the next one.

use std::sync::PoisonError;

use super::Replica;
use crate::consistency_token::{ConsistencyToken, Opened, Required, Standing, UNKNOWN};
use crate::key::Key;
use crate::log::InvalidationLog;
use crate::origin::Origin;
use crate::store::Store;
use crate::world::World;

impl<L: InvalidationLog, O: Origin, S: Store, W: World> Replica<L, O, S, W> {
    /// What a read asks of its answer that passes these tokens. Nothing waits: where it `is_behind`, more of the log could be read
    /// before.
    ///
    /// `is_caught_up`: all was read that the log held when the reader came.
    pub fn require(&self, tokens: &[Opened], key: &Key, is_caught_up: bool) -> Required {
        self.standing(is_caught_up).require(tokens, key.to_bits())
    }

    /// Whether a token names a number of the log that is not read yet, or one that is not known.
    pub fn is_behind(&self, tokens: &[Opened]) -> bool {
        !tokens.is_empty() && self.standing(false).is_behind(tokens)
    }

    /// The token of a write of keys that took this serial number when it began. `appended`: the incarnation of the log that took its
    /// change, and the number that it gave, where replicas share one. It may be another log than the one that this replica has read.
    pub fn written(&self, appended: Option<(u128, u64)>, serial: u64) -> ConsistencyToken {
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (log, number) = appended.unwrap_or_else(|| (state.incarnation().unwrap_or_default(), UNKNOWN));
        ConsistencyToken::of_keys((log, number), (state.process(), serial))
    }

    /// The serial number of whatever begins from now on.
    pub fn next_serial(&self) -> u64 {
        self.0.engine.0.flights.next_serial()
    }

    fn standing(&self, is_caught_up: bool) -> Standing {
        let (log, number, process) = {
            let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
            (state.incarnation().unwrap_or_default(), state.seen(), state.process())
        };
        let first_later = if is_caught_up || !self.0.rules.later_by_the_log { number + 1 } else { UNKNOWN };
        Standing { log, number, first_later, process, next_serial: self.0.engine.0.flights.next_serial() }
    }

    /// Reads all that the log holds now. Where replicas share it, whoever drives this one does that, and this waits for as long as
    /// that takes.
    pub async fn catch_up(&self) {
        if self.0.lease.is_none() {
            let _turn = self.0.turn.lock().await;
            // A log in memory does not fail.
            let _ = self.verify_in_turn().await.is_ok();
            return;
        }
        let (came, mut changes) = (self.world().now(), self.changes());
        loop {
            changes.mark_unchanged();
            if self.state().is_whole_since(came) {
                return;
            }
            self.0.wanted.notify_one();
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// When somebody waits for a verification before it is due.
    pub async fn verification_wanted(&self) {
        self.0.wanted.notified().await;
    }
}
