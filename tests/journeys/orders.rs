//! The sample's second service: calls through the gateway to orders, and from there by the internal listener to catalog and cache.

use crate::{
    create, desk, reason,
    wire::{GrpcCall, GrpcResponse, frame},
};
use accord_api::{
    accord::{
        auth::v1::{ExchangeRequest, token_service_client::TokenServiceClient},
        cache::v1::GetRequest,
    },
    catalog::v1::GetProductRequest,
    orders::v1::{
        AddItemRequest, GetBasketRequest, GetOrderRequest, PlaceOrderRequest, order_service_client::OrderServiceClient,
    },
};
use accord_fabric::{Bearer, EDITOR, Fabric, READER, Server, http::HttpResponse};
use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use http::Method;
use prost::Message;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;
use tonic::{Code, Request, service::interceptor::InterceptedService, transport::Channel};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// The fabric with orders, a product in its catalog, and the token of somebody who may order.
struct Shop {
    fabric: Fabric,
    token: String,
}

impl Shop {
    async fn start() -> Result<Self> {
        let fabric = Fabric::builder()?.orders().start().await?;
        create(&fabric, "Oak desk").await?;
        let token = fabric.token(EDITOR).await?;
        Ok(Self { fabric, token })
    }

    async fn add(&self, product_id: &str, quantity: i32) -> Result<HttpResponse> {
        let call = self.fabric.call(Method::POST, "/v1/basket/items").token(&self.token);
        call.json(&json!({ "productId": product_id, "quantity": quantity })).send().await
    }

    async fn basket(&self) -> Result<Value> {
        self.fabric.get("/v1/basket").token(&self.token).send().await?.json()
    }

    async fn place(&self, key: &str) -> Result<HttpResponse> {
        let call = self.fabric.call(Method::POST, "/v1/orders").token(&self.token).header("idempotency-key", key);
        call.json(&json!({})).send().await
    }

    async fn order(&self, token: &str, id: &str) -> Result<HttpResponse> {
        self.fabric.get(&format!("/v1/orders/{id}")).token(token).send().await
    }

    /// The passport with which the gateway calls a service for the holder of the token.
    async fn passport(&self, audience: &str) -> Result<String> {
        self.exchange(ExchangeRequest { subject_token: self.token.clone(), ..to(audience) }).await
    }

    async fn exchange(&self, request: ExchangeRequest) -> Result<String> {
        let gateway = Bearer::new(&self.fabric.token("gateway").await?)?;
        let mut tokens = TokenServiceClient::with_interceptor(self.fabric.auth.channel()?, gateway);
        Ok(tokens.exchange(request).await?.into_inner().passport)
    }

    fn grpc(&self) -> Result<OrderServiceClient<InterceptedService<Channel, Bearer>>> {
        Ok(OrderServiceClient::with_interceptor(self.fabric.gateway.channel()?, Bearer::new(&self.token)?))
    }
}

fn to(audience: &str) -> ExchangeRequest {
    ExchangeRequest { audience: audience.to_owned(), ..ExchangeRequest::default() }
}

fn orders(fabric: &mut Fabric) -> Result<&mut Server> {
    fabric.orders.as_mut().context("the fabric has orders")
}

fn quantities(basket: &Value) -> Vec<(String, i64)> {
    let items = basket["items"].as_array().into_iter().flatten();
    items
        .map(|item| (item["productId"].as_str().unwrap_or_default().into(), item["quantity"].as_i64().unwrap_or(0)))
        .collect()
}

/// The paths of the fields that a refusal names.
fn fields(refused: &HttpResponse) -> Result<Vec<String>> {
    let body = refused.json()?;
    let details = body["details"].as_array().into_iter().flatten();
    let violations = details.filter_map(|detail| detail["fieldViolations"].as_array()).flatten();
    Ok(violations.map(|violation| violation["field"].as_str().unwrap_or_default().to_owned()).collect())
}

