//! Retries, pushback and the retry budget.

use crate::{
    scripted_upstream::{ReceivedCall, Reply, ScriptedUpstream},
    wire::{GrpcCall, word},
};
use accord_fabric::Fabric;
use anyhow::Result;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tonic::Code;

/// What each attempt said of those before it.
fn previous(heard: &[ReceivedCall]) -> Vec<Option<&str>> {
    let name = "grpc-previous-rpc-attempts";
    heard.iter().map(|call| call.headers.get(name).and_then(|value| value.to_str().ok())).collect()
}

#[tokio::test]
async fn retry_follows_the_declared_codes_and_max_attempts() -> Result<()> {
    let echo = ScriptedUpstream::start().await?;
    let fabric = echo.behind()?.start().await?;
    let call = |method| GrpcCall::new(&fabric, method, "again");
    let down = || Reply::error(Code::Unavailable);

    echo.script([down(), down()]);
    assert_eq!(call("Repeat").send().await?.ok()?, word("again"));
    assert_eq!(previous(&echo.take_received()), [None, Some("1"), Some("2")]);

    echo.script([down(), down(), down()]);
    assert_eq!(call("Repeat").send().await?.code(), Code::Unavailable);
    assert_eq!(echo.take_received().len(), 3, "no more than max_attempts");

    echo.script([Reply::error(Code::Internal)]);
    assert_eq!(call("Repeat").send().await?.code(), Code::Internal);
    assert_eq!(echo.take_received().len(), 1, "a code that the contract does not repeat");

    echo.script([down()]);
    let repeated = call("Repeat").header("grpc-previous-rpc-attempts", "1").send().await?;
    assert_eq!(repeated.code(), Code::Unavailable);
    assert_eq!(previous(&echo.take_received()), [Some("1")], "whoever repeats it already goes on doing so alone");

    echo.script([down()]);
    assert_eq!(call("Keep").send().await?.code(), Code::Unavailable);
    assert_eq!(echo.take_received().len(), 1, "a mutation without a key");

    echo.script([down()]);
    assert_eq!(call("Keep").key("one").send().await?.ok()?, word("again"));
    assert_eq!(echo.take_received().len(), 2, "a mutation under a key");
    fabric.stop().await
}

#[tokio::test]
async fn retries_end_at_pushback_deadline_and_budget() -> Result<()> {
    let echo = ScriptedUpstream::start().await?;
    let fabric = echo.behind()?.start().await?;
    the_upstream_says_when(&echo, &fabric).await?;
    nothing_is_repeated_after_the_deadline(&echo, &fabric).await?;
    a_slow_attempt_gets_a_second_beside_it(&echo, &fabric).await?;
    steady_failure_uses_the_budget_up(&echo, &fabric).await?;
    fabric.stop().await
}

#[tokio::test]
async fn unsent_request_goes_to_another_endpoint() -> Result<()> {
    let echo = ScriptedUpstream::start().await?;
    let away = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let fabric = echo.behind()?.upstream("echo", &format!("http://{away}")).start().await?;
    let end = Instant::now() + Duration::from_secs(8);
    let unreached = [("upstream", "echo"), ("reached", "false")];
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

async fn the_upstream_says_when(echo: &ScriptedUpstream, fabric: &Fabric) -> Result<()> {
    for method in ["Repeat", "Chase"] {
        echo.script([Reply::error(Code::Unavailable)]);
        GrpcCall::new(fabric, method, "again").send().await?.ok()?;
        assert_eq!(echo.take_received().len(), 2, "{method}");
        echo.script([Reply::error(Code::Unavailable).trailer("grpc-retry-pushback-ms", "-1")]);
        assert_eq!(GrpcCall::new(fabric, method, "never").send().await?.code(), Code::Unavailable);
        assert_eq!(echo.take_received().len(), 1, "{method}");
    }
    echo.script([Reply::error(Code::Unavailable).trailer("grpc-retry-pushback-ms", "300")]);
    let begun = Instant::now();
    GrpcCall::new(fabric, "Repeat", "later").send().await?.ok()?;
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
    assert_eq!(echo.take_received().len(), 2);
    Ok(())
}

async fn nothing_is_repeated_after_the_deadline(echo: &ScriptedUpstream, fabric: &Fabric) -> Result<()> {
    echo.script([Reply::error(Code::Unavailable).trailer("grpc-retry-pushback-ms", "5000")]);
    let begun = Instant::now();
    let answer = GrpcCall::new(fabric, "Repeat", "late").header("grpc-timeout", "2S").send().await?;
    assert_eq!(answer.code(), Code::Unavailable, "what there is, and at once");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(echo.take_received().len(), 1);
    Ok(())
}

async fn a_slow_attempt_gets_a_second_beside_it(echo: &ScriptedUpstream, fabric: &Fabric) -> Result<()> {
    let left = echo.calls_cancelled();
    echo.script([Reply::unfinished()]);
    assert_eq!(GrpcCall::new(fabric, "Race", "swift").send().await?.ok()?, word("swift"));
    assert_eq!(previous(&echo.take_received()), [None, Some("1")]);
    echo.wait_cancelled(left + 1).await
}

async fn steady_failure_uses_the_budget_up(echo: &ScriptedUpstream, fabric: &Fabric) -> Result<()> {
    echo.script(vec![Reply::error(Code::Unavailable); 300]);
    let calls = (0..40).map(|_| GrpcCall::new(fabric, "Repeat", "steady").send());
    futures_util::future::try_join_all(calls).await?;
    let before = echo.calls_received();
    assert_eq!(GrpcCall::new(fabric, "Repeat", "steady").send().await?.code(), Code::Unavailable);
    assert_eq!(echo.calls_received() - before, 1, "nothing is left to repeat it with");
    echo.take_received();
    Ok(())
}
