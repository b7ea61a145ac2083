//! Invalidations that wait for their sender: each tag once, within a bound.

use std::collections::BTreeSet;

use super::{pending::InvalidTag, waits::Waiter};

/// Tags that may wait for a cache that is gone. Beyond it the sender leaves out a number instead, from which the cache learns
/// that it has missed something.
pub(super) const MAX_BACKLOG_TAGS: usize = 10_000;
/// Bytes of the tags that may wait.
pub(super) const MAX_BACKLOG_BYTES: usize = 16 << 20;
/// Bytes of the tags of one batch, well below what the cache takes in one message.
pub(super) const BATCH_BYTES: usize = 1 << 20;

/// What waits to be sent.
#[derive(Default)]
pub(super) struct Backlog {
    pub(super) tags: BTreeSet<InvalidTag>,
    pub(super) bytes: usize,
    pub(super) overflowed: bool,
    /// Whether the gateway ends once all of it is delivered.
    pub(super) is_last: bool,
    pub(super) callers: Vec<Waiter>,
}

impl Backlog {
    pub(super) fn add(&mut self, tags: Vec<InvalidTag>) {
        for tag in tags {
            let bytes = tag.name.len();
            if self.tags.insert(tag) {
                self.bytes += bytes;
            }
        }
        if self.tags.len() > MAX_BACKLOG_TAGS || self.bytes > MAX_BACKLOG_BYTES {
            self.tags.clear();
            self.bytes = 0;
            self.overflowed = true;
        }
    }
}

/// The batches that tags are sent in. One at least, even if it is empty: it shows a gap.
pub(super) fn batches(tags: BTreeSet<InvalidTag>) -> Vec<Vec<InvalidTag>> {
    let (mut batches, mut bytes) = (vec![Vec::new()], 0);
    for tag in tags {
        if bytes > 0 && bytes + tag.name.len() > BATCH_BYTES {
            batches.push(Vec::new());
            bytes = 0;
        }
        bytes += tag.name.len();
        batches.last_mut().expect("there is always one").push(tag);
    }
    batches
}
