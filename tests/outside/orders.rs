//! The sample service `orders` in Python, driven through the door as the one in Rust is.

use accord_api::{
    accord::auth::v1::{ExchangeRequest, token_service_client::TokenServiceClient},
    orders::v1::{GetOrderRequest, order_service_client::OrderServiceClient},
};
use accord_fabric::{Bearer, EDITOR, Fabric, Part, READER, http::HttpResponse};
use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use http::Method;
use serde_json::{Value, json};
use toml::toml;
use tonic::{Code, Request};

/// The fabric with orders, a product in its catalog, and the token of somebody who may order.
struct Shop {
    fabric: Fabric,
    token: String,
}

impl Shop {
    async fn start() -> Result<Self> {
        let baskets = toml! {
            [[namespace]]
            name = "baskets"
            read_permission = "baskets.read"
            write_permission = "baskets.write"
        };
        let builder = Fabric::builder()?.cache_fronted().settings(Part::Cache, baskets);
        let fabric = builder.calling_script("orders", "tests/clients/orders_server.py")?.start().await?;
        let token = fabric.token(EDITOR).await?;
        let shop = Self { fabric, token };
        let desk =
            json!({ "id": "oak-desk", "title": "Oak desk", "price": { "currency": "EUR", "minorUnits": "79900" } });
        let created = shop.post("/v1/products", "create", &desk).await?;
        ensure!(created.status == 200, "{}", created.text());
        Ok(shop)
    }

    async fn post(&self, path: &str, key: &str, body: &Value) -> Result<HttpResponse> {
        let call = self.fabric.call(Method::POST, path).token(&self.token).header("idempotency-key", key);
        call.json(body).send().await
    }

    async fn add(&self, product_id: &str) -> Result<HttpResponse> {
        let call = self.fabric.call(Method::POST, "/v1/basket/items").token(&self.token);
        call.json(&json!({ "productId": product_id, "quantity": 1 })).send().await
    }

    async fn get(&self, who: &str, path: &str) -> Result<HttpResponse> {
        self.fabric.get(path).token(&self.fabric.token(who).await?).send().await
    }

    async fn quantity(&self) -> Result<i64> {
        let basket = self.get(EDITOR, "/v1/basket").await?.json()?;
        Ok(basket["items"][0]["quantity"].as_i64().unwrap_or(0))
    }
}

#[tokio::test]
async fn basket_becomes_an_order_that_is_its_owners_alone() -> Result<()> {
    let shop = Shop::start().await?;
    let added = shop.add("oak-desk").await?;
    assert_eq!(added.status, 200, "{}", added.text());
    assert_eq!(shop.add("oak-desk").await?.json()?["total"]["minorUnits"], "159800");
    let placed = shop.post("/v1/orders", "first", &json!({})).await?.json()?;
    assert_eq!(placed["total"], json!({ "currency": "EUR", "minorUnits": "159800" }));
    assert_eq!(shop.quantity().await?, 0);
    let path = format!("/v1/orders/{}", placed["id"].as_str().unwrap_or_default());
    assert_eq!(shop.get(EDITOR, &path).await?.json()?, placed);
    assert_eq!(shop.get(READER, &path).await?.status, 404);
    shop.fabric.stop().await
}

#[tokio::test]
async fn product_that_is_not_there_is_a_violation_of_the_item() -> Result<()> {
    let shop = Shop::start().await?;
    let refused = shop.add("no-such-thing").await?;
    let details = refused.json()?["details"].clone();
    assert_eq!((refused.status.as_u16(), &details[0]["fieldViolations"][0]["field"]), (400, &json!("product_id")));
    shop.fabric.stop().await
}

/// A passport of the editor's for a service.
async fn passport(shop: &Shop, audience: &str) -> Result<String> {
    let gateway = Bearer::new(&shop.fabric.token("gateway").await?)?;
    let mut tokens = TokenServiceClient::with_interceptor(shop.fabric.auth.channel()?, gateway);
    let subject_token = shop.token.clone();
    let exchange = ExchangeRequest { subject_token, audience: audience.to_owned(), ..ExchangeRequest::default() };
    Ok(tokens.exchange(exchange).await?.into_inner().passport)
}

#[tokio::test]
async fn passport_of_another_service_or_signature_is_refused() -> Result<()> {
    let mut shop = Shop::start().await?;
    let (own, others) = (passport(&shop, "orders").await?, passport(&shop, "catalog").await?);
    let (claims, _) = own.rsplit_once('.').context("a signature")?;
    let (_, signature) = others.rsplit_once('.').context("a signature")?;
    let forged = format!("{claims}.{signature}");
    let mut orders = OrderServiceClient::connect(shop.fabric.scripts()[0].url()).await?;
    for (passport, expected) in
        [(own, Code::NotFound), (others, Code::Unauthenticated), (forged, Code::Unauthenticated)]
    {
        let mut request = Request::new(GetOrderRequest { id: "unknown".to_owned() });
        request.metadata_mut().insert("x-accord-passport", passport.parse()?);
        // No neighbour is asked, which would refuse it as well.
        let refusal = orders.get_order(request).await.err().context("there is no such order")?;
        assert_eq!(refusal.code(), expected);
    }
    shop.fabric.stop().await
}

#[tokio::test]
async fn concurrent_additions_lose_no_item() -> Result<()> {
    let shop = Shop::start().await?;
    let added = try_join_all((0..6).map(|_| shop.add("oak-desk"))).await?;
    let accepted = added.iter().filter(|answer| answer.status == 200).count();
    assert!(added.iter().all(|answer| [200, 409].contains(&answer.status.as_u16())), "{added:?}");
    assert_eq!(shop.quantity().await?, i64::try_from(accepted)?);
    shop.fabric.stop().await
}
