//! Cache invalidation: a write is seen by the next read.

use crate::{create, desk};
use accord_fabric::{EDITOR, Fabric, READER};
use anyhow::Result;
use http::Method;

#[tokio::test]
async fn read_after_write_sees_the_write_by_invalidation() -> Result<()> {
    let fabric = Fabric::start().await?;
    create(&fabric, "Oak desk").await?;
    let (reader, editor) = (fabric.token(READER).await?, fabric.token(EDITOR).await?);
    let title = async || -> Result<String> {
        let answer = fabric.get("/v1/products/oak-desk").token(&reader).send().await?;
        Ok(answer.json()?["title"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(title().await?, "Oak desk");
    assert_eq!(title().await?, "Oak desk");
    for round in 0..20 {
        let new = format!("Oak desk {round}");
        let put = fabric.call(Method::PUT, "/v1/products/oak-desk").token(&editor).json(&desk(&new)).send().await?;
        assert_eq!(put.status, 200, "{}", put.text());
        assert_eq!(put.header("x-accord-invalidation"), None);
        assert_eq!(title().await?, new);
    }
    fabric.stop().await
}
