//! Deadlines: the declared cap, and those that pass, whoever notices it first.

use crate::{
    reason,
    scripted_upstream::{ReceivedCall, Reply, ScriptedUpstream},
    wire::{GrpcCall, word},
};
use anyhow::{Context, Result};
use http::Method;
use std::time::Duration;
use tonic::{Code, Status};

#[tokio::test]
async fn deadline_exceeded_of_a_read_does_not_count_as_a_cache_failure() -> Result<()> {
    let echo = ScriptedUpstream::start().await?;
    let fabric = echo.behind()?.start().await?;
    for word in 0..20 {
        echo.script([Reply::unfinished()]);
        let slow = GrpcCall::new(&fabric, "Recall", &word.to_string()).header("grpc-timeout", "40m").send().await?;
        assert_eq!(slow.refusal(), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".into()));
    }
    echo.take_received();
    GrpcCall::new(&fabric, "Recall", "quick").send().await?.ok()?;
    assert!(fabric.gateway.metric("accord_gateway_cache_bypassed_total", &[]).await? < 1.0, "the cache was there");
    fabric.stop().await
}

#[tokio::test]
async fn expired_call_reaches_no_upstream() -> Result<()> {
    let echo = ScriptedUpstream::start().await?;
    let fabric = echo.behind()?.start().await?;
    for method in ["Say", "Change", "Repeat", "Race", "Recall", "Recite", "Converse"] {
        let late = GrpcCall::new(&fabric, method, "late").header("grpc-timeout", "1n").send().await?;
        assert_eq!(late.refusal(), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".into()), "{method}");
    }
    let late = fabric.get("/v1/words/late:recite").header("request-timeout", "0.000000001").send().await?;
    assert_eq!(late.status, 504);
    GrpcCall::new(&fabric, "Say", "in time").send().await?.ok()?;
    assert_eq!(echo.calls_received(), 1);
    fabric.stop().await
}

#[tokio::test]
async fn deadline_that_the_upstream_reports_first_is_deadline_exceeded_all_the_same() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let passed = (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".to_owned());
    let over = Status::new(Code::DeadlineExceeded, "as the upstream says it");
    let alone = || Reply::unfinished().status(&over).before_deadline(Duration::from_millis(5));
    for method in ["Say", "Change", "Recall", "Recite", "Converse"] {
        echo.script([alone()]);
        let answer = GrpcCall::new(&fabric, method, method).header("grpc-timeout", "300m").send().await?;
        assert_eq!(answer.refusal(), passed, "{method}");
    }
    // A stream that has begun can't take its head back: its last words are the same.
    echo.script([alone().message(&word("one"))]);
    let begun = GrpcCall::new(&fabric, "Recite", "begun").header("grpc-timeout", "300m").send().await?;
    assert_eq!((begun.refusal(), begun.body), (passed.clone(), word("one")));
    for path in ["/v1/words/json", "/v1/words/json:recite"] {
        echo.script([alone()]);
        let answer = fabric.get(path).header("request-timeout", "0.3").send().await?;
        assert_eq!((answer.status.as_u16(), reason(&answer)), (504, passed.1.clone()), "{path}: {}", answer.text());
    }
    fabric.stop().await
}

#[tokio::test]
async fn deadline_exceeded_of_a_handler_before_the_deadline_passes_unchanged() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    for (method, reply) in
        [("Say", Reply::unfinished()), ("Change", Reply::unfinished()), ("Recite", Reply::ok(&word("one")))]
    {
        echo.script([reply.status(&Status::new(Code::DeadlineExceeded, "the database took too long"))]);
        let status = GrpcCall::new(&fabric, method, "early").header("grpc-timeout", "20S").send().await?.status();
        assert_eq!(
            (status.code(), status.message()),
            (Code::DeadlineExceeded, "the database took too long"),
            "{method}"
        );
    }
    fabric.stop().await
}

/// The timeout that the upstream received.
fn timeout(received: &ReceivedCall) -> Result<Duration> {
    let value = received.headers.get("grpc-timeout").context("no deadline")?.to_str()?;
    Ok(Duration::from_micros(value.strip_suffix('u').context("another unit")?.parse()?))
}

#[tokio::test]
async fn deadline_sent_upstream_is_the_timeout_within_the_declared_cap() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::with_few_policies().await?;
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
    let (echo, fabric) = ScriptedUpstream::with_few_policies().await?;
    for method in ["Say", "Change"] {
        let answer = GrpcCall::new(&fabric, method, "over").header("grpc-timeout", "0n").send().await?;
        assert_eq!(answer.refusal(), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".into()), "{method}");
    }
    let call = fabric.call(Method::POST, "/v1/words/over:change").header("request-timeout", "0.0");
    assert_eq!(call.send().await?.status, 504);
    assert!(echo.take_received().is_empty());
    fabric.stop().await
}
