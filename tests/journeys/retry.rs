//! Retries, pushback, broken connections and the retry budget.

use crate::{
    scripted_upstream::{ReceivedCall, Reply, ScriptedUpstream, told_timeout},
    wire::{GrpcCall, GrpcResponse, word},
};
use accord_fabric::{Fabric, Port};
use anyhow::Result;
use bytes::Bytes;
use http::StatusCode;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Notify;
use tonic::{Code, Status};

/// What each attempt said of those before it.
fn previous(received: &[ReceivedCall]) -> Vec<Option<&str>> {
    let name = "grpc-previous-rpc-attempts";
    received.iter().map(|call| call.headers.get(name).and_then(|value| value.to_str().ok())).collect()
}

fn call(fabric: &Fabric, method: &str) -> GrpcCall {
    GrpcCall::new(fabric, method, "again")
}

fn unavailable() -> Reply {
    Reply::error(Code::Unavailable)
}

#[tokio::test]
async fn retry_counts_the_attempts_before_it() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    echo.script([unavailable(), unavailable()]);
    assert_eq!(call(&fabric, "Repeat").send().await?.ok()?, word("again"));
    assert_eq!(previous(&echo.take_received()), [None, Some("1"), Some("2")]);
    fabric.stop().await
}

/// An error in the trailers of an answer that has begun, after this much of a message.
fn trailing(message: &Bytes) -> Reply {
    Reply::unfinished().message(message).status(&Status::unavailable("as written"))
}

#[tokio::test]
async fn error_in_the_trailers_is_retried_like_one_in_the_head() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    for method in ["Repeat", "Chase"] {
        for message in [Bytes::new(), word("half").slice(..7), word("whole")] {
            echo.script([trailing(&message), trailing(&message)]);
            let answer = call(&fabric, method).send().await?;
            assert_eq!(answer.ok()?, word("again"), "{method} {message:?}");
            assert_eq!(previous(&echo.take_received()), [None, Some("1"), Some("2")], "{method} {message:?}");
        }
    }
    fabric.stop().await
}

#[tokio::test]
async fn error_in_the_trailers_of_a_stream_is_passed_on() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    for message in [Bytes::new(), word("first")] {
        echo.script([trailing(&message)]);
        assert_eq!(call(&fabric, "Recite").send().await?.code(), Code::Unavailable, "{message:?}");
        assert_eq!(echo.take_received().len(), 1, "{message:?}");
    }
    fabric.stop().await
}

#[tokio::test]
async fn retry_stops_at_max_attempts() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    echo.script([unavailable(), unavailable(), unavailable()]);
    assert_eq!(call(&fabric, "Repeat").send().await?.code(), Code::Unavailable);
    assert_eq!(echo.take_received().len(), 3);
    fabric.stop().await
}

#[tokio::test]
async fn attempt_that_takes_too_long_is_cancelled_and_retried() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let never = Arc::new(Notify::new());
    echo.script([0, 1].map(|_| Reply::ok(&word("late")).after(&never)));
    assert_eq!(call(&fabric, "Hurry").send().await?.ok()?, word("again"));
    let received = echo.take_received();
    assert_eq!(previous(&received), [None, Some("1"), Some("2")]);
    // The last one has all the time of the call.
    let times: Vec<_> = received.iter().map(|call| told_timeout(&call.headers["grpc-timeout"])).collect();
    let attempt = Some(Duration::from_millis(500));
    assert!(times[0] <= attempt && times[1] <= attempt && times[2] > attempt, "{times:?}");
    echo.wait_cancelled(2).await?;
    fabric.stop().await
}

#[tokio::test]
async fn retry_is_not_attempted_after_a_code_that_is_not_declared() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    echo.script([Reply::error(Code::Internal)]);
    assert_eq!(call(&fabric, "Repeat").send().await?.code(), Code::Internal);
    assert_eq!(echo.take_received().len(), 1);
    fabric.stop().await
}

