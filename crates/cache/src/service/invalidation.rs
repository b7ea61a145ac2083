//! Invalidations: in order, or everything loaded before is dropped.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use accord_api::accord::cache::v1::{
    InvalidateRequest, InvalidateResponse, LeasedTag, invalidation_service_server::InvalidationService,
};
use accord_readthrough::{
    Batch, Continuity, Engine, GapDetector, LeaseHolder, Missing, Noted, Origin, Store, Tag, World,
};
use opentelemetry::{KeyValue, metrics::Counter};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::malformed::malformed;

/// Longest name of a sender's incarnation.
const LONGEST_INCARNATION: usize = 128;

/// The invalidation service.
#[derive(Debug)]
pub(crate) struct Invalidation<O, S, W> {
    engine: Engine<O, S, W>,
    incarnation: Uuid,
    gap_detector: Mutex<GapDetector>,
    flushes: Counter<u64>,
}

impl<O: Origin, S: Store, W: World> Invalidation<O, S, W> {
    /// Remembers this many senders. The incarnation is this life's of the cache.
    pub(crate) fn new(engine: Engine<O, S, W>, incarnation: Uuid, senders: usize) -> Self {
        let flushes = accord_runtime::telemetry::meter()
            .u64_counter("accord.cache.flushes")
            .with_description(
                "Times that everything loaded was dropped, because invalidations may be missing, by cause",
            )
            .build();
        let gap_detector = Mutex::new(GapDetector::new(senders.max(1), engine.now()));
        Self { engine, incarnation, gap_detector, flushes }
    }

    /// Noting and acting are one step under one lock: a batch that was noted but not yet acted on would let the next one be
    /// acknowledged as in order. Nothing is waited for here.
    fn apply(&self, request: &InvalidateRequest) -> InvalidateResponse {
        let InvalidateRequest { incarnation, sequence, round, is_last, .. } = request;
        let writer = Uuid::parse_str(incarnation).ok().map(|id| LeaseHolder(id.as_u128()));
        let batch = Batch { incarnation, sequence: *sequence, round: *round, is_last: *is_last };
        let mut gap_detector = self.gap_detector.lock().unwrap_or_else(PoisonError::into_inner);
        let Noted { continuity, is_settled, round, .. } = gap_detector.note(&batch, self.engine.now());
        let wait = match continuity {
            Continuity::Gap(missing) => prost_types::Duration::try_from(self.flush(missing, *sequence, writer)).ok(),
            _ => None,
        };
        let tags: Vec<_> = request.tags.iter().map(|name| Tag::named(name)).collect();
        let leased = leased(&self.engine.invalidate_leased(&tags, writer));
        let incarnation = self.incarnation.as_bytes().to_vec();
        InvalidateResponse { incarnation, is_settled, round, wait, leased }
    }

    /// How long the leases of others than the writer last yet.
    fn flush(&self, missing: Missing, sequence: u64, writer: Option<LeaseHolder>) -> Duration {
        let cause = match missing {
            Missing::Batches => {
                tracing::warn!(sequence, "invalidations may be missing: the cache is flushed");
                "missing_batches"
            }
            Missing::OfSilentSender => {
                tracing::warn!(
                    "a gateway has started, and another one went without a goodbye or hangs: the cache is flushed"
                );
                "silent_sender"
            }
            Missing::OfUnknownSender => {
                tracing::info!("a gateway has started, and the cache does not know all others yet: it is flushed");
                "unknown_sender"
            }
        };
        self.flushes.add(1, &[KeyValue::new("cause", cause)]);
        self.engine.invalidate_all(writer)
    }
}

/// The tags that can't be acknowledged yet.
fn leased(waits: &[Duration]) -> Vec<LeasedTag> {
    let leased = (0..).zip(waits).filter(|(_, wait)| !wait.is_zero());
    leased.map(|(index, wait)| LeasedTag { index, wait: prost_types::Duration::try_from(*wait).ok() }).collect()
}

#[tonic::async_trait]
impl<O: Origin, S: Store, W: World> InvalidationService for Invalidation<O, S, W> {
    async fn invalidate(&self, request: Request<InvalidateRequest>) -> Result<Response<InvalidateResponse>, Status> {
        let batch = request.into_inner();
        if batch.incarnation.is_empty() || batch.incarnation.len() > LONGEST_INCARNATION {
            return Err(malformed("`incarnation` must have 1 to 128 bytes"));
        }
        if batch.sequence == 0 {
            return Err(malformed("`sequence` counts from 1"));
        }
        Ok(Response::new(self.apply(&batch)))
    }
}
