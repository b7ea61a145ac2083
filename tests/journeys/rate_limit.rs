//! Rate limits: by tenant, principal, address and method.

use crate::{create, reason};
use accord_api::catalog::v1::GetProductRequest;
use accord_fabric::{EDITOR, Fabric, READER};
use anyhow::Result;
use std::net::{IpAddr, Ipv4Addr};

/// Two addresses of this machine.
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

#[tokio::test]
async fn rate_limit_by_tenant_is_shared_within_the_tenant_alone() -> Result<()> {
    let fabric = Fabric::builder()?.overlay("tests/journeys/tenants.toml").start().await?;
    for (name, tenant) in [("nora", "north"), ("nils", "north"), ("sara", "south")] {
        fabric.manage(&["principal", "add", name, "--tenant", tenant, "--role", "catalog-reader"]).await?;
    }
    let read = async |name| {
        let token = fabric.token(name).await?;
        fabric.get("/v1/products").token(&token).send().await
    };
    let first = read("nora").await?;
    assert_eq!((first.status.as_u16(), first.header("ratelimit")), (200, Some("\"tenant\";r=0")));
    let second = read("nils").await?;
    assert_eq!((second.status.as_u16(), reason(&second).as_str()), (429, "RATE_LIMITED"));
    assert_eq!(read("sara").await?.status, 200);
    fabric.stop().await
}

#[tokio::test]
async fn rate_limited_call_is_resource_exhausted_with_retry_after() -> Result<()> {
    let fabric = Fabric::builder()?.overlay("tests/journeys/rate_limit.toml").start().await?;
    create(&fabric, "Oak desk").await?;
    let (reader, editor) = (fabric.token(READER).await?, fabric.token(EDITOR).await?);
    let read = |token| fabric.get("/v1/products/oak-desk").token(token).send();
    let first = read(&reader).await?;
    assert_eq!(first.header("ratelimit-policy"), Some("\"principal\";q=2;w=3600"));
    assert_eq!(first.header("ratelimit"), Some("\"principal\";r=1"));
    assert_eq!(read(&reader).await?.status, 200);

    let refused = read(&reader).await?;
    assert_eq!((refused.status.as_u16(), reason(&refused).as_str()), (429, "RATE_LIMITED"));
    let seconds: u64 = refused.header("retry-after").unwrap().parse()?;
    assert!((1..=1800).contains(&seconds), "{seconds}");
    assert_eq!(read(&editor).await?.status, 200, "each principal has a rate of its own");
    fabric.stop().await
}

#[tokio::test]
async fn rate_limit_is_told_in_headers_of_http_and_not_in_metadata_of_grpc() -> Result<()> {
    let fabric = Fabric::builder()?.overlay("tests/journeys/rate_limit.toml").start().await?;
    create(&fabric, "Oak desk").await?;
    let token = fabric.token(READER).await?;
    let answer = fabric.get("/v1/products/oak-desk").token(&token).send().await?;
    assert_eq!(answer.header("ratelimit"), Some("\"principal\";r=1"));

    let read = async || {
        let request = GetProductRequest { id: "oak-desk".into() };
        fabric.products(&token)?.get_product(request).await.map_or_else(
            |refused| anyhow::Ok(refused.metadata().clone()),
            |answer| anyhow::Ok(answer.metadata().clone()),
        )
    };
    let (answered, refused) = (read().await?, read().await?);
    assert!(!answered.contains_key("x-accord-fault") && refused.contains_key("x-accord-fault"));
    for metadata in [answered, refused] {
        assert!(!metadata.contains_key("ratelimit") && !metadata.contains_key("ratelimit-policy"), "{metadata:?}");
    }
    fabric.stop().await
}

/// A call of this path from this address, by whoever holds the token.
async fn limited(fabric: &Fabric, path: &str, token: &str, from: IpAddr) -> Result<(u16, String)> {
    let answer = fabric.get(path).token(token).from(from).send().await?;
    Ok((answer.status.as_u16(), reason(&answer)))
}

#[tokio::test]
async fn rate_limit_by_address_is_shared_by_principals_of_an_address_alone() -> Result<()> {
    let fabric = Fabric::builder()?.overlay("tests/journeys/rate_limit_keys.toml").start().await?;
    create(&fabric, "Oak desk").await?;
    let (reader, editor) = (fabric.token(READER).await?, fabric.token(EDITOR).await?);
    let read = |token, from| limited(&fabric, "/v1/products/oak-desk", token, from);
    assert_eq!(read(&reader, HERE).await?.0, 200);
    assert_eq!(read(&editor, HERE).await?.0, 200);
    assert_eq!(read(&editor, HERE).await?, (429, "RATE_LIMITED".to_owned()));
    assert_eq!(read(&editor, ELSEWHERE).await?.0, 200, "another address has a rate of its own");
    fabric.stop().await
}

#[tokio::test]
async fn rate_limit_by_method_is_shared_by_all_callers_of_the_method_alone() -> Result<()> {
    let fabric = Fabric::builder()?.overlay("tests/journeys/rate_limit_keys.toml").start().await?;
    create(&fabric, "Oak desk").await?;
    let (reader, editor) = (fabric.token(READER).await?, fabric.token(EDITOR).await?);
    let list = |token, from| limited(&fabric, "/v1/products", token, from);
    assert_eq!(list(&reader, HERE).await?.0, 200);
    assert_eq!(list(&editor, ELSEWHERE).await?.0, 200);
    assert_eq!(list(&editor, HERE).await?, (429, "RATE_LIMITED".to_owned()));
    let read = limited(&fabric, "/v1/products/oak-desk", &editor, HERE).await?;
    assert_eq!(read.0, 200, "another method has a rate of its own");
    fabric.stop().await
}
