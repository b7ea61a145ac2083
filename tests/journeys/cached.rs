//! Reads that are answered from the cache, and how the answer says so.

use crate::create;
use accord_fabric::{Fabric, READER};
use anyhow::Result;

#[tokio::test]
async fn the_second_read_is_a_hit_and_says_so() -> Result<()> {
    let fabric = Fabric::start().await?;
    create(&fabric, "Oak desk").await?;
    let token = fabric.token(READER).await?;
    let read = || fabric.get("/v1/products/oak-desk").token(&token);

    let first = read().send().await?;
    assert!(first.header("cache-status").unwrap().starts_with("accord; fwd=uri-miss"), "{:?}", first.headers);
    let second = read().send().await?;
    assert!(second.header("cache-status").unwrap().starts_with("accord; hit; ttl="), "{:?}", second.headers);
    assert!(second.header("age").is_some());
    assert_eq!(first.body, second.body);

    let fresh = read().header("cache-control", "no-cache").send().await?;
    assert!(fresh.header("cache-status").unwrap().starts_with("accord; fwd=request"), "{:?}", fresh.headers);
    fabric.stop().await
}
