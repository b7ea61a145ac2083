//! Rate limits: by tenant, principal, address and method.

use crate::{create, reason};
use accord_api::catalog::v1::GetProductRequest;
use accord_fabric::{EDITOR, Fabric, Part, READER, http::HttpResponse};
use anyhow::Result;
use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};
use tokio::time::Instant;

/// How old the knowledge about revocations may be.
const BOUND: Duration = Duration::from_secs(5);

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
    assert_eq!(refused.header("ratelimit-policy"), Some("\"principal\";q=2;w=3600"));
    assert_eq!(refused.header("ratelimit"), Some(&*format!("\"principal\";r=0;t={seconds}")));
    assert_eq!(read(&editor).await?.status, 200, "each principal has a rate of its own");
    fabric.stop().await
}

#[tokio::test]
async fn rate_limit_is_told_with_a_refusal_of_a_call_that_was_counted() -> Result<()> {
    let fabric = Fabric::builder()?.overlay("tests/journeys/rate_limit.toml").start().await?;
    let token = fabric.token(READER).await?;
    let refused = fabric.get("/v1/products/oak-desk?sice=large").token(&token).send().await?;
    assert_eq!((refused.status.as_u16(), reason(&refused).as_str()), (400, "FIELD_UNKNOWN"));
    assert_eq!(refused.header("ratelimit-policy"), Some("\"principal\";q=2;w=3600"));
    assert_eq!(refused.header("ratelimit"), Some("\"principal\";r=1"));
    let unpaid = fabric.get("/v1/products/oak-desk").send().await?;
    assert_eq!((unpaid.status.as_u16(), unpaid.header("ratelimit")), (401, None), "it was not counted");
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
async fn rate_limit_by_address_counts_a_network_of_ipv6_as_one() -> Result<()> {
    let builder = Fabric::builder()?.overlay("tests/journeys/rate_limit_keys.toml");
    let fabric = builder.settings(Part::Gateway, toml::toml! { forwarding.trusted_hops = 1 }).start().await?;
    create(&fabric, "Oak desk").await?;
    let token = fabric.token(READER).await?;
    let read = async |from: &str| {
        let call = fabric.get("/v1/products/oak-desk").token(&token).header("x-forwarded-for", from);
        anyhow::Ok(call.send().await?.status.as_u16())
    };
    assert_eq!((read("2001:db8::1").await?, read("2001:db8::2").await?), (200, 200));
    assert_eq!(read("2001:db8::3").await?, 429);
    assert_eq!(read("2001:db8:0:1::1").await?, 200, "another network has a rate of its own");
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

#[tokio::test]
async fn rate_limit_of_a_plan_holds_for_those_who_have_its_role() -> Result<()> {
    let fabric = Fabric::builder()?.overlay("tests/journeys/rate_limit_plans.toml").start().await?;
    create(&fabric, "Oak desk").await?;
    let (reader, editor) = (fabric.token(READER).await?, fabric.token(EDITOR).await?);
    fabric.manage(&["principal", "add", "midas", "--role", "catalog-reader", "--role", "gold"]).await?;
    let midas = fabric.token("midas").await?;
    let read = |token| fabric.get("/v1/products/oak-desk").token(token).send();
    let told = |answer: &HttpResponse| (answer.header("ratelimit-policy").map(str::to_owned), answer.status.as_u16());
    let plain = Some("\"principal\";q=1;w=3600".to_owned());
    let gold = Some("\"principal\";q=3;w=3600".to_owned());

    assert_eq!(told(&read(&reader).await?), (plain.clone(), 200));
    assert_eq!(told(&read(&reader).await?), (plain.clone(), 429));
    for left in ["r=2", "r=1", "r=0"] {
        let answer = read(&midas).await?;
        assert_eq!(told(&answer), (gold.clone(), 200));
        assert!(answer.header("ratelimit").is_some_and(|told| told.ends_with(left)), "{left}");
    }
    let refused = read(&midas).await?;
    assert_eq!(told(&refused), (gold, 429));
    assert!(
        refused.text().contains("3 requests in 3600s for each principal with the role `gold`"),
        "{}",
        refused.text()
    );
    assert_eq!(told(&read(&editor).await?), (plain, 200));
    fabric.stop().await
}

#[tokio::test]
async fn changed_role_changes_the_plan_with_the_next_token_and_ends_the_last_one_within_the_bound() -> Result<()> {
    let builder = Fabric::builder()?.overlay("tests/journeys/rate_limit_plans.toml");
    let fabric = builder.staleness_bound(BOUND).start().await?;
    create(&fabric, "Oak desk").await?;
    let before = fabric.token(READER).await?;
    let read = |token| fabric.get("/v1/products/oak-desk").token(token).send();
    assert_eq!(read(&before).await?.header("ratelimit-policy"), Some("\"principal\";q=1;w=3600"));
    fabric.manage(&["role", "grant", READER, "gold"]).await?;

    let bound = Instant::now() + BOUND;
    let after = fabric.token(READER).await?;
    let answer = read(&after).await?;
    let policy = Some("\"principal\";q=3;w=3600");
    assert_eq!((answer.status.as_u16(), answer.header("ratelimit-policy")), (200, policy));
    while read(&before).await?.status != 401 {
        assert!(Instant::now() < bound, "the token with the roles of before is still good");
    }
    fabric.stop().await
}
