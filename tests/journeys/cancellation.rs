//! Cancelled calls, and what they have changed by then.

use crate::{
    scripted_upstream::{Reply, ScriptedUpstream},
    wire::{GrpcCall, word},
};
use accord_fabric::{Fabric, Part};
use anyhow::Result;
use std::sync::Arc;
use tokio::sync::Notify;
use tonic::Code;

#[tokio::test]
async fn call_that_outlives_its_caller_keeps_its_in_flight_slot() -> Result<()> {
    let echo = ScriptedUpstream::start().await?;
    let two = toml::toml! { limits = { max_in_flight = 2, max_share = 99 } };
    let mut fabric = echo.behind()?.settings(Part::Gateway, two).start().await?;
    let barriers = [(); 2].map(|()| Arc::new(Notify::new()));
    for (index, barrier) in barriers.iter().enumerate() {
        echo.script([Reply::ok(&word("kept")).after(barrier)]);
        let call = GrpcCall::new(&fabric, "Keep", "kept").key(&format!("key-{index}"));
        call.leave_after(echo.wait_received(index + 1)).await?;
    }
    let third = GrpcCall::new(&fabric, "Say", "three").send().await?;
    assert_eq!(third.refusal(), (Code::ResourceExhausted, "OVERLOADED".into()));
    for barrier in &barriers {
        barrier.notify_one();
    }
    fabric.gateway.await_metric("accord_gateway_calls_active", &[], |active| active < 1.0).await?;
    GrpcCall::new(&fabric, "Say", "three").send().await?.ok()?;
    fabric.stop().await
}

#[tokio::test]
async fn cancelled_call_is_cancelled_at_the_upstream() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let replies = [Reply::unfinished(), Reply::unfinished().message(&word("one"))];
    for method in ["Say", "Change", "Recite", "Converse"] {
        for reply in replies.clone() {
            let (received, cancelled) = (echo.calls_received(), echo.calls_cancelled());
            echo.script([reply]);
            GrpcCall::new(&fabric, method, "bye").leave_after(echo.wait_received(received + 1)).await?;
            echo.wait_cancelled(cancelled + 1).await?;
        }
    }
    for reply in replies {
        let (received, cancelled) = (echo.calls_received(), echo.calls_cancelled());
        echo.script([reply]);
        tokio::select! {
            answer = fabric.get("/v1/words/bye:recite").send() => anyhow::bail!("{answer:?}"),
            came = echo.wait_received(received + 1) => came?,
        }
        echo.wait_cancelled(cancelled + 1).await?;
    }
    fabric.stop().await
}

/// Whether a read goes to the upstream, since nothing valid is cached.
async fn is_invalidated(echo: &ScriptedUpstream, fabric: &Fabric, text: &str) -> Result<bool> {
    let before = echo.calls_received();
    GrpcCall::new(fabric, "Recall", text).send().await?.ok()?;
    Ok(echo.calls_received() > before)
}

#[tokio::test]
async fn mutation_that_may_have_committed_invalidates() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let cases = [
        (Code::Unavailable, true),
        (Code::DeadlineExceeded, true),
        (Code::Internal, true),
        (Code::Unknown, true),
        (Code::Cancelled, true),
        (Code::NotFound, false),
        (Code::InvalidArgument, false),
    ];
    assert!(is_invalidated(&echo, &fabric, "fact").await?);
    for (code, anew) in cases {
        assert!(!is_invalidated(&echo, &fabric, "fact").await?, "it is cached");
        echo.script([Reply::error(code)]);
        assert_eq!(GrpcCall::new(&fabric, "Change", "fact").send().await?.code(), code);
        assert_eq!(is_invalidated(&echo, &fabric, "fact").await?, anew, "{code:?}");
    }
    // A response that can't be passed on was carried out all the same.
    let unusable = [Reply::ok(&word(&"long ".repeat(300))), Reply::ok(&word("short").slice(..3))];
    for reply in unusable {
        assert!(!is_invalidated(&echo, &fabric, "fact").await?, "it is cached");
        echo.script([reply.clone()]);
        let refusal = GrpcCall::new(&fabric, "Change", "fact").send().await?.refusal();
        assert!(is_invalidated(&echo, &fabric, "fact").await?, "{refusal:?}");
        let received = echo.calls_received();
        echo.script([reply]);
        let keep = || GrpcCall::new(&fabric, "Keep", "fact").key(&refusal.1).send();
        assert_eq!((keep().await?.refusal(), keep().await?.refusal()), (refusal.clone(), refusal));
        assert_eq!(echo.calls_received(), received + 1, "done once");
        assert!(is_invalidated(&echo, &fabric, "fact").await?);
    }
    fabric.stop().await
}

#[tokio::test]
async fn cancelled_mutation_invalidates() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    assert!(is_invalidated(&echo, &fabric, "fact").await?);
    assert!(!is_invalidated(&echo, &fabric, "fact").await?, "it is cached");
    let (received, cancelled) = (echo.calls_received(), echo.calls_cancelled());
    echo.script([Reply::unfinished()]);
    GrpcCall::new(&fabric, "Change", "fact").leave_after(echo.wait_received(received + 1)).await?;
    echo.wait_cancelled(cancelled + 1).await?;
    // Nothing says when the invalidation has arrived; reading again until then is what a reader would see.
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while !is_invalidated(&echo, &fabric, "fact").await? {
        assert!(tokio::time::Instant::now() < end, "the old word stays");
    }
    fabric.stop().await
}

#[tokio::test]
async fn cancelled_call_under_an_idempotency_key_completes_and_is_replayed() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let (received, cancelled) = (echo.calls_received(), echo.calls_cancelled());
    let barrier = Arc::new(Notify::new());
    echo.script([Reply::ok(&word("kept")).after(&barrier)]);
    let call = GrpcCall::new(&fabric, "Keep", "promise").key("promise");
    call.clone().leave_after(echo.wait_received(received + 1)).await?;
    barrier.notify_one();
    let answer = loop {
        let answer = call.clone().send().await?;
        if answer.refusal().1 != "IDEMPOTENCY_IN_FLIGHT" {
            break answer;
        }
    };
    assert_eq!(answer.head["idempotency-replayed"], "true");
    assert_eq!(answer.ok()?, word("kept"));
    assert_eq!((echo.calls_received(), echo.calls_cancelled()), (received + 1, cancelled));
    fabric.stop().await
}
