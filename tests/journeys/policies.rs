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

/// An upstream under an overlay that declares little.
async fn declared() -> Result<(ScriptedUpstream, Fabric)> {
    let echo = ScriptedUpstream::start().await?;
    let fabric = Fabric::builder()?.upstream("echo", echo.url()).overlay(OVERLAY).start().await?;
    Ok((echo, fabric))
}

#[tokio::test]
async fn method_without_declared_access_is_permission_denied() -> Result<()> {
    let (echo, fabric) = declared().await?;
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

/// The timeout that the upstream received.
fn timeout(received: &ReceivedCall) -> Result<Duration> {
    let value = received.headers.get("grpc-timeout").context("no deadline")?.to_str()?;
    Ok(Duration::from_micros(value.strip_suffix('u').context("another unit")?.parse()?))
}

#[tokio::test]
async fn deadline_sent_upstream_is_the_timeout_within_the_declared_cap() -> Result<()> {
    let (echo, fabric) = declared().await?;
    for method in ["Say", "Change"] {
        for (asked, longest) in [(None, 40), (Some("50S"), 50), (Some("90S"), 60)] {
            let call = GrpcCall::new(&fabric, method, "time");
            asked.into_iter().fold(call, |call, asked| call.header("grpc-timeout", asked)).send().await?.ok()?;
            let (sent, longest) = (timeout(&echo.take_received().remove(0))?, Duration::from_secs(longest));
            // Less than was given, and no more less than a busy machine makes it.
            assert!(sent < longest && longest < sent + Duration::from_secs(10), "{method} with {asked:?}: {sent:?}");
        }
    }
    fabric.stop().await
}

#[tokio::test]
async fn zero_timeout_is_deadline_exceeded_and_reaches_no_upstream() -> Result<()> {
    let (echo, fabric) = declared().await?;
    for method in ["Say", "Change"] {
        let answer = GrpcCall::new(&fabric, method, "over").header("grpc-timeout", "0n").send().await?;
        assert_eq!(answer.refusal(), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".into()), "{method}");
    }
    let call = fabric.call(Method::POST, "/v1/words/over:change").header("request-timeout", "0.0");
    assert_eq!(call.send().await?.status, 504);
    assert!(echo.take_received().is_empty());
    fabric.stop().await
}

#[tokio::test]
async fn method_path_answers_to_post_alone() -> Result<()> {
    let (echo, fabric) = declared().await?;
    // What a browser sends for an image in a page must never be a call.
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE] {
        let answer = fabric.call(method.clone(), "/echo.v1.EchoService/Change").send().await?;
        assert_eq!(answer.status, 404, "{method}: {}", answer.text());
    }
    assert!(echo.take_received().is_empty());
    GrpcCall::new(&fabric, "Change", "posted").send().await?.ok()?;
    assert_eq!(echo.take_received().remove(0).body, word("posted"));
    fabric.stop().await
}

#[tokio::test]
async fn broken_connection_is_retried_only_where_declared() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    // Whoever was called may have acted before the connection broke.
    echo.script([Reply::closes_connection()]);
    let broken = GrpcCall::new(&fabric, "Change", "once").send().await?;
    assert_eq!(broken.refusal(), (Code::Unavailable, "UPSTREAM_UNAVAILABLE".into()));
    assert_eq!(echo.take_received().len(), 1, "nothing says that it may be done twice");
    echo.script([Reply::closes_connection()]);
    assert_eq!(GrpcCall::new(&fabric, "Repeat", "twice").send().await?.ok()?, word("twice"));
    assert_eq!(echo.take_received().len(), 2, "its contract says that it may be done twice");
    fabric.stop().await
}

/// A word whose message has so many bytes: three of them are not text.
fn of_size(bytes: usize) -> String {
    "x".repeat(bytes - 3)
}

#[tokio::test]
async fn message_of_exactly_the_size_limit_passes() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    // Where bytes pass, where they are read, and where they may be sent again.
    for method in ["Say", "Change", "Repeat"] {
        let largest = GrpcCall::new(&fabric, method, &of_size(1000)).send().await?;
        assert_eq!(largest.ok()?, word(&of_size(1000)), "{method}");
        let request = GrpcCall::new(&fabric, method, &of_size(1001)).send().await?;
        assert_eq!(request.refusal().1, "REQUEST_TOO_LARGE", "{method}");
        echo.script([Reply::ok(&word(&of_size(1001)))]);
        let answer = GrpcCall::new(&fabric, method, "much").send().await?;
        assert_eq!(answer.refusal().1, "RESPONSE_TOO_LARGE", "{method}");
    }
    fabric.stop().await
}

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
