//! Values that wait to be written: of each key the newest one, and no more bytes of them than there may be.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use accord_readthrough::{Key, Moment, SharedValue};
use tokio::sync::Notify;

/// What a value costs here beside its bytes.
const OVERHEAD: usize = 512;

/// A value that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub key: Key,
    pub value: SharedValue,
    /// When it was put here.
    pub since: Moment,
}

impl Waiting {
    fn bytes(&self) -> usize {
        let SharedValue { tags, metadata, load, .. } = &self.value;
        let load =
            load.as_ref().map_or_else(|failure| failure.message.len() + failure.details.len(), bytes::Bytes::len);
        OVERHEAD + size_of_val(&**tags) + metadata.len() + load
    }

    /// When its load started.
    fn started(&self) -> Moment {
        self.since.before(self.value.age)
    }
}

/// The queue.
#[derive(Debug)]
pub(super) struct WriteQueue {
    max_bytes: usize,
    state: Mutex<State>,
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<Key, Waiting>,
    order: VecDeque<Key>,
    bytes: usize,
}

impl WriteQueue {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, state: Mutex::default(), news: Notify::new() }
    }

    /// Lets a value wait; whether there was room. One that was loaded before the one that waits under its key is left out.
    pub(super) fn push(&self, new: Waiting) -> bool {
        let mut state = self.state();
        let older = state.waiting.get(&new.key);
        if older.is_some_and(|older| older.started() > new.started()) {
            return true;
        }
        let (key, bytes) = (new.key, state.bytes - older.map_or(0, Waiting::bytes) + new.bytes());
        if bytes > self.max_bytes {
            return false;
        }
        state.bytes = bytes;
        if state.waiting.insert(key, new).is_none() {
            state.order.push_back(key);
            self.news.notify_one();
        }
        true
    }

    /// The one that waits longest, once there is one.
    pub(super) async fn next(&self) -> Waiting {
        loop {
            if let Some(next) = self.state().pop() {
                return next;
            }
            self.news.notified().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn pop(&mut self) -> Option<Waiting> {
        let next = self.waiting.remove(&self.order.pop_front()?)?;
        self.bytes -= next.bytes();
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use futures_util::FutureExt;

    use super::*;
    use crate::second_level::format::tests::{key, value};

    /// Of a load that started at a second, put in the tenth.
    fn waiting(name: &'static [u8], says: &'static [u8], started: u64) -> Waiting {
        let value = SharedValue { age: Duration::from_secs(10 - started), ..value(Ok(Bytes::from_static(says))) };
        Waiting { key: key(name), value, since: Moment::default().after(Duration::from_secs(10)) }
    }

    fn drained(queue: &WriteQueue) -> Vec<Bytes> {
        std::iter::from_fn(|| queue.next().now_or_never()).map(|next| next.value.load.unwrap()).collect()
    }

    #[test]
    fn newest_value_of_a_key_takes_the_place_of_the_older_one() {
        let queue = WriteQueue::new(10_000);
        for (name, says, started) in
            [(&b"1"[..], &b"old"[..], 2), (b"2", b"other", 2), (b"1", b"new", 3), (b"1", b"late", 1)]
        {
            assert!(queue.push(waiting(name, says, started)));
        }
        assert_eq!(drained(&queue), [&b"new"[..], b"other"]);
    }

    #[test]
    fn value_beyond_max_waiting_bytes_is_left_out_until_others_are_written() {
        let one = waiting(b"1", b"says", 1).bytes();
        let queue = WriteQueue::new(2 * one);
        assert!(queue.push(waiting(b"1", b"says", 1)));
        assert!(queue.push(waiting(b"2", b"says", 1)));
        assert!(!queue.push(waiting(b"3", b"says", 1)));
        assert!(queue.push(waiting(b"2", b"told", 2)), "it takes the room of the older one");
        assert_eq!(drained(&queue), [&b"says"[..], b"told"]);
        assert!(queue.push(waiting(b"3", b"says", 1)));
    }
}
