//! How many calls may be in flight, and who goes first where that runs short.

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

/// The seats of the gateway.
pub(crate) struct Seats {
    free: Arc<Semaphore>,
    total: usize,
    taken: UpDownCounter<i64>,
}

/// A seat, held until the last byte of the answer, or as long as work goes on whose caller has left.
pub(crate) struct Seat {
    _permit: OwnedSemaphorePermit,
    taken: UpDownCounter<i64>,
}

impl Seats {
    /// A house with `total` seats.
    pub(crate) fn new(total: usize) -> Self {
        let taken = accord_runtime::telemetry::meter()
            .i64_up_down_counter("accord.gateway.calls.active")
            .with_description("Calls in flight, until the last byte of their answers")
            .build();
        Self { free: Arc::new(Semaphore::new(total)), total, taken }
    }

    /// A seat for a call. The last tenths are kept for the more critical ones, so that the least critical go first.
    pub(crate) fn take(&self, criticality: Criticality) -> Result<Seat, Fault> {
        let kept = match criticality {
            Criticality::CriticalPlus => 0,
            Criticality::Critical => self.total / 20,
            Criticality::SheddablePlus => self.total / 5,
            Criticality::Sheddable => self.total / 2,
        };
        if self.free.available_permits() <= kept {
            return Err(full());
        }
        let permit = Arc::clone(&self.free).try_acquire_owned().map_err(|_| full())?;
        self.taken.add(1, &[]);
        Ok(Seat { _permit: permit, taken: self.taken.clone() })
    }

    /// Waits until every seat is free.
    pub(crate) async fn emptied(&self) {
        let all = u32::try_from(self.total).unwrap_or(u32::MAX);
        // It fails only where there are no seats any more.
        drop(self.free.acquire_many(all).await);
    }
}

/// A body that keeps a seat taken.
pub(crate) struct Seated {
    body: Body,
    _seat: Arc<Seat>,
}

impl Seated {
    /// Keeps the seat taken until the last byte of the answer, and not only its head.
    pub(crate) fn body(body: Body, seat: Arc<Seat>) -> Body {
        Body::new(Self { body, _seat: seat })
    }
}

impl HttpBody for Seated {
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

impl Drop for Seat {
    fn drop(&mut self) {
        self.taken.add(-1, &[]);
    }
}

fn full() -> Fault {
    let message = "more calls are in flight than this gateway takes; try again shortly";
    Fault::retry(Component::Gateway, Reason::Overloaded, message, Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_critical_are_shed_first() {
        let seats = Seats::new(20);
        let held: Vec<_> = (0..10).map(|_| seats.take(Criticality::Sheddable).unwrap()).collect();
        assert!(seats.take(Criticality::Sheddable).is_err());
        let more: Vec<_> = (0..9).map(|_| seats.take(Criticality::Critical).unwrap()).collect();
        assert!(seats.take(Criticality::Critical).is_err());
        let last = seats.take(Criticality::CriticalPlus).unwrap();
        assert!(seats.take(Criticality::CriticalPlus).is_err());
        drop((held, more, last));
        assert!(seats.take(Criticality::Sheddable).is_ok());
    }
}
