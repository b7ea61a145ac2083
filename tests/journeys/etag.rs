//! Entity tags of cached reads over HTTP, and callers who have the answer already.

use crate::{create, desk};
use accord_fabric::{EDITOR, Fabric, http::HttpCall, http::HttpResponse};
use anyhow::{Context, Result, ensure};
use http::Method;
use std::time::{Duration, Instant};

const PRODUCT: &str = "/v1/products/oak-desk";

async fn read(fabric: &Fabric, token: &str, known: Option<&str>) -> Result<HttpResponse> {
    let call = HttpCall::new(fabric.gateway.listen, Method::GET, PRODUCT).token(token);
    match known {
        Some(known) => call.header("if-none-match", known).send().await,
        None => call.send().await,
    }
}

#[tokio::test]
async fn caller_that_has_the_answer_gets_304_until_it_changes() -> Result<()> {
    let fabric = Fabric::builder()?.overlay("tests/journeys/near.toml").start().await?;
    let token = fabric.token(EDITOR).await?;
    create(&fabric, "Oak desk").await?;
    let first = read(&fabric, &token, None).await?;
    let tag = first.header("etag").context("a tag")?.to_owned();
    ensure!(tag.starts_with('"') && tag.ends_with('"'), "a strong tag: {tag}");
    // Until it is answered near, which takes a while: what was written lately is leased to nobody.
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let again = read(&fabric, &token, Some(&format!("\"other\", W/{tag}"))).await?;
        assert_eq!((again.status.as_u16(), again.header("etag")), (304, Some(&*tag)), "{}", again.text());
        ensure!(again.body.is_empty() && again.header("content-type").is_none());
        ensure!(again.header("age").is_some());
        if again.header("cache-status").is_some_and(|status| status.starts_with("accord-near; hit")) {
            break;
        }
        ensure!(Instant::now() < end, "no read was answered near");
    }
    let put = HttpCall::new(fabric.gateway.listen, Method::PUT, PRODUCT).token(&token).json(&desk("Oak desk again"));
    ensure!(put.send().await?.status == 200);
    let changed = read(&fabric, &token, Some(&tag)).await?;
    assert_eq!((changed.status.as_u16(), changed.json()?["title"].as_str()), (200, Some("Oak desk again")));
    ensure!(changed.header("etag").is_some_and(|other| other != tag));
    fabric.stop().await
}
