//! Authorization: callers without the permission.

use crate::{create, desk, reason};
use accord_api::catalog::v1::GetProductRequest;
use accord_fabric::{Fabric, READER, STRANGER};
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
