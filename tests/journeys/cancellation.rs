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
async fn cancelled_call_is_cancelled_upstream_and_its_changes_are_invalidated() -> Result<()> {
    let echo = ScriptedUpstream::start().await?;
    let fabric = echo.behind()?.start().await?;
    who_leaves_is_gone_at_the_upstream(&echo, &fabric).await?;
    what_may_have_changed_is_read_anew(&echo, &fabric).await?;
    a_mutation_whose_caller_left_may_have_changed_something(&echo, &fabric).await?;
    under_a_key_the_answer_is_kept_for_who_comes_back(&echo, &fabric).await?;
    fabric.stop().await
}

#[tokio::test]
async fn call_that_outlives_its_caller_keeps_its_in_flight_slot() -> Result<()> {
    let echo = ScriptedUpstream::start().await?;
    let two = toml::toml! { limits = { max_in_flight = 2 } };
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

async fn who_leaves_is_gone_at_the_upstream(echo: &ScriptedUpstream, fabric: &Fabric) -> Result<()> {
    let lines = [Reply::unfinished(), Reply::unfinished().message(&word("one"))];
    for method in ["Say", "Change", "Recite", "Converse"] {
        for line in lines.clone() {
            let (heard, left) = (echo.calls_received(), echo.calls_cancelled());
            echo.script([line]);
            GrpcCall::new(fabric, method, "bye").leave_after(echo.wait_received(heard + 1)).await?;
            echo.wait_cancelled(left + 1).await?;
        }
    }
    for line in lines {
        let (heard, left) = (echo.calls_received(), echo.calls_cancelled());
        echo.script([line]);
        tokio::select! {
            answer = fabric.get("/v1/words/bye:recite").send() => anyhow::bail!("{answer:?}"),
            came = echo.wait_received(heard + 1) => came?,
        }
        echo.wait_cancelled(left + 1).await?;
    }
    echo.take_received();
    Ok(())
}

/// Whether a read that was cached goes to the upstream again.
async fn is_read_anew(echo: &ScriptedUpstream, fabric: &Fabric, text: &str) -> Result<bool> {
    let before = echo.calls_received();
    GrpcCall::new(fabric, "Recall", text).send().await?.ok()?;
    Ok(echo.calls_received() > before)
}

async fn what_may_have_changed_is_read_anew(echo: &ScriptedUpstream, fabric: &Fabric) -> Result<()> {
    let cases = [
        (Code::Unavailable, true),
        (Code::DeadlineExceeded, true),
        (Code::Internal, true),
        (Code::Unknown, true),
        (Code::Cancelled, true),
        (Code::NotFound, false),
        (Code::InvalidArgument, false),
    ];
    assert!(is_read_anew(echo, fabric, "fact").await?);
    for (code, anew) in cases {
        assert!(!is_read_anew(echo, fabric, "fact").await?, "it is cached");
        echo.script([Reply::error(code)]);
        assert_eq!(GrpcCall::new(fabric, "Change", "fact").send().await?.code(), code);
        assert_eq!(is_read_anew(echo, fabric, "fact").await?, anew, "{code:?}");
    }
    // What can't be told on has been done all the same.
    let unusable = [Reply::ok(&word(&"long ".repeat(300))), Reply::ok(&word("short").slice(..3))];
    for line in unusable {
        assert!(!is_read_anew(echo, fabric, "fact").await?, "it is cached");
        echo.script([line.clone()]);
        let told = GrpcCall::new(fabric, "Change", "fact").send().await?.refusal();
        assert!(is_read_anew(echo, fabric, "fact").await?, "{told:?}");
        let heard = echo.calls_received();
        echo.script([line]);
        let keep = || GrpcCall::new(fabric, "Keep", "fact").key(&told.1).send();
        assert_eq!((keep().await?.refusal(), keep().await?.refusal()), (told.clone(), told));
        assert_eq!(echo.calls_received(), heard + 1, "done once");
        assert!(is_read_anew(echo, fabric, "fact").await?);
    }
    Ok(())
}

async fn a_mutation_whose_caller_left_may_have_changed_something(
    echo: &ScriptedUpstream,
    fabric: &Fabric,
) -> Result<()> {
    assert!(!is_read_anew(echo, fabric, "fact").await?, "it is cached");
    let (heard, left) = (echo.calls_received(), echo.calls_cancelled());
    echo.script([Reply::unfinished()]);
    GrpcCall::new(fabric, "Change", "fact").leave_after(echo.wait_received(heard + 1)).await?;
    echo.wait_cancelled(left + 1).await?;
    // Nobody is told when the invalidation has arrived; asking again until then is what a reader would see.
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while !is_read_anew(echo, fabric, "fact").await? {
        assert!(tokio::time::Instant::now() < end, "the old word stays");
    }
    Ok(())
}

async fn under_a_key_the_answer_is_kept_for_who_comes_back(echo: &ScriptedUpstream, fabric: &Fabric) -> Result<()> {
    let (heard, left) = (echo.calls_received(), echo.calls_cancelled());
    let barrier = Arc::new(Notify::new());
    echo.script([Reply::ok(&word("kept")).after(&barrier)]);
    let call = GrpcCall::new(fabric, "Keep", "promise").key("promise");
    call.clone().leave_after(echo.wait_received(heard + 1)).await?;
    barrier.notify_one();
    let answer = loop {
        let answer = call.clone().send().await?;
        if answer.refusal().1 != "IDEMPOTENCY_IN_FLIGHT" {
            break answer;
        }
    };
    assert_eq!(answer.head["idempotency-replayed"], "true");
    assert_eq!(answer.ok()?, word("kept"));
    assert_eq!((echo.calls_received(), echo.calls_cancelled()), (heard + 1, left));
    Ok(())
}