#[tokio::test]
async fn basket_becomes_an_order_as_json() -> Result<()> {
    let shop = Shop::start().await?;
    assert_eq!(quantities(&shop.basket().await?), []);
    let added = shop.add("oak-desk", 2).await?;
    assert_eq!(added.status, 200, "{}", added.text());
    let added = shop.add("oak-desk", 1).await?.json()?;
    assert_eq!(quantities(&added), [("oak-desk".to_owned(), 3)]);
    assert_eq!(added["total"], json!({ "currency": "EUR", "minorUnits": "239700" }));
    assert_eq!(shop.basket().await?, added);

    let placed = shop.place("first").await?;
    assert_eq!(placed.status, 200, "{}", placed.text());
    let placed = placed.json()?;
    assert_eq!((&placed["items"], &placed["total"]), (&added["items"], &added["total"]));
    let read = shop.order(&shop.token, placed["id"].as_str().unwrap_or_default()).await?.json()?;
    assert_eq!(read, placed);
    assert_eq!(quantities(&shop.basket().await?), []);
    shop.fabric.stop().await
}

#[tokio::test]
async fn basket_becomes_an_order_as_grpc() -> Result<()> {
    let shop = Shop::start().await?;
    let mut orders = shop.grpc()?;
    let added = orders.add_item(AddItemRequest { product_id: "oak-desk".into(), quantity: 2 }).await?.into_inner();
    let basket = orders.get_basket(GetBasketRequest {}).await?.into_inner().basket;
    assert_eq!(basket, added.basket);
    let mut place = Request::new(PlaceOrderRequest {});
    place.metadata_mut().insert("idempotency-key", "first".parse()?);
    let placed = orders.place_order(place).await?.into_inner().order.context("an order")?;
    assert_eq!(placed.items, basket.unwrap_or_default().items);
    let read = orders.get_order(GetOrderRequest { id: placed.id.clone() }).await?.into_inner().order;
    assert_eq!(read, Some(placed));
    shop.fabric.stop().await
}

#[tokio::test]
async fn order_placed_again_under_its_key_is_the_same_order() -> Result<()> {
    let shop = Shop::start().await?;
    shop.add("oak-desk", 1).await?;
    let first = shop.place("once").await?;
    let again = shop.place("once").await?;
    assert_eq!((again.header("idempotency-replayed"), &again.body), (Some("true"), &first.body));
    let empty = shop.place("twice").await?;
    assert_eq!((empty.status.as_u16(), empty.json()?["code"].as_i64()), (400, Some(9)), "{}", empty.text());
    shop.fabric.stop().await
}

#[tokio::test]
async fn order_has_the_price_of_now_and_not_that_of_the_basket() -> Result<()> {
    let shop = Shop::start().await?;
    shop.add("oak-desk", 2).await?;
    let mut cheaper = desk("Oak desk");
    cheaper["price"]["minorUnits"] = json!("100");
    let call = shop.fabric.call(Method::PUT, "/v1/products/oak-desk").token(&shop.token).json(&cheaper);
    assert_eq!(call.send().await?.status, 200);
    assert_eq!(shop.place("first").await?.json()?["total"]["minorUnits"], "200");
    shop.fabric.stop().await
}

#[tokio::test]
async fn product_that_is_not_there_is_a_violation_of_the_item() -> Result<()> {
    let shop = Shop::start().await?;
    for product_id in ["no-such-thing", "No Such Thing"] {
        let refused = shop.add(product_id, 1).await?;
        assert_eq!((refused.status.as_u16(), fields(&refused)?), (400, vec!["product_id".to_owned()]));
    }
    let refused = shop.add("oak-desk", 100).await?;
    assert_eq!((refused.status.as_u16(), fields(&refused)?), (400, vec!["quantity".to_owned()]));
    shop.fabric.stop().await
}

#[tokio::test]
async fn concurrent_additions_lose_no_item() -> Result<()> {
    let shop = Shop::start().await?;
    let added = try_join_all((0..8).map(|_| shop.add("oak-desk", 1))).await?;
    let accepted = added.iter().filter(|answer| answer.status == 200).count();
    let mut refused = added.iter().filter(|answer| answer.status != 200);
    assert!(refused.all(|answer| answer.json().is_ok_and(|refused| refused["code"] == 10)), "{added:?}");
    assert!(accepted >= 1);
    assert_eq!(quantities(&shop.basket().await?), [("oak-desk".to_owned(), i64::try_from(accepted)?)]);
    shop.fabric.stop().await
}

