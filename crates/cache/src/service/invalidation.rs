//! Invalidations: in order, or everything loaded before is dropped.

use std::time::Duration;

use accord_api::accord::cache::v1::{
    AwaitAcknowledgementRequest, AwaitAcknowledgementResponse, InvalidateRequest, InvalidateResponse, LeasedTag,
    invalidation_service_server::InvalidationService,
};
use accord_readthrough::{
    Continuity, Invalidated, Invalidation as Batch, InvalidationLog, LeaseHolder, Missing, Origin, Replica, Store, Tag,
    TokenScope, World,
};
use opentelemetry::{KeyValue, metrics::Counter};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::consistency_tokens::ConsistencyTokens;
use crate::declared_metrics::FLUSHES;
use crate::malformed::{bounded, malformed};
use crate::service::{acknowledged, refused};

/// Longest name of a sender's incarnation.
const LONGEST_INCARNATION: usize = 128;

/// Most tenants whose writes wait for one batch.
const MOST_TENANTS: usize = 256;

/// The invalidation service.
#[derive(Debug)]
pub(crate) struct Invalidation<L, O, S, W> {
    replica: Replica<L, O, S, W>,
    tokens: ConsistencyTokens,
    flushes: Counter<u64>,
}

impl<L: InvalidationLog, O: Origin, S: Store, W: World> Invalidation<L, O, S, W> {
    pub(crate) fn new(replica: Replica<L, O, S, W>, tokens: ConsistencyTokens) -> Self {
        let flushes = FLUSHES.counter(&accord_runtime::telemetry::meter());
        Self { replica, tokens, flushes }
    }

    async fn apply(&self, request: InvalidateRequest) -> Result<InvalidateResponse, Status> {
        let InvalidateRequest { tags, incarnation, sequence, round, is_last, expired_tags, token_tenants } = request;
        let writer = Uuid::parse_str(&incarnation).ok().map(|id| LeaseHolder(id.as_u128()));
        let expired = expired_tags.iter().map(|name| Tag::named(name).expiring());
        let tags = tags.iter().map(|name| Tag::named(name)).chain(expired).collect();
        let batch =
            Batch { sender: incarnation, sequence, round, is_last, is_flush: false, tags, writer, change: None };
        let invalidated = self.replica.invalidate(batch).await.map_err(|error| refused(&error))?;
        if let Continuity::Gap(missing) = invalidated.noted.continuity {
            self.flushed(missing, sequence);
        }
        let of_tenant = |tenant: &String| {
            let (scope, number) = (TokenScope { namespace: "", tenant }, invalidated.position);
            self.tokens.of_write(invalidated.incarnation, number, scope)
        };
        let consistency_tokens = token_tenants.iter().map(of_tenant).collect();
        Ok(InvalidateResponse { consistency_tokens, ..respond(&invalidated) })
    }

    fn flushed(&self, missing: Missing, sequence: u64) {
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
    }
}

fn respond(invalidated: &Invalidated) -> InvalidateResponse {
    let Invalidated { noted, everything, tags, number, incarnation, .. } = invalidated;
    InvalidateResponse {
        incarnation: incarnation.to_be_bytes().to_vec(),
        is_settled: noted.is_settled,
        round: noted.round,
        wait: everything.and_then(|wait| prost_types::Duration::try_from(wait).ok()),
        leased: leased(tags),
        number: number.unwrap_or_default(),
        consistency_tokens: Vec::new(),
    }
}

/// The tags that can't be acknowledged yet.
fn leased(waits: &[Duration]) -> Vec<LeasedTag> {
    let leased = (0..).zip(waits).filter(|(_, wait)| !wait.is_zero());
    leased.map(|(index, wait)| LeasedTag { index, wait: prost_types::Duration::try_from(*wait).ok() }).collect()
}

#[tonic::async_trait]
impl<L: InvalidationLog, O: Origin, S: Store, W: World> InvalidationService for Invalidation<L, O, S, W> {
    async fn invalidate(&self, request: Request<InvalidateRequest>) -> Result<Response<InvalidateResponse>, Status> {
        let batch = request.into_inner();
        if batch.incarnation.is_empty() || batch.incarnation.len() > LONGEST_INCARNATION {
            return Err(malformed("`incarnation` must have 1 to 128 bytes"));
        }
        if batch.sequence == 0 {
            return Err(malformed("`sequence` counts from 1"));
        }
        bounded("token_tenants", batch.token_tenants.len(), MOST_TENANTS)?;
        self.apply(batch).await.map(Response::new)
    }

    async fn await_acknowledgement(
        &self,
        request: Request<AwaitAcknowledgementRequest>,
    ) -> Result<Response<AwaitAcknowledgementResponse>, Status> {
        let AwaitAcknowledgementRequest { incarnation, number } = request.into_inner();
        let incarnation = incarnation.try_into().map_err(|_| malformed("`incarnation` must have 16 bytes"))?;
        acknowledged(&self.replica, u128::from_be_bytes(incarnation), number).await?;
        Ok(Response::new(AwaitAcknowledgementResponse {}))
    }
}
