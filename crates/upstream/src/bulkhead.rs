//! Concurrency limit of an upstream (bulkhead): a slow one can't take the room of others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many calls may be in flight.
#[derive(Debug)]
pub(crate) struct Bulkhead {
    in_flight: Arc<AtomicUsize>,
    most: usize,
}

impl Bulkhead {
    pub(crate) fn new(most: usize) -> Self {
        Self { in_flight: Arc::default(), most }
    }

    /// One of the places; none where all are taken.
    pub(crate) fn admit(&self) -> Option<Admission> {
        // Counted first: so it is given back where it is one too many.
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let admission = Admission(Arc::clone(&self.in_flight));
        (before < self.most).then_some(admission)
    }

    /// The count of calls in flight, to be shown in metrics.
    pub(crate) fn in_flight(&self) -> &Arc<AtomicUsize> {
        &self.in_flight
    }
}

/// A call's place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Admission(Arc<AtomicUsize>);

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulkhead_refuses_a_call_until_another_ends() {
        let bulkhead = Bulkhead::new(2);
        let first = bulkhead.admit();
        let _second = bulkhead.admit().unwrap();
        assert!(bulkhead.admit().is_none());
        assert!(bulkhead.admit().is_none(), "a refused call takes no place");
        drop(first);
        assert!(bulkhead.admit().is_some());
    }
}