#[tokio::test]
async fn retry_is_not_attempted_where_the_caller_retries() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    echo.script([unavailable()]);
    let retried = call(&fabric, "Repeat").header("grpc-previous-rpc-attempts", "1").send().await?;
    assert_eq!(retried.code(), Code::Unavailable);
    assert_eq!(previous(&echo.take_received()), [Some("1")]);
    fabric.stop().await
}

#[tokio::test]
async fn mutation_is_retried_only_under_an_idempotency_key() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    echo.script([unavailable()]);
    assert_eq!(call(&fabric, "Keep").send().await?.code(), Code::Unavailable);
    assert_eq!(echo.take_received().len(), 1, "without a key");
    echo.script([unavailable()]);
    assert_eq!(call(&fabric, "Keep").key("one").send().await?.ok()?, word("again"));
    assert_eq!(echo.take_received().len(), 2, "under a key");
    fabric.stop().await
}

#[tokio::test]
async fn unsent_request_goes_to_another_endpoint() -> Result<()> {
    let echo = ScriptedUpstream::start().await?;
    let reserved = Port::reserve()?;
    let away = reserved.address();
    let fabric = echo.behind()?.upstream("echo", &format!("http://{away}")).start().await?;
    let end = Instant::now() + Duration::from_secs(8);
    let unreached = [("upstream", "echo"), ("response_headers_received", "false")];
    // However often the one that is away is tried again, nobody notices.
    while fabric.gateway.metric("accord_upstream_attempts_total", &unreached).await? < 3.0 {
        assert!(Instant::now() < end, "nobody ever tries the one that is away");
        for method in ["Say", "Change", "Repeat", "Recite", "Converse"] {
            assert_eq!(GrpcCall::new(&fabric, method, "there").send().await?.ok()?, word("there"), "{method}");
        }
    }
    fabric.stop().await
}

#[tokio::test]
async fn refused_stream_is_sent_once_more() -> Result<()> {
    let echo = ScriptedUpstream::start().await?;
    let fabric = echo.behind()?.start().await?;
    echo.script([Reply::refuses_stream()]);
    let changed = GrpcCall::new(&fabric, "Change", "unseen").send().await?;
    assert_eq!(changed.ok()?, word("unseen"), "the service has not seen it, so nothing is done twice");
    assert_eq!(previous(&echo.take_received()), [None, None], "that is no attempt");
    echo.script([Reply::refuses_stream(), Reply::refuses_stream()]);
    let refused = GrpcCall::new(&fabric, "Change", "unseen").send().await?;
    assert_eq!(refused.refusal(), (Code::Unavailable, "UPSTREAM_UNAVAILABLE".into()));
    assert_eq!(echo.take_received().len(), 2, "once more, and not for ever");
    fabric.stop().await
}

#[tokio::test]
async fn pushback_delays_or_forbids_the_retry() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    for method in ["Repeat", "Chase"] {
        echo.script([Reply::error(Code::Unavailable)]);
        GrpcCall::new(&fabric, method, "again").send().await?.ok()?;
        assert_eq!(echo.take_received().len(), 2, "{method}");
        echo.script([Reply::error(Code::Unavailable).trailer("grpc-retry-pushback-ms", "-1")]);
        assert_eq!(GrpcCall::new(&fabric, method, "never").send().await?.code(), Code::Unavailable);
        assert_eq!(echo.take_received().len(), 1, "{method}");
    }
    echo.script([Reply::error(Code::Unavailable).trailer("grpc-retry-pushback-ms", "300")]);
    let begun = Instant::now();
    GrpcCall::new(&fabric, "Repeat", "later").send().await?.ok()?;
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
    assert_eq!(echo.take_received().len(), 2);
    fabric.stop().await
}

#[tokio::test]
async fn retry_is_not_attempted_where_its_pushback_passes_the_deadline() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    echo.script([Reply::error(Code::Unavailable).trailer("grpc-retry-pushback-ms", "5000")]);
    let begun = Instant::now();
    let answer = GrpcCall::new(&fabric, "Repeat", "late").header("grpc-timeout", "2S").send().await?;
    assert_eq!(answer.code(), Code::Unavailable, "what there is, and at once");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(echo.take_received().len(), 1);
    fabric.stop().await
}

