//! The methods of `catalog.v1.ProductService`.

use std::{pin::Pin, sync::Arc};

use accord_api::catalog::v1::{
    CreateProductRequest, CreateProductResponse, GetProductRequest, GetProductResponse, ListProductsRequest,
    ListProductsResponse, Product, UpdateProductRequest, UpdateProductResponse, WatchProductsRequest,
    WatchProductsResponse, product_service_server::ProductService,
};
use accord_runtime::{current_call::CurrentCall, shutdown::Shutdown};
use accord_store::log_failure;
use futures_util::{Stream, StreamExt};
use tokio::sync::Mutex;
use tonic::{Request, Response, Status};
use tracing::instrument;

use crate::{
    page::Page,
    store::{Store, StoreError},
    validate,
    watch::{self, Changes},
};

/// The service: a store, and the watchers of its changes.
#[derive(Clone)]
pub(crate) struct Products {
    store: Store,
    changes: Changes,
    /// One write at a time, so that changes are told in the order in which they were stored.
    writing: Arc<Mutex<()>>,
    shutdown: Shutdown,
}

impl Products {
    /// Serves the products of a store until shutdown begins.
    pub(crate) fn new(store: Store, shutdown: Shutdown) -> Self {
        Self { store, changes: Changes::default(), writing: Arc::default(), shutdown }
    }

    /// Runs to its end even if the caller leaves meanwhile: what has been stored is announced.
    async fn write<F>(&self, storing: impl FnOnce(Store) -> F + Send + 'static) -> Result<Product, Status>
    where
        F: Future<Output = Result<Product, StoreError>> + Send,
    {
        let Self { store, changes, writing, .. } = self.clone();
        let written = async move {
            let _writing = writing.lock().await;
            let stored = storing(store).await?;
            changes.announce(&stored);
            Ok(stored)
        };
        tokio::spawn(CurrentCall::get().instrument(written))
            .await
            .unwrap_or_else(|_| Err(Status::internal("the write failed")))
    }
}

#[tonic::async_trait]
impl ProductService for Products {
    #[instrument(name = "get product", skip_all)]
    async fn get_product(&self, request: Request<GetProductRequest>) -> Result<Response<GetProductResponse>, Status> {
        let id = request.into_inner().id;
        validate::id(&id, "id")?;
        let product = self.store.get(&id).await?;
        Ok(Response::new(GetProductResponse { product: Some(product) }))
    }

    #[instrument(name = "list products", skip_all)]
    async fn list_products(
        &self,
        request: Request<ListProductsRequest>,
    ) -> Result<Response<ListProductsResponse>, Status> {
        let page = Page::of(request.into_inner())?;
        // One more than the page holds tells whether there is another.
        let found = self.store.list(&page.after, &page.availability, page.size + 1).await?;
        let (products, next_page_token) = page.cut(found);
        Ok(Response::new(ListProductsResponse { products, next_page_token }))
    }

    #[instrument(name = "create product", skip_all)]
    async fn create_product(
        &self,
        request: Request<CreateProductRequest>,
    ) -> Result<Response<CreateProductResponse>, Status> {
        let new = validate::create(request.into_inner())?;
        let product = self.write(async |store| store.create(new).await).await?;
        Ok(Response::new(CreateProductResponse { product: Some(product) }))
    }

    #[instrument(name = "update product", skip_all)]
    async fn update_product(
        &self,
        request: Request<UpdateProductRequest>,
    ) -> Result<Response<UpdateProductResponse>, Status> {
        let next = validate::update(request.into_inner())?;
        let product = self.write(async |store| store.replace(next).await).await?;
        Ok(Response::new(UpdateProductResponse { product: Some(product) }))
    }

    type WatchProductsStream = Pin<Box<dyn Stream<Item = Result<WatchProductsResponse, Status>> + Send>>;

    #[instrument(name = "watch products", skip_all)]
    async fn watch_products(
        &self,
        request: Request<WatchProductsRequest>,
    ) -> Result<Response<Self::WatchProductsStream>, Status> {
        // Listening begins before the snapshot is read: a change in between is told twice rather than never.
        let listener = self.changes.listen();
        let shutdown = self.shutdown.clone();
        let changes = watch::changes(listener, async move { shutdown.begun().await });
        Ok(Response::new(if request.into_inner().changes_only {
            changes.boxed()
        } else {
            watch::snapshot(self.store.clone()).chain(changes).boxed()
        }))
    }
}

impl From<StoreError> for Status {
    fn from(problem: StoreError) -> Self {
        let message = problem.to_string();
        match problem {
            StoreError::Unknown(_) => Self::not_found(message),
            StoreError::Taken(_) => Self::already_exists(message),
            StoreError::Outdated { .. } => Self::aborted(message),
            StoreError::Database(_) | StoreError::Corrupt(_) => {
                // The caller learns that it failed; whoever is on call learns why.
                log_failure(&problem);
                Self::internal(message)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn write_of_a_cancelled_call_reaches_watchers() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(&directory.path().join("catalog.db")).await.expect("a store");
        let products = Products::new(store, Shutdown::new(Duration::ZERO));
        let mut watcher = products.changes.listen();
        let product = Product { id: "a".to_owned(), title: "A thing".to_owned(), ..Product::default() };
        let create = products.create_product(Request::new(CreateProductRequest { product: Some(product) }));
        assert!(create.now_or_never().is_none(), "the caller left before the answer");
        let told = tokio::time::timeout(Duration::from_secs(20), watcher.recv()).await.expect("a change");
        assert_eq!(told.expect("a product").id, "a");
    }
}
