//! Declared policies hold, undeclared methods are denied.

use crate::{
    create, reason,
    scripted_upstream::{ReceivedCall, Reply, ScriptedUpstream},
    wire::{GrpcCall, word},
};
use accord_api::catalog::v1::WatchProductsRequest;
use accord_fabric::{EDITOR, Fabric, Part};
use anyhow::{Context, Result, ensure};
use http::Method;
use std::time::Duration;
use tokio::time::Instant;
use tonic::Code;

const OVERLAY: &str = "tests/journeys/policies.toml";

#[tokio::test]
async fn declared_policies_hold_and_undeclared_methods_are_denied() -> Result<()> {
    let echo = ScriptedUpstream::start().await?;
    let fabric = Fabric::builder()?.upstream("echo", echo.url()).overlay(OVERLAY).start().await?;
    a_method_that_nobody_opened_is_closed(&echo, &fabric).await?;
    a_call_has_the_time_that_its_contract_gives_it(&echo, &fabric).await?;
    a_call_that_is_over_reaches_nobody(&echo, &fabric).await?;
    only_a_post_reaches_a_method_on_its_own_path(&echo, &fabric).await?;
    fabric.stop().await
}

async fn a_method_that_nobody_opened_is_closed(echo: &ScriptedUpstream, fabric: &Fabric) -> Result<()> {
    let token = fabric.token(EDITOR).await?;
    for method in ["Repeat", "Recite", "Converse"] {
        let call = GrpcCall::new(fabric, method, "closed");
        assert_eq!(call.clone().send().await?.refusal().0, Code::Unauthenticated, "{method}");
        let known = call.header("authorization", &format!("Bearer {token}")).send().await?;
        assert_eq!(known.refusal(), (Code::PermissionDenied, "METHOD_UNDECLARED".into()), "{method}");
    }
    let call = fabric.call(Method::POST, "/echo.v1.EchoService/Repeat").token(&token);
    let known = call.body("application/json", "{}").send().await?;
    assert_eq!((known.status.as_u16(), reason(&known).as_str()), (403, "METHOD_UNDECLARED"));
    assert_eq!(echo.calls_received(), 0);
    Ok(())
}

/// What the upstream was told that is left.
fn told(heard: &ReceivedCall) -> Result<Duration> {
    let value = heard.headers.get("grpc-timeout").context("no deadline")?.to_str()?;
    Ok(Duration::from_micros(value.strip_suffix('u').context("another unit")?.parse()?))
}

async fn a_call_has_the_time_that_its_contract_gives_it(echo: &ScriptedUpstream, fabric: &Fabric) -> Result<()> {
    for method in ["Say", "Change"] {
        for (wish, longest) in [(None, 40), (Some("50S"), 50), (Some("90S"), 60)] {
            let call = GrpcCall::new(fabric, method, "time");
            wish.into_iter().fold(call, |call, wish| call.header("grpc-timeout", wish)).send().await?.ok()?;
            let (told, longest) = (told(&echo.take_received().remove(0))?, Duration::from_secs(longest));
            // Less than was given, and no more less than a busy machine makes it.
            assert!(told < longest && longest < told + Duration::from_secs(10), "{method} with {wish:?}: {told:?}");
        }
    }
    Ok(())
}

async fn a_call_that_is_over_reaches_nobody(echo: &ScriptedUpstream, fabric: &Fabric) -> Result<()> {
    for method in ["Say", "Change"] {
        let answer = GrpcCall::new(fabric, method, "over").header("grpc-timeout", "0n").send().await?;
        assert_eq!(answer.refusal(), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".into()), "{method}");
    }
    let call = fabric.call(Method::POST, "/v1/words/over:change").header("request-timeout", "0.0");
    assert_eq!(call.send().await?.status, 504);
    assert!(echo.take_received().is_empty());
    Ok(())
}

async fn only_a_post_reaches_a_method_on_its_own_path(echo: &ScriptedUpstream, fabric: &Fabric) -> Result<()> {
    // What a browser sends for an image in a page must never be a call.
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE] {
        let answer = fabric.call(method.clone(), "/echo.v1.EchoService/Change").send().await?;
        assert_eq!(answer.status, 404, "{method}: {}", answer.text());
    }
    assert!(echo.take_received().is_empty());
    GrpcCall::new(fabric, "Change", "posted").send().await?.ok()?;
    assert_eq!(echo.take_received().remove(0).body, word("posted"));
    Ok(())
}

#[tokio::test]
async fn undeclared_retry_is_not_made_and_size_limits_are_exact() -> Result<()> {
    let echo = ScriptedUpstream::start().await?;
    let fabric = echo.behind()?.start().await?;
    what_may_have_been_done_is_not_done_again(&echo, &fabric).await?;
    a_bound_is_the_largest_that_passes(&echo, &fabric).await?;
    fabric.stop().await
}

async fn what_may_have_been_done_is_not_done_again(echo: &ScriptedUpstream, fabric: &Fabric) -> Result<()> {
    // Whoever was called may have acted before the connection broke.
    echo.script([Reply::closes_connection()]);
    let broken = GrpcCall::new(fabric, "Change", "once").send().await?;
    assert_eq!(broken.refusal(), (Code::Unavailable, "UPSTREAM_UNAVAILABLE".into()));
    assert_eq!(echo.take_received().len(), 1, "nothing says that it may be done twice");
    echo.script([Reply::closes_connection()]);
    assert_eq!(GrpcCall::new(fabric, "Repeat", "twice").send().await?.ok()?, word("twice"));
    assert_eq!(echo.take_received().len(), 2, "its contract says that it may be done twice");
    Ok(())
}

/// A word whose message has so many bytes: three of them are not text.
fn of_size(bytes: usize) -> String {
    "x".repeat(bytes - 3)
}

async fn a_bound_is_the_largest_that_passes(echo: &ScriptedUpstream, fabric: &Fabric) -> Result<()> {
    // Where bytes pass, where they are read, and where they may be sent again.
    for method in ["Say", "Change", "Repeat"] {
        let largest = GrpcCall::new(fabric, method, &of_size(1000)).send().await?;
        assert_eq!(largest.ok()?, word(&of_size(1000)), "{method}");
        let request = GrpcCall::new(fabric, method, &of_size(1001)).send().await?;
        assert_eq!(request.refusal().1, "REQUEST_TOO_LARGE", "{method}");
        echo.script([Reply::ok(&word(&of_size(1001)))]);
        let answer = GrpcCall::new(fabric, method, "much").send().await?;
        assert_eq!(answer.refusal().1, "RESPONSE_TOO_LARGE", "{method}");
    }
    Ok(())
}

#[tokio::test]
async fn in_flight_slot_is_held_until_the_last_byte_of_the_response() -> Result<()> {
    let one_seat = toml::toml! { limits = { max_in_flight = 1 } };
    let fabric = Fabric::builder()?.settings(Part::Gateway, one_seat).start().await?;
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
        ensure!(Instant::now() < end, "the seat was never given back");
    }
    fabric.stop().await
}