#[tokio::test]
async fn hedged_attempt_starts_beside_a_slow_one_and_cancels_it() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let cancelled = echo.calls_cancelled();
    echo.script([Reply::unfinished()]);
    assert_eq!(GrpcCall::new(&fabric, "Race", "swift").send().await?.ok()?, word("swift"));
    assert_eq!(previous(&echo.take_received()), [None, Some("1")]);
    echo.wait_cancelled(cancelled + 1).await?;
    fabric.stop().await
}

#[tokio::test]
async fn retries_stop_when_the_budget_is_empty() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    echo.script(vec![Reply::error(Code::Unavailable); 300]);
    let calls = (0..40).map(|_| GrpcCall::new(&fabric, "Repeat", "steady").send());
    futures_util::future::try_join_all(calls).await?;
    let before = echo.calls_received();
    assert_eq!(GrpcCall::new(&fabric, "Repeat", "steady").send().await?.code(), Code::Unavailable);
    assert_eq!(echo.calls_received() - before, 1, "nothing is cancelled to repeat it with");
    fabric.stop().await
}

/// Each failed attempt takes one of a hundred tokens, and nothing is retried while half of them are left.
const MOST_RETRIES: usize = 50;

#[tokio::test]
async fn upstream_that_always_fails_gets_one_attempt_a_call_and_half_the_tokens_in_retries() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let mut made = 0;
    for method in ["Repeat", "Chase"] {
        echo.script(vec![unavailable(); 1000]);
        for _ in 0..4 {
            let calls = (0..50).map(|_| call(&fabric, method).send());
            for answer in futures_util::future::try_join_all(calls).await? {
                assert_eq!(answer.code(), Code::Unavailable);
            }
        }
        let attempts = echo.take_received().len();
        made += attempts;
        assert!((201..=200 + MOST_RETRIES).contains(&attempts), "{method}: {attempts} attempts of 200 calls");
    }
    assert_eq!(echo.calls_received(), made);
    fabric.stop().await
}

#[tokio::test]
async fn hedged_call_makes_no_more_attempts_than_declared() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    echo.script(vec![Reply::unfinished(); 3]);
    let answer = call(&fabric, "Race").header("grpc-timeout", "600m").send().await?;
    assert_eq!(answer.code(), Code::DeadlineExceeded);
    assert_eq!(previous(&echo.take_received()), [None, Some("1")]);
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

/// What an answer says of repeating it.
fn pushback(answer: &GrpcResponse) -> Option<&str> {
    answer.trailers.get("grpc-retry-pushback-ms")?.to_str().ok()
}

#[tokio::test]
async fn exhausted_retries_answer_with_negative_pushback() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    for method in ["Repeat", "Race", "Chase"] {
        for reply in [unavailable(), unavailable().head("x-edition", "1"), Reply::http(StatusCode::SERVICE_UNAVAILABLE)]
        {
            echo.script(vec![reply; 3]);
            let answer = GrpcCall::new(&fabric, method, "vain").send().await?;
            assert_eq!((answer.code(), pushback(&answer)), (Code::Unavailable, Some("-1")), "{method}");
            echo.take_received();
        }
    }
    fabric.stop().await
}

#[tokio::test]
async fn failure_that_is_not_retried_answers_without_pushback() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    for (method, code) in [("Say", Code::Unavailable), ("Keep", Code::Unavailable), ("Repeat", Code::Internal)] {
        echo.script([Reply::error(code)]);
        let answer = GrpcCall::new(&fabric, method, "once").send().await?;
        assert_eq!((answer.code(), pushback(&answer)), (code, None), "{method}");
    }
    echo.script([unavailable()]);
    let retried = call(&fabric, "Repeat").header("grpc-previous-rpc-attempts", "1").send().await?;
    assert_eq!(pushback(&retried), None, "whoever repeats it decides");
    fabric.stop().await
}
