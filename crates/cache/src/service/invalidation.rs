//! Invalidations: in order, or everything loaded before is dropped.

use std::sync::{Mutex, PoisonError};

use accord_api::accord::cache::v1::{
    InvalidateRequest, InvalidateResponse, invalidation_service_server::InvalidationService,
};
use accord_readthrough::{Continuity, Engine, GapDetector, Origin, Store, Tag, World};
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
}

/// The number of a sender's first batch.
const FIRST_SEQUENCE: u64 = 1;

impl<O: Origin, S: Store, W: World> Invalidation<O, S, W> {
    /// Remembers this many senders. The incarnation is this life's of the cache.
    pub(crate) fn new(engine: Engine<O, S, W>, incarnation: Uuid, senders: usize) -> Self {
        Self { engine, incarnation, gap_detector: Mutex::new(GapDetector::new(senders.max(1))) }
    }

    /// Noting and acting are one step under one lock: a batch that was noted but not yet acted on would let the next one be
    /// acknowledged as in order.
    fn apply(&self, batch: &InvalidateRequest) {
        let mut gap_detector = self.gap_detector.lock().unwrap_or_else(PoisonError::into_inner);
        if gap_detector.note(&batch.incarnation, batch.sequence) == Continuity::Gap {
            // A gateway that has just started is no gap, but the one before it may have ended with invalidations unsent.
            if batch.sequence == FIRST_SEQUENCE {
                tracing::info!("a gateway has started: the cache is flushed");
            } else {
                tracing::warn!(sequence = batch.sequence, "invalidations may be missing: the cache is flushed");
            }
            self.engine.invalidate_all(None);
        }
        self.engine.invalidate(batch.tags.iter().map(|name| Tag::named(name)));
    }
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
        self.apply(&batch);
        let incarnation = self.incarnation.as_bytes().to_vec();
        Ok(Response::new(InvalidateResponse { incarnation, ..InvalidateResponse::default() }))
    }
}
