//! The concurrency limit: in-flight slots of the gateway, and load shedding where they run short.

use crate::{create, reason};
use accord_api::catalog::v1::WatchProductsRequest;
use accord_fabric::{EDITOR, Fabric, Part};
use anyhow::{Result, ensure};
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test]
async fn in_flight_slot_is_held_until_the_last_byte_of_the_response() -> Result<()> {
    let one_slot = toml::toml! { limits = { max_in_flight = 1 } };
    let fabric = Fabric::builder()?.settings(Part::Gateway, one_slot).start().await?;
    create(&fabric, "Oak desk").await?;
    let token = fabric.token(EDITOR).await?;
    let mut watch = fabric.products(&token)?.watch_products(WatchProductsRequest::default()).await?.into_inner();
    assert!(watch.message().await?.is_some(), "the answer has begun");

    let read = || fabric.get("/v1/products/oak-desk").token(&token).send();
    let refused = read().await?;
    assert_eq!((refused.status.as_u16(), reason(&refused).as_str()), (429, "OVERLOADED"), "{}", refused.text());
    assert_eq!(refused.header("retry-after"), Some("1"));

    drop(watch);
    let end = Instant::now() + Duration::from_secs(20);
    while read().await?.status != 200 {
        ensure!(Instant::now() < end, "the in-flight slot was never released");
    }
    fabric.stop().await
}
