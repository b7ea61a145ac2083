//! Concurrency limit of an upstream (bulkhead): a slow one can't take the room of others, and one caller not all of it.

use std::sync::atomic::Ordering;

use accord_runtime::fair_share::{FairShare, Held, Holder};

/// How many calls may be in flight. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Bulkhead(FairShare);

/// A call's place, until it is dropped.
pub(crate) type Admission = Held;

impl Bulkhead {
    /// So many, of which one caller alone gets a share in percent.
    pub(crate) fn new(most: usize, max_share: u64) -> Self {
        Self(FairShare::new(most as u64, max_share))
    }

    /// One of the places but the last ones, which are kept; none where all are taken, or the caller has its share of them.
    pub(crate) fn admit(&self, holder: Option<Holder>, kept: u64) -> Option<Admission> {
        self.0.hold(holder, 1, kept).ok()
    }

    /// Makes room for more or fewer calls. Those in flight go on.
    pub(crate) fn resize(&self, most: usize, max_share: u64) {
        self.0.resize(most as u64, max_share);
    }

    /// How many may be in flight.
    pub(crate) fn most(&self) -> u64 {
        self.0.total()
    }

    /// How many are.
    pub(crate) fn in_flight(&self) -> u64 {
        self.0.held().load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulkhead_refuses_a_call_until_another_ends() {
        let bulkhead = Bulkhead::new(2, FairShare::DEFAULT);
        let first = bulkhead.admit(None, 0);
        let _second = bulkhead.admit(None, 0).unwrap();
        assert!(bulkhead.admit(None, 0).is_none());
        assert!(bulkhead.admit(None, 0).is_none(), "a refused call takes no place");
        drop(first);
        assert!(bulkhead.admit(None, 0).is_some());
    }

    #[test]
    fn last_places_of_a_bulkhead_are_kept_for_others() {
        let bulkhead = Bulkhead::new(4, FairShare::DEFAULT);
        let _held: Vec<_> = (0..4).map_while(|_| bulkhead.admit(None, 2)).collect();
        assert_eq!(bulkhead.in_flight(), 2);
        assert!(bulkhead.admit(None, 0).is_some());
    }

    #[test]
    fn bulkhead_keeps_places_from_a_caller_that_has_its_share() {
        let bulkhead = Bulkhead::new(10, FairShare::DEFAULT);
        let caller = |subject, connection| Some(Holder::principal(subject, connection));
        let held: Vec<_> = (0..10).map_while(|connection| bulkhead.admit(caller("ada", connection), 0)).collect();
        assert_eq!(held.len(), 5);
        assert!(bulkhead.admit(caller("bob", 99), 0).is_some());
    }
}
