//! Turns of writers (a FIFO lock for each key): who writes a key at its origin and then in the cache does so alone, so that the
//! cache never holds the older one of two writes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;

use crate::key::Key;
use crate::limits::Overload;

type Queue = Arc<tokio::sync::Mutex<()>>;

/// The keys that are being written, each with those who wait for it.
#[derive(Debug, Default)]
pub(crate) struct WriteTurns(Arc<Mutex<HashMap<Key, Queue>>>);

/// The right to write a key, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Arc<Mutex<HashMap<Key, Queue>>>,
    place: Key,
    held: Option<OwnedMutexGuard<()>>,
}

impl WriteTurns {
    /// Waits for the turn to write a key, behind no more than `most` others.
    pub(crate) async fn take(&self, place: Key, most: usize) -> Result<Turn, Overload> {
        let queue = {
            let mut turns = lock(&self.0);
            let queue = turns.entry(place).or_default();
            // One is the map's.
            if Arc::strong_count(queue) > most {
                return Err(Overload::Waiters);
            }
            Arc::clone(queue)
        };
        // Whoever leaves while waiting leaves by this: its place in the queue is given up as well.
        let mut turn = Turn { turns: Arc::clone(&self.0), place, held: None };
        turn.held = Some(queue.lock_owned().await);
        Ok(turn)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.held = None;
        let mut turns = lock(&self.turns);
        // Handed out under this lock alone: where the map has the only one left, nobody waits.
        if turns.get(&self.place).is_some_and(|queue| Arc::strong_count(queue) == 1) {
            turns.remove(&self.place);
        }
    }
}

fn lock(turns: &Mutex<HashMap<Key, Queue>>) -> MutexGuard<'_, HashMap<Key, Queue>> {
    turns.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::key::{Audience, Identity};

    fn key(name: &str) -> Key {
        let bytes = name.as_bytes();
        Key::of(&Identity { method: "m", origin: "o", tenant: "", audience: Audience::Shared, bytes })
    }

    #[test]
    fn second_writer_of_a_key_waits_and_one_of_another_key_does_not() {
        let turns = WriteTurns::default();
        let first = turns.take(key("ada"), 9).now_or_never().unwrap().unwrap();
        let mut second = Box::pin(turns.take(key("ada"), 9));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(turns.take(key("bob"), 9).now_or_never().is_some());
        drop(first);
        assert!(second.now_or_never().is_some());
    }

    #[test]
    fn writers_beyond_the_bound_are_refused() {
        let turns = WriteTurns::default();
        let _first = turns.take(key("ada"), 1).now_or_never().unwrap().unwrap();
        assert_eq!(turns.take(key("ada"), 1).now_or_never().unwrap().unwrap_err(), Overload::Waiters);
    }

    #[test]
    fn key_that_nobody_writes_is_forgotten() {
        let turns = WriteTurns::default();
        let first = turns.take(key("ada"), 9).now_or_never().unwrap().unwrap();
        let mut left = Box::pin(turns.take(key("ada"), 9));
        assert!(left.as_mut().now_or_never().is_none());
        drop(left);
        drop(first);
        assert!(lock(&turns.0).is_empty());
    }
}
