//! How long the leases of other gateways last on what was invalidated. Each write waits for those on its own tags alone, so that
//! nobody waits behind another.

use super::delivery::WriteToken;
use crate::consistency_token::header_value;
use accord_api::accord::cache::v1::{AwaitAcknowledgementRequest, InvalidateResponse, LeasedTag};
use accord_readthrough::{Tag, own_wait};
use bytes::Bytes;
use http::HeaderValue;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{sync::oneshot, time::Instant};

/// A write that waits until its tags are acknowledged.
pub(super) struct Waiter {
    /// Its tags.
    pub tags: Arc<[Tag]>,
    /// Whose it is.
    pub tenant: Arc<str>,
    /// Its consistency token.
    pub token: WriteToken,
    /// It waits for nobody but the cache that is told, as its contract declares.
    pub is_local: bool,
    /// Where it is told.
    pub acknowledged: oneshot::Sender<()>,
}

impl Waiter {
    /// Tells it that what it waits for has happened.
    pub(super) fn acknowledge(self) {
        // One that has stopped waiting has already answered as deferred.
        let _ = self.acknowledged.send(());
    }
}

/// Until when leases last, as the cache said.
#[derive(Default)]
pub(super) struct Waits {
    all: Option<Instant>,
    tags: HashMap<Tag, Instant>,
    number: Option<AwaitAcknowledgementRequest>,
    tokens: HashMap<Arc<str>, HeaderValue>,
}

impl Waits {
    /// Notes an answer that has just come, about these tags.
    pub(super) fn note(&mut self, tags: &[Tag], response: &InvalidateResponse) {
        self.all = self.all.max(until(response.wait));
        // Later numbers are higher, and speak for those before them.
        self.number = number_of(response).or_else(|| self.number.take());
        for LeasedTag { index, wait } in &response.leased {
            let tag = usize::try_from(*index).ok().and_then(|index| tags.get(index));
            if let (Some(tag), Some(until)) = (tag, until(*wait)) {
                self.tags.insert(*tag, until);
            }
        }
    }

    /// Notes the tokens of the tenants' writes. Later ones stand for all that was sent before.
    pub(super) fn note_tokens(&mut self, tenants: &[Arc<str>], tokens: &[Bytes]) {
        let tokens = tokens.iter().map(|token| header_value(token));
        self.tokens.extend(tenants.iter().cloned().zip(tokens));
    }

    /// Tells a write its token.
    pub(super) fn tell_token(&self, waiter: &Waiter) {
        if let Some(token) = self.tokens.get(&waiter.tenant) {
            waiter.token.tell(token.clone());
        }
    }

    /// The number whose acknowledgement has to be awaited, where replicas share a log.
    pub(super) fn number(&self) -> Option<AwaitAcknowledgementRequest> {
        self.number.clone()
    }

    /// Tells a write when the last lease on its tags is over.
    pub(super) fn acknowledge(&self, waiter: Waiter) {
        let own = waiter.tags.iter().filter_map(|tag| self.tags.get(tag)).max().copied();
        match self.all.max(own).filter(|until| *until > Instant::now() && !waiter.is_local) {
            None => waiter.acknowledge(),
            Some(until) => {
                tokio::spawn(async move {
                    tokio::time::sleep_until(until).await;
                    waiter.acknowledge();
                });
            }
        }
    }
}

/// What an answer says has to be awaited.
pub(super) fn number_of(response: &InvalidateResponse) -> Option<AwaitAcknowledgementRequest> {
    let InvalidateResponse { incarnation, number, .. } = response;
    (*number > 0).then(|| AwaitAcknowledgementRequest { incarnation: incarnation.clone(), number: *number })
}

/// By this gateway's clock, from now.
fn until(left: Option<prost_types::Duration>) -> Option<Instant> {
    let left = Duration::try_from(left?).ok().filter(|left| !left.is_zero())?;
    Some(Instant::now() + own_wait(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(wait: i32, leased: &[(u32, i32)]) -> InvalidateResponse {
        let duration = |milliseconds: i32| {
            (milliseconds > 0).then_some(prost_types::Duration { seconds: 0, nanos: milliseconds * 1_000_000 })
        };
        let leased = leased.iter().map(|(index, wait)| LeasedTag { index: *index, wait: duration(*wait) }).collect();
        InvalidateResponse { wait: duration(wait), leased, ..InvalidateResponse::default() }
    }

    /// How long a write of these tags waits.
    async fn waited(waits: &Waits, tags: &[Tag]) -> Duration {
        waited_for(waits, tags, false).await
    }

    async fn waited_for(waits: &Waits, tags: &[Tag], is_local: bool) -> Duration {
        let (acknowledged, told) = oneshot::channel();
        let begun = Instant::now();
        let (tenant, token) = ("".into(), WriteToken::default());
        waits.acknowledge(Waiter { tags: tags.into(), tenant, token, is_local, acknowledged });
        told.await.unwrap();
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn write_waits_for_leases_on_its_own_tags_alone() {
        let tags = ["product/milk", "product/bread", "products"].map(Tag::named);
        let mut waits = Waits::default();
        waits.note(&tags, &response(0, &[(0, 98), (2, 49)]));
        assert_eq!(waited(&waits, &tags[1..2]).await, Duration::ZERO);
        let both = waited(&waits, &tags).await;
        assert!((Duration::from_millis(100)..Duration::from_millis(103)).contains(&both), "{both:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn write_that_is_acknowledged_locally_waits_for_no_lease() {
        let tags = ["product/milk"].map(Tag::named);
        let mut waits = Waits::default();
        waits.note(&tags, &response(98, &[(0, 98)]));
        assert_eq!(waited_for(&waits, &tags, true).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn write_behind_a_flush_waits_for_all_leases() {
        let mut waits = Waits::default();
        waits.note(&[], &response(98, &[]));
        assert!(waited(&waits, &[Tag::named("product/milk")]).await >= Duration::from_millis(100));
    }
}