#[tokio::test]
async fn order_and_basket_are_their_owners_alone() -> Result<()> {
    let shop = Shop::start().await?;
    shop.add("oak-desk", 1).await?;
    let placed = shop.place("first").await?.json()?;
    let id = placed["id"].as_str().unwrap_or_default();
    shop.add("oak-desk", 1).await?;
    assert_eq!(shop.order(&shop.token, id).await?.status, 200);
    let other = shop.fabric.token(READER).await?;
    assert_eq!(shop.order(&other, id).await?.status, 404);
    let others = shop.fabric.get("/v1/basket").token(&other).send().await?;
    assert_eq!((others.status.as_u16(), quantities(&others.json()?)), (200, vec![]));
    for token in [&other, &shop.token] {
        let straight = shop.fabric.get("/v1/cache/baskets/editor").token(token).send().await?;
        assert_eq!((straight.status.as_u16(), reason(&straight)), (403, "PERMISSION_MISSING".to_owned()));
    }
    shop.fabric.stop().await
}

#[tokio::test]
async fn service_that_orders_calls_gets_at_no_basket() -> Result<()> {
    let shop = Shop::start().await?;
    shop.add("oak-desk", 1).await?;
    let orders = shop.passport("orders").await?;
    let by_orders = ExchangeRequest { actor_token: shop.fabric.token("orders").await?, ..to("catalog") };
    let catalog = shop.exchange(ExchangeRequest { subject_token: orders.clone(), ..by_orders }).await?;
    let basket = GetRequest { namespace: "baskets".into(), key: EDITOR.into(), consistency: None }.encode_to_vec();
    let get = async |service: &str, passport: &str| -> Result<GrpcResponse> {
        let call = GrpcCall::to(shop.fabric.internal, "/accord.cache.v1.CacheService/Get");
        let call = call.body(frame(0, &basket)).header("x-accord-passport", passport);
        call.header("authorization", &format!("Bearer {}", shop.fabric.token(service).await?)).send().await
    };
    get("orders", &orders).await?.ok()?;
    let refused = get("catalog", &catalog).await?.refusal();
    assert_eq!(refused, (Code::PermissionDenied, "PERMISSION_MISSING".into()));
    shop.fabric.stop().await
}

/// The lines of a call of `AddItem` in the access logs: at the door, at orders, at the internal listener, at the catalog; and of
/// all other calls that were made for it.
async fn logged(shop: &mut Shop) -> Result<([Value; 4], Vec<Value>)> {
    let call = shop.fabric.call(Method::POST, "/v1/basket/items").token(&shop.token).header("request-timeout", "4");
    let call = call.header("x-request-id", "hops").header("traceparent", &format!("00-{TRACE}-b7ad6b7169203331-01"));
    let added = call.json(&json!({ "productId": "oak-desk", "quantity": 1 })).send().await?;
    assert_eq!(added.status, 200, "{}", added.text());
    // At the gateway: AddItem, GetProduct, and Get and Put of the basket.
    let mut gateway = shop.fabric.gateway.await_access_log("hops", 4).await?;
    let mut take = |method: &str| -> Result<Value> {
        let at = gateway.iter().position(|line| line["method"] == method).context("no such call was logged")?;
        Ok(gateway.remove(at))
    };
    let (door, inner) = (take("orders.v1.OrderService/AddItem")?, take("catalog.v1.ProductService/GetProduct")?);
    let orders = orders(&mut shop.fabric)?.await_access_log("hops", 1).await?.remove(0);
    let catalog = shop.fabric.catalog.await_access_log("hops", 1).await?.remove(0);
    let others = [gateway, shop.fabric.cache.await_access_log("hops", 3).await?].concat();
    Ok(([door, orders, inner, catalog], others))
}

#[tokio::test]
async fn every_hop_has_the_same_request_id_and_trace_id() -> Result<()> {
    let mut shop = Shop::start().await?;
    let (way, others) = logged(&mut shop).await?;
    assert_eq!((&way[0]["listener"], &way[2]["listener"]), (&json!("public"), &json!("internal")));
    for line in way.iter().chain(&others) {
        assert_eq!((&line["request_id"], &line["trace_id"]), (&json!("hops"), &json!(TRACE)), "{line}");
    }
    shop.fabric.stop().await
}

