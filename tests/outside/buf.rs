//! buf, as a stranger uses it: nothing but the address and a token.

use crate::{output, tool, with_echo};
use accord_fabric::{EDITOR, Fabric};
use anyhow::Result;
use serde_json::Value;

/// `buf curl` of a method, which it finds by reflection.
async fn curl(fabric: &Fabric, token: &str, method: &str, data: &str, more: &[&str]) -> Result<String> {
    let (url, header) = (format!("{}/{method}", fabric.gateway.url()), format!("authorization: Bearer {token}"));
    let fixed = ["curl", "--protocol", "grpc", "--http2-prior-knowledge", "--header", &header, "--data", data];
    output(&tool("ACCORD_TEST_BUF")?, &[&fixed[..], more, &[&url]].concat()).await
}

#[tokio::test]
async fn buf_lists_and_calls_every_service() -> Result<()> {
    let fabric = with_echo().await?;
    let token = fabric.token(EDITOR).await?;
    let product = r#"{"product":{"id":"oak-desk","title":"Oak desk"}}"#;
    let key = ["--header", "idempotency-key: buf"];
    let created = curl(&fabric, &token, "catalog.v1.ProductService/CreateProduct", product, &key).await?;
    assert_eq!(serde_json::from_str::<Value>(&created)?["product"]["version"], "1", "{created}");
    let read = curl(&fabric, &token, "catalog.v1.ProductService/GetProduct", r#"{"id":"oak-desk"}"#, &[]).await?;
    assert_eq!(serde_json::from_str::<Value>(&read)?["product"]["title"], "Oak desk", "{read}");

    let alpha = ["--reflect-protocol", "grpc-v1alpha"];
    let said = curl(&fabric, &token, "echo.v1.EchoService/Say", r#"{"text":"hi"}"#, &alpha).await?;
    assert_eq!(serde_json::from_str::<Value>(&said)?["text"], "hi", "{said}");
    let counted = curl(&fabric, &token, "echo.v1.EchoService/Count", r#"{"to":3}"#, &[]).await?;
    assert_eq!(counted.matches("\"number\"").count(), 3, "{counted}");
    fabric.stop().await
}
