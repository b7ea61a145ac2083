//! Baskets, kept in a namespace of the cache under the name of their owner. Its contract makes them the tenant's; its policies
//! let people at them by this service alone.

use std::time::Duration;

use accord_api::{
    accord::cache::v1::{DeleteRequest, GetRequest, PutRequest},
    orders::v1::Basket,
};
use accord_runtime::backoff::Backoff;
use prost::Message;
use tonic::{Code, Status};

use crate::neighbours::{Neighbours, failed};

/// The namespace, as the cache's configuration declares it.
const NAMESPACE: &str = "baskets";

/// How often a change is tried while others change the same basket. One of those who meet always succeeds.
const ATTEMPTS: u32 = 10;
/// Waits before an attempt after the first.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(2), Duration::from_millis(50), 0.5);

/// A basket, and the version under which it is held: empty where nothing is.
struct Held {
    basket: Basket,
    version: String,
}

impl Neighbours {
    /// The basket of an owner.
    pub(crate) async fn basket(&self, owner: &str) -> Result<Basket, Status> {
        self.held(owner).await.map(|held| held.basket)
    }

    /// Changes a basket by compare-and-set: where somebody else changed it meanwhile, what they left is read and changed.
    pub(crate) async fn change_basket(
        &self,
        owner: &str,
        change: impl Fn(&mut Basket) -> Result<(), Status>,
    ) -> Result<Basket, Status> {
        let mut backoff = BACKOFF;
        for attempt in 1..=ATTEMPTS {
            let Held { mut basket, version } = self.held(owner).await?;
            change(&mut basket)?;
            match self.replace(owner, &basket, version).await {
                Ok(()) => return Ok(basket),
                Err(conflict) if conflict.code() == Code::Aborted && attempt < ATTEMPTS => {
                    tokio::time::sleep(backoff.next_wait()).await;
                }
                Err(conflict) if conflict.code() == Code::Aborted => break,
                Err(failure) => return Err(failed(&failure)),
            }
        }
        Err(Status::aborted(format!("others changed the basket at each of {ATTEMPTS} attempts: try again")))
    }

    async fn held(&self, owner: &str) -> Result<Held, Status> {
        let request = GetRequest { namespace: NAMESPACE.to_owned(), key: owner.to_owned(), consistency: None };
        match self.cache.clone().get(request).await {
            Ok(answer) => {
                let entry = answer.into_inner().entry.unwrap_or_default();
                let basket = Basket::decode(entry.value).unwrap_or_else(|problem| {
                    tracing::warn!(%problem, "what the cache holds is no basket: the next change replaces it");
                    Basket::default()
                });
                Ok(Held { basket, version: entry.version })
            }
            Err(absent) if absent.code() == Code::NotFound => {
                Ok(Held { basket: Basket::default(), version: String::new() })
            }
            Err(failure) => Err(failed(&failure)),
        }
    }

    /// Puts a basket in the place of the one held under this version; an empty one is no longer held.
    async fn replace(&self, owner: &str, basket: &Basket, version: String) -> Result<(), Status> {
        let (namespace, key, mut cache) = (NAMESPACE.to_owned(), owner.to_owned(), self.cache.clone());
        let expected_version = Some(version);
        if basket.items.is_empty() {
            return cache
                .delete(DeleteRequest { namespace, key, expected_version, acknowledgement: 0 })
                .await
                .map(drop);
        }
        let value = basket.encode_to_vec().into();
        let put = PutRequest { namespace, key, value, expected_version, ..PutRequest::default() };
        let is_kept = cache.put(put).await?.into_inner().freshness.is_some_and(|freshness| freshness.stored);
        if is_kept { Ok(()) } else { Err(Status::unavailable("the cache has no room for the basket: try again later")) }
    }
}
