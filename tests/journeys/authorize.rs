//! Authorization: callers without the permission, methods without declared access.

use crate::{create, desk, reason, scripted_upstream::ScriptedUpstream, wire::GrpcCall};
use accord_api::catalog::v1::GetProductRequest;
use accord_fabric::{EDITOR, Fabric, READER, STRANGER};
use anyhow::Result;
use http::Method;
use tonic::Code;

#[tokio::test]
async fn caller_without_the_permission_is_refused_even_on_a_cache_hit() -> Result<()> {
    let fabric = Fabric::start().await?;
    create(&fabric, "Oak desk").await?;
    let (reader, stranger) = (fabric.token(READER).await?, fabric.token(STRANGER).await?);
    for _ in 0..2 {
        assert_eq!(fabric.get("/v1/products/oak-desk").token(&reader).send().await?.status, 200);
    }
    let answer = fabric.get("/v1/products/oak-desk").token(&stranger).send().await?;
    assert_eq!((answer.status.as_u16(), reason(&answer).as_str()), (403, "PERMISSION_MISSING"));
    let request = GetProductRequest { id: "oak-desk".into() };
    let status = fabric.products(&stranger)?.get_product(request).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);

    let write = fabric.call(Method::PUT, "/v1/products/oak-desk").token(&reader).json(&desk("Mine")).send().await?;
    assert_eq!((write.status.as_u16(), reason(&write).as_str()), (403, "PERMISSION_MISSING"));
    assert!(write.text().contains("`catalog.products.write`"), "{}", write.text());
    fabric.stop().await
}

#[tokio::test]
async fn method_without_declared_access_is_permission_denied() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::with_few_policies().await?;
    let token = fabric.token(EDITOR).await?;
    for method in ["Repeat", "Recite", "Converse"] {
        let call = GrpcCall::new(&fabric, method, "closed");
        assert_eq!(call.clone().send().await?.refusal().0, Code::Unauthenticated, "{method}");
        let known = call.header("authorization", &format!("Bearer {token}")).send().await?;
        assert_eq!(known.refusal(), (Code::PermissionDenied, "METHOD_UNDECLARED".into()), "{method}");
    }
    let call = fabric.call(Method::POST, "/echo.v1.EchoService/Repeat").token(&token);
    let known = call.body("application/json", "{}").send().await?;
    assert_eq!((known.status.as_u16(), reason(&known).as_str()), (403, "METHOD_UNDECLARED"));
    assert_eq!(echo.calls_received(), 0);
    fabric.stop().await
}
