//! The stream of products as they are, then as they become.

use std::future::Future;

use accord_api::catalog::v1::{Product, WatchProductsResponse};
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::broadcast::{Receiver, Sender, error::RecvError};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::store::{Store, StoreError};

/// Changes that a watcher may lag behind; one that lags further is told so and must watch again.
const LONGEST_LAG: usize = 1024;
/// Products read at once while the snapshot is told.
const PAGE: usize = 100;

/// Where writers announce what they stored.
#[derive(Clone)]
pub(crate) struct Changes(Sender<Product>);

impl Default for Changes {
    fn default() -> Self {
        Self(Sender::new(LONGEST_LAG))
    }
}

impl Changes {
    /// Tells every watcher.
    pub(crate) fn announce(&self, product: &Product) {
        // Only fails where nobody watches.
        let _ = self.0.send(product.clone());
    }

    /// Listens from now on.
    pub(crate) fn listen(&self) -> Receiver<Product> {
        self.0.subscribe()
    }
}

/// Every product of the store. A change during the snapshot may be told twice; its version says which is newer.
pub(crate) fn snapshot(store: Store) -> impl Stream<Item = Result<WatchProductsResponse, Status>> {
    let pages = stream::try_unfold(Some(String::new()), move |after| {
        let store = store.clone();
        async move {
            let Some(after) = after else { return Ok(None) };
            let page = store.list(&after, &[], PAGE).await?;
            let next = page.last().filter(|_| page.len() == PAGE).map(|last| last.id.clone());
            Ok::<_, StoreError>(Some((page, next)))
        }
    });
    pages.flat_map(|page| {
        let told: Vec<_> = match page {
            Ok(products) => products.into_iter().map(|product| Ok(tell(product))).collect(),
            Err(problem) => vec![Err(problem.into())],
        };
        stream::iter(told)
    })
}

/// Every change from the listener's beginning on, until the watcher lags too far or the service ends.
pub(crate) fn changes(
    listener: Receiver<Product>,
    ending: impl Future<Output = ()>,
) -> impl Stream<Item = Result<WatchProductsResponse, Status>> {
    stream::unfold(Some((listener, Box::pin(ending))), |state| async move {
        let (mut listener, mut ending) = state?;
        let next = tokio::select! {
            next = listener.recv() => next,
            () = &mut ending => return Some((Err(leaving()), None)),
        };
        match next {
            Ok(product) => Some((Ok(tell(product)), Some((listener, ending)))),
            Err(RecvError::Lagged(missed)) => Some((Err(lagged(missed)), None)),
            Err(RecvError::Closed) => None,
        }
    })
}

fn tell(product: Product) -> WatchProductsResponse {
    WatchProductsResponse { product: Some(product) }
}

fn lagged(missed: u64) -> Status {
    Status::with_error_details(
        Code::Aborted,
        format!("the watcher fell too far behind and missed {missed} changes: watch again"),
        ErrorDetails::with_error_info("WATCHER_LAGGED", "catalog", [("missed".to_owned(), missed.to_string())]),
    )
}

fn leaving() -> Status {
    Status::unavailable("the catalog is shutting down: watch again")
}

#[cfg(test)]
mod tests {
    use std::future;

    use super::*;

    fn named(id: &str) -> Product {
        Product { id: id.to_owned(), title: "A thing".to_owned(), ..Product::default() }
    }

    #[tokio::test]
    async fn watch_snapshot_has_every_product_across_pages() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(&directory.path().join("catalog.db")).await.expect("a store");
        for index in 0..=PAGE * 2 {
            store.create(named(&format!("p-{index:04}"))).await.expect("created");
        }
        let told: Vec<_> = snapshot(store).collect().await;
        assert_eq!(told.len(), PAGE * 2 + 1);
        assert!(told.iter().all(Result::is_ok));
    }

    #[tokio::test]
    async fn watch_that_lags_ends_with_an_error() {
        let announced = Changes::default();
        let listener = announced.listen();
        for _ in 0..=LONGEST_LAG {
            announced.announce(&named("a"));
        }
        let told: Vec<_> = changes(listener, future::pending()).collect().await;
        let refusal = told.last().expect("an end").as_ref().expect_err("a refusal");
        assert_eq!((told.len(), refusal.code()), (1, Code::Aborted));
    }

    #[tokio::test]
    async fn watch_ends_when_the_service_drains() {
        let announced = Changes::default();
        let told: Vec<_> = changes(announced.listen(), future::ready(())).collect().await;
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].as_ref().expect_err("a refusal").code(), Code::Unavailable);
    }
}