#[tokio::test]
async fn deadline_shrinks_from_the_door_to_the_catalog() -> Result<()> {
    let mut shop = Shop::start().await?;
    let (way, others) = logged(&mut shop).await?;
    let timeouts = way.map(|line| line["timeout_ms"].as_f64().unwrap_or_default());
    assert!(timeouts.is_sorted_by(|outer, inner| outer > inner) && timeouts[3] > 0.0, "{timeouts:?}");
    assert!(others.iter().all(|line| line["timeout_ms"].as_f64().is_some_and(|left| left < timeouts[1])), "{others:?}");
    shop.fabric.stop().await
}

#[tokio::test]
async fn person_revoked_meanwhile_is_refused_at_the_inner_hop() -> Result<()> {
    let shop = Shop::start().await?;
    let passport = shop.passport("orders").await?;
    let bearer = format!("Bearer {}", shop.fabric.token("orders").await?);
    let product = GetProductRequest { id: "oak-desk".into() }.encode_to_vec();
    let inner = || {
        let call = GrpcCall::to(shop.fabric.internal, "/catalog.v1.ProductService/GetProduct");
        let call = call.body(frame(0, &product)).header("authorization", &bearer);
        call.header("x-accord-passport", &passport)
    };
    inner().send().await?.ok()?;
    shop.fabric.manage(&["token", "revoke", "--subject", EDITOR]).await?;
    let refused = crate::internal_calls::until_refused(inner, "TOKEN_REVOKED").await?.refusal();
    assert_eq!(refused, (Code::Unauthenticated, "TOKEN_REVOKED".into()));
    shop.fabric.stop().await
}

#[tokio::test]
async fn slow_catalog_ends_both_calls_at_the_callers_deadline() -> Result<()> {
    let mut shop = Shop::start().await?;
    // The first call pays for connections and decisions, and the product is not read before: nothing answers for the catalog.
    shop.basket().await?;
    shop.fabric.catalog.process.pause()?;
    let begun = Instant::now();
    let call = shop.fabric.call(Method::POST, "/v1/basket/items").token(&shop.token).header("request-timeout", "0.8");
    let answer = call.json(&json!({ "productId": "oak-desk", "quantity": 1 })).send().await?;
    let took = begun.elapsed();
    shop.fabric.catalog.process.resume()?;
    assert_eq!((answer.status.as_u16(), answer.json()?["code"].as_i64()), (504, Some(4)), "{}", answer.text());
    assert!(took < Duration::from_millis(2_500), "not the three seconds of the contract: {took:?}");
    let ended = [("rpc_method", "orders.v1.OrderService/AddItem")];
    let orders = orders(&mut shop.fabric)?;
    orders.await_metric("rpc_server_call_duration_seconds_count", &ended, |calls| calls > 0.0).await?;
    shop.fabric.stop().await
}

#[tokio::test]
async fn pushback_of_retries_in_vain_at_the_inner_hop_reaches_the_caller() -> Result<()> {
    let mut shop = Shop::start().await?;
    shop.fabric.catalog.process.kill()?;
    let add = AddItemRequest { product_id: "oak-desk".into(), quantity: 1 };
    let failed = shop.grpc()?.add_item(add).await.err().context("the catalog is down")?;
    let pushback = failed.metadata().get("grpc-retry-pushback-ms").cloned();
    assert_eq!((failed.code(), pushback), (Code::Unavailable, Some("-1".parse()?)), "{failed:?}");
    shop.fabric.stop().await
}

#[tokio::test]
async fn catalog_or_orders_that_are_down_are_unavailable_with_a_reason() -> Result<()> {
    let mut shop = Shop::start().await?;
    shop.fabric.catalog.process.kill()?;
    let without_catalog = shop.add("oak-desk", 1).await?;
    assert_eq!((without_catalog.status.as_u16(), reason(&without_catalog)), (503, "UPSTREAM_UNAVAILABLE".to_owned()));
    orders(&mut shop.fabric)?.process.kill()?;
    let without_orders = shop.add("oak-desk", 1).await?;
    assert_eq!((without_orders.status.as_u16(), reason(&without_orders)), (503, "UPSTREAM_UNAVAILABLE".to_owned()));
    Ok(())
}
