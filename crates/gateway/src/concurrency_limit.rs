//! The concurrency limit: how many calls may be in flight, and which are shed first where that runs short.

use crate::declared_metrics::CALLS_ACTIVE;
use crate::fault::{Component, Fault};
use accord_api::accord::fault::v1::Reason;
use accord_contract::Criticality;
use accord_runtime::{
    criticality,
    fair_share::{FairShare, Held, Holder, Shed},
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// The in-flight slots of the gateway.
pub(crate) struct ConcurrencyLimit {
    slots: FairShare,
}

/// An in-flight slot, held until the last byte of the answer, or as long as work goes on whose caller has left.
pub(crate) type InFlightSlot = Held;

impl ConcurrencyLimit {
    /// A limit of `total` calls, of which one caller alone gets a share in percent.
    pub(crate) fn new(total: usize, max_share: u64) -> Self {
        let slots = FairShare::new(total as u64, max_share).observed("calls");
        let held = Arc::downgrade(slots.held());
        CALLS_ACTIVE.observe(&accord_runtime::telemetry::meter(), move |gauge| {
            if let Some(held) = held.upgrade() {
                gauge.observe(held.load(Ordering::Relaxed), &[]);
            }
        });
        Self { slots }
    }

    /// Another limit, while calls hold slots.
    pub(crate) fn resize(&self, total: usize, max_share: u64) {
        self.slots.resize(total as u64, max_share);
    }

    /// A slot for a call of this holder. The last tenths are kept for the more critical ones, so that the least critical are
    /// shed first; of what is left, whoever holds most is.
    pub(crate) fn acquire(&self, criticality: Criticality, holder: Holder) -> Result<InFlightSlot, Fault> {
        self.slots.hold(Some(holder), 1, criticality::kept(criticality, self.slots.total())).map_err(overloaded)
    }

    /// Waits until every slot is free.
    pub(crate) async fn idle(&self) {
        self.slots.idle().await;
    }
}

fn overloaded(shed: Shed) -> Fault {
    let message = match shed {
        Shed::Full => "more calls are in flight than this gateway takes; try again shortly",
        Shed::Share => {
            "this caller has as many calls in flight as it may while others ask (`limits.max_share`); try again shortly"
        }
    };
    Fault::retry(Component::Gateway, Reason::Overloaded, message, Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many slots as callers get that hold one each.
    fn fill(limit: &ConcurrencyLimit, criticality: Criticality) -> Vec<InFlightSlot> {
        let callers = (0..).map(|number| Holder::principal(&format!("{criticality:?} {number}"), 0));
        callers.map_while(|caller| limit.acquire(criticality, caller).ok()).collect()
    }

    #[test]
    fn least_critical_calls_are_shed_first() {
        let limit = ConcurrencyLimit::new(20, FairShare::DEFAULT);
        let order = [
            (Criticality::Sheddable, 10),
            (Criticality::SheddablePlus, 6),
            (Criticality::Critical, 3),
            (Criticality::CriticalPlus, 1),
        ];
        let held = order.map(|(criticality, slots)| {
            let held = fill(&limit, criticality);
            assert_eq!(held.len(), slots, "{criticality:?}");
            held
        });
        drop(held);
    }

    #[test]
    fn slots_that_are_given_back_are_free_again() {
        let limit = ConcurrencyLimit::new(20, FairShare::DEFAULT);
        drop(fill(&limit, Criticality::CriticalPlus));
        assert_eq!(fill(&limit, Criticality::CriticalPlus).len(), 20);
    }

    #[test]
    fn caller_with_its_share_is_shed_and_others_are_not() {
        let limit = ConcurrencyLimit::new(100, FairShare::DEFAULT);
        let by = |caller, connection| limit.acquire(Criticality::CriticalPlus, Holder::principal(caller, connection));
        let greedy: Vec<_> = (0..100).map_while(|connection| by("greedy", connection).ok()).collect();
        assert_eq!(greedy.len(), 50);
        assert!(by("greedy", 1).unwrap_err().status().message().contains("limits.max_share"));
        assert!(by("neighbour", 200).is_ok());
    }
}
