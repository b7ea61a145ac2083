//! Gaps in the stream of invalidations: who sent how many, and whether one is missing.

use std::collections::HashMap;

/// What a batch says about those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuity {
    /// It is the next one: none is missing.
    InOrder,
    /// It was here before, or comes after a later one. Then what it is about is gone already.
    Duplicate,
    /// Some are missing, or the sender is unknown: what was loaded before can't be trusted.
    Gap,
}

/// Each sender's newest sequence number. Bounded: a sender that is forgotten is unknown, which is safe.
#[derive(Debug)]
pub struct GapDetector {
    capacity: usize,
    clock: u64,
    senders: HashMap<String, Sender>,
}

#[derive(Debug)]
struct Sender {
    newest: u64,
    heard: u64,
}

impl GapDetector {
    /// Remembers this many senders.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, clock: 0, senders: HashMap::new() }
    }

    /// Notes a sender's batch. The caller acts on the result before it acknowledges.
    pub fn note(&mut self, incarnation: &str, sequence: u64) -> Continuity {
        self.clock += 1;
        let Some(sender) = self.senders.get_mut(incarnation) else {
            self.remember(incarnation, sequence);
            // Its incarnation before may have ended with invalidations unsent.
            return Continuity::Gap;
        };
        sender.heard = self.clock;
        if sequence <= sender.newest {
            return Continuity::Duplicate;
        }
        let is_next = sequence == sender.newest + 1;
        sender.newest = sequence;
        if is_next { Continuity::InOrder } else { Continuity::Gap }
    }

    fn remember(&mut self, incarnation: &str, sequence: u64) {
        if self.senders.len() >= self.capacity {
            self.forget_longest_silent();
        }
        self.senders.insert(incarnation.to_owned(), Sender { newest: sequence, heard: self.clock });
    }

    fn forget_longest_silent(&mut self) {
        let silent = self.senders.iter().min_by_key(|(_, sender)| sender.heard).map(|(name, _)| name.clone());
        if let Some(name) = silent {
            self.senders.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_in_order_are_whole_after_first() {
        let mut detector = GapDetector::new(2);
        assert_eq!(detector.note("a", 1), Continuity::Gap);
        assert_eq!(detector.note("a", 2), Continuity::InOrder);
        assert_eq!(detector.note("a", 2), Continuity::Duplicate);
        assert_eq!(detector.note("a", 3), Continuity::InOrder);
    }

    #[test]
    fn gap_is_reported_once() {
        let mut detector = GapDetector::new(2);
        detector.note("a", 1);
        assert_eq!(detector.note("a", 3), Continuity::Gap);
        assert_eq!(detector.note("a", 2), Continuity::Duplicate);
        assert_eq!(detector.note("a", 4), Continuity::InOrder);
    }

    #[test]
    fn longest_silent_sender_is_forgotten_and_then_unknown() {
        let mut detector = GapDetector::new(2);
        detector.note("a", 1);
        detector.note("b", 1);
        detector.note("a", 2);
        detector.note("c", 1);
        assert_eq!(detector.note("a", 3), Continuity::InOrder);
        assert_eq!(detector.note("b", 2), Continuity::Gap);
    }
}
