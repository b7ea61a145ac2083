//! The method of the shop that answers for many products at once.

use accord_api::catalog::v1::Product;
use prost::Message;
use tonic::server::UnaryService;
use tonic::{Request, Response, Status};

use super::{Seen, Shop};

/// Which products.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct GetManyRequest {
    #[prost(string, repeated, tag = "1")]
    ids: Vec<String>,
}

/// What there is of them.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct GetManyResponse {
    #[prost(message, repeated, tag = "1")]
    items: Vec<Item>,
}

/// A product, or why there is none.
#[derive(Clone, PartialEq, Message)]
struct Item {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, tag = "2")]
    product: Option<Product>,
    #[prost(message, tag = "3")]
    status: Option<ItemStatus>,
}

#[derive(Clone, PartialEq, Message)]
struct ItemStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// Answers in the reverse order. Of `unknown` there is no item, and `closed` fails.
#[derive(Clone)]
pub(crate) struct GetMany(pub Shop);

impl UnaryService<GetManyRequest> for GetMany {
    type Response = GetManyResponse;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response<GetManyResponse>, Status>> + Send>>;

    fn call(&mut self, request: Request<GetManyRequest>) -> Self::Future {
        let shop = self.0.clone();
        let (metadata, _, GetManyRequest { ids }) = request.into_parts();
        Box::pin(async move {
            shop.see(Seen { metadata, id: ids.join(",") });
            shop.open.acquire().await.unwrap().forget();
            if let Some(failure) = shop.failure.lock().unwrap().clone() {
                return Err(failure);
            }
            let known = ids.into_iter().rev().filter(|id| id != "unknown");
            Ok(Response::new(GetManyResponse { items: known.map(item).collect() }))
        })
    }
}

fn item(id: String) -> Item {
    if id == "closed" {
        let status = ItemStatus { code: tonic::Code::FailedPrecondition.into(), message: "it is closed".to_owned() };
        return Item { id, product: None, status: Some(status) };
    }
    let product = Product { id: id.clone(), ..Product::default() };
    Item { id, product: Some(product), status: None }
}
