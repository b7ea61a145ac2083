//! The concurrency limit: how many calls may be in flight, and which are shed first where that runs short.

use crate::fault::{Component, Fault};
use accord_api::accord::fault::v1::Reason;
use accord_contract::Criticality;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use opentelemetry::metrics::UpDownCounter;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Status, body::Body};

/// The in-flight slots of the gateway.
pub(crate) struct ConcurrencyLimit {
    free: Arc<Semaphore>,
    total: usize,
    in_flight: UpDownCounter<i64>,
}

/// An in-flight slot, held until the last byte of the answer, or as long as work goes on whose caller has left.
pub(crate) struct InFlightSlot {
    _permit: OwnedSemaphorePermit,
    in_flight: UpDownCounter<i64>,
}

impl ConcurrencyLimit {
    /// A limit of `total` calls.
    pub(crate) fn new(total: usize) -> Self {
        let in_flight = accord_runtime::telemetry::meter()
            .i64_up_down_counter("accord.gateway.calls.active")
            .with_description("Calls in flight, until the last byte of their answers")
            .build();
        Self { free: Arc::new(Semaphore::new(total)), total, in_flight }
    }

    /// A slot for a call. The last tenths are kept for the more critical ones, so that the least critical are shed first.
    pub(crate) fn acquire(&self, criticality: Criticality) -> Result<InFlightSlot, Fault> {
        let kept = match criticality {
            Criticality::CriticalPlus => 0,
            Criticality::Critical => self.total / 20,
            Criticality::SheddablePlus => self.total / 5,
            Criticality::Sheddable => self.total / 2,
        };
        if self.free.available_permits() <= kept {
            return Err(overloaded());
        }
        let permit = Arc::clone(&self.free).try_acquire_owned().map_err(|_| overloaded())?;
        self.in_flight.add(1, &[]);
        Ok(InFlightSlot { _permit: permit, in_flight: self.in_flight.clone() })
    }

    /// Waits until every slot is free.
    pub(crate) async fn idle(&self) {
        let all = u32::try_from(self.total).unwrap_or(u32::MAX);
        // It fails only where the semaphore was closed, which nobody does.
        drop(self.free.acquire_many(all).await);
    }
}

/// A body that holds a slot.
pub(crate) struct SlotBody {
    body: Body,
    _slot: Arc<InFlightSlot>,
}

impl SlotBody {
    /// Holds the slot until the last byte of the answer, and not only its head.
    pub(crate) fn wrap(body: Body, slot: Arc<InFlightSlot>) -> Body {
        Body::new(Self { body, _slot: slot })
    }
}

impl HttpBody for SlotBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for InFlightSlot {
    fn drop(&mut self) {
        self.in_flight.add(-1, &[]);
    }
}

fn overloaded() -> Fault {
    let message = "more calls are in flight than this gateway takes; try again shortly";
    Fault::retry(Component::Gateway, Reason::Overloaded, message, Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(limit: &ConcurrencyLimit, criticality: Criticality) -> Vec<InFlightSlot> {
        std::iter::from_fn(|| limit.acquire(criticality).ok()).collect()
    }

    #[test]
    fn least_critical_calls_are_shed_first() {
        let limit = ConcurrencyLimit::new(20);
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
        let limit = ConcurrencyLimit::new(20);
        drop(fill(&limit, Criticality::CriticalPlus));
        assert_eq!(fill(&limit, Criticality::CriticalPlus).len(), 20);
    }
}
