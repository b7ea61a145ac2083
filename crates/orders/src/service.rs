//! The methods of `orders.v1.OrderService`.

use std::{sync::Arc, time::SystemTime};

use accord_api::orders::v1::{
    AddItemRequest, AddItemResponse, Basket, GetBasketRequest, GetBasketResponse, GetOrderRequest, GetOrderResponse,
    Item, Order, PlaceOrderRequest, PlaceOrderResponse, order_service_server::OrderService,
};
use accord_runtime::violations::{refuse, unless, violation};
use accord_store::log_failure;
use accord_token::Verified;
use futures_util::{StreamExt, TryStreamExt, stream};
use tonic::{Request, Response, Status};
use tracing::instrument;
use uuid::Uuid;

use crate::{
    basket::{MOST_OF_ONE, add, precondition, take_out, total},
    neighbours::{Gateway, Neighbours},
    products::{Reading, Unorderable},
    store::{Owner, Store, StoreError},
};

/// Prices read at once.
const PRICES_AT_ONCE: usize = 8;

/// The service: a store, and the way to its neighbours.
#[derive(Clone)]
pub(crate) struct Orders {
    store: Store,
    gateway: Gateway,
}

impl Orders {
    /// Serves the orders of a store, and the baskets that become them.
    pub(crate) fn new(store: Store, gateway: Gateway) -> Self {
        Self { store, gateway }
    }
}

#[tonic::async_trait]
impl OrderService for Orders {
    #[instrument(name = "get basket", skip_all)]
    async fn get_basket(&self, request: Request<GetBasketRequest>) -> Result<Response<GetBasketResponse>, Status> {
        let (neighbours, caller) = (self.gateway.called_for(&request)?, caller(&request)?);
        let basket = neighbours.basket(owner(&caller).principal).await?;
        Ok(Response::new(GetBasketResponse { basket: Some(basket) }))
    }

    #[instrument(name = "add item", skip_all)]
    async fn add_item(&self, request: Request<AddItemRequest>) -> Result<Response<AddItemResponse>, Status> {
        let (neighbours, caller) = (self.gateway.called_for(&request)?, caller(&request)?);
        let AddItemRequest { product_id, quantity } = request.into_inner();
        refuse([
            unless(!product_id.is_empty(), "product_id", "is required"),
            unless((1..=MOST_OF_ONE).contains(&quantity), "quantity", "must be 1 to 99"),
        ])?;
        let item = neighbours.item(&product_id, quantity, Reading::AsDeclared).await?;
        let item = item.map_err(|Unorderable(problem)| violation("product_id", problem))?;
        let basket = neighbours.change_basket(owner(&caller).principal, |basket| add(basket, item.clone())).await?;
        Ok(Response::new(AddItemResponse { basket: Some(basket) }))
    }

    #[instrument(name = "place order", skip_all)]
    async fn place_order(&self, request: Request<PlaceOrderRequest>) -> Result<Response<PlaceOrderResponse>, Status> {
        let (neighbours, caller) = (self.gateway.called_for(&request)?, caller(&request)?);
        let owner = owner(&caller);
        let basket = neighbours.basket(owner.principal).await?;
        let order = order(&neighbours, basket).await?;
        self.store.insert(owner, &order).await?;
        // The order stands, whatever becomes of the basket, which is derived data.
        let emptied = neighbours.change_basket(owner.principal, |basket| take_out(basket, &order.items)).await;
        if let Err(failure) = emptied {
            tracing::warn!(order = order.id, %failure, "the basket of a placed order could not be emptied");
        }
        Ok(Response::new(PlaceOrderResponse { order: Some(order) }))
    }

    #[instrument(name = "get order", skip_all)]
    async fn get_order(&self, request: Request<GetOrderRequest>) -> Result<Response<GetOrderResponse>, Status> {
        let caller = caller(&request)?;
        let order = self.store.get(owner(&caller), &request.get_ref().id).await?;
        Ok(Response::new(GetOrderResponse { order: Some(order) }))
    }
}

/// A new order for what is in a basket, at prices read anew.
async fn order(neighbours: &Neighbours, basket: Basket) -> Result<Order, Status> {
    if basket.items.is_empty() {
        return Err(precondition("BASKET_EMPTY", "basket", "there is nothing in it to order"));
    }
    let prices = basket.items.into_iter().map(async |Item { product_id, quantity, .. }| {
        let item = neighbours.item(&product_id, quantity, Reading::Anew).await?;
        item.map_err(|Unorderable(problem)| precondition("PRODUCT", &product_id, problem))
    });
    let items: Vec<_> = stream::iter(prices).buffered(PRICES_AT_ONCE).try_collect().await?;
    let (total, create_time) = (total(&items)?, Some(SystemTime::now().into()));
    Ok(Order { id: Uuid::now_v7().to_string(), items, total, create_time })
}

/// Who calls, by the passport.
fn caller<T>(request: &Request<T>) -> Result<Arc<Verified>, Status> {
    let caller = request.extensions().get::<Arc<Verified>>().cloned();
    caller.ok_or_else(|| Status::internal("no passport was verified before the handler"))
}

fn owner(caller: &Verified) -> Owner<'_> {
    Owner { tenant: &caller.claims.tenant, principal: &caller.claims.sub }
}

impl From<StoreError> for Status {
    fn from(problem: StoreError) -> Self {
        let message = problem.to_string();
        match problem {
            StoreError::Unknown(_) => Self::not_found(message),
            StoreError::Database(_) | StoreError::Corrupt(_) => {
                // The caller learns that it failed; whoever is on call learns why.
                log_failure(&problem);
                Self::internal(message)
            }
        }
    }
}
