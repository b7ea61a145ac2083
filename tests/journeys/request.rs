//! A request through all of it, as JSON and as gRPC.

use crate::{
    create,
    scripted_upstream::ScriptedUpstream,
    wire::{GrpcCall, word},
};
use accord_api::catalog::v1::GetProductRequest;
use accord_fabric::{Fabric, READER};
use anyhow::Result;
use http::Method;
use tonic::Code;

#[tokio::test]
async fn product_is_read_as_json_and_as_grpc() -> Result<()> {
    let mut fabric = Fabric::start().await?;
    assert_eq!(create(&fabric, "Oak desk").await?.status, 200);
    let token = fabric.token(READER).await?;

    let answer = fabric.get("/v1/products/oak-desk").token(&token).send().await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let product = answer.json()?;
    assert_eq!(product["title"], "Oak desk");
    assert_eq!(product["price"]["minorUnits"], "79900");
    assert_eq!(product["availability"], "AVAILABILITY_IN_STOCK");
    assert_eq!(product["version"], "1");

    let request = GetProductRequest { id: "oak-desk".into() };
    let answer = fabric.products(&token)?.get_product(request).await?;
    assert!(answer.metadata().contains_key("x-request-id"));
    assert_eq!(answer.into_inner().product.unwrap().title, "Oak desk");

    let request = GetProductRequest { id: "no-desk".into() };
    let status = fabric.products(&token)?.get_product(request).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);

    // However it was spoken, it is counted under its one name.
    let get_product = [("rpc_method", "catalog.v1.ProductService/GetProduct")];
    fabric.gateway.await_metric("rpc_server_call_duration_seconds_count", &get_product, |calls| calls > 2.0).await?;
    fabric.stop().await
}

#[tokio::test]
async fn request_id_is_kept_or_generated() -> Result<()> {
    let fabric = Fabric::start().await?;
    let token = fabric.token(READER).await?;
    let answer = fabric.get("/v1/products/none").token(&token).header("x-request-id", "order-17").send().await?;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.header("x-request-id"), Some("order-17"));
    let answer = fabric.get("/v1/products/none").token(&token).send().await?;
    assert_eq!(answer.header("x-request-id").map(str::len), Some(36));
    fabric.stop().await
}

#[tokio::test]
async fn every_method_is_served_as_json_at_its_own_path() -> Result<()> {
    let fabric = Fabric::start().await?;
    create(&fabric, "Oak desk").await?;
    let token = fabric.token(READER).await?;
    let call = fabric.call(http::Method::POST, "/catalog.v1.ProductService/GetProduct").token(&token);
    let answer = call.json(&serde_json::json!({ "id": "oak-desk" })).send().await?;
    assert_eq!(answer.json()?["product"]["title"], "Oak desk", "{}", answer.text());
    fabric.stop().await
}

#[tokio::test]
async fn path_without_a_contract_is_not_found() -> Result<()> {
    let fabric = Fabric::start().await?;
    let token = fabric.token(READER).await?;
    for path in ["/v1/orders", "/v1//products", "/v1/products/../products", "/v1/products/a%2Fb/c"] {
        let answer = fabric.get(path).token(&token).send().await?;
        assert!(matches!(answer.status.as_u16(), 400 | 404), "{path}: {}", answer.status);
    }
    let answer = fabric.call(http::Method::DELETE, "/v1/products/oak-desk").token(&token).send().await?;
    assert_eq!(answer.status, 405);
    assert_eq!(answer.header("allow"), Some("GET, HEAD, PUT"));
    fabric.stop().await
}

#[tokio::test]
async fn method_path_answers_to_post_alone() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::with_few_policies().await?;
    // What a browser sends for an image in a page must never be a call.
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE] {
        let answer = fabric.call(method.clone(), "/echo.v1.EchoService/Change").send().await?;
        assert_eq!(
            (answer.status.as_u16(), answer.header("allow")),
            (405, Some("POST")),
            "{method}: {}",
            answer.text()
        );
    }
    assert!(echo.take_received().is_empty());
    GrpcCall::new(&fabric, "Change", "posted").send().await?.ok()?;
    assert_eq!(echo.take_received().remove(0).body, word("posted"));
    fabric.stop().await
}
