//! Failed attempts, and what is done about them.

use crate::{
    echo::{Echo, Heard, Line},
    wire::{Call, word},
};
use accord_fabric::Fabric;
use anyhow::Result;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tonic::Code;

/// What each attempt said of those before it.
fn previous(heard: &[Heard]) -> Vec<Option<&str>> {
    let name = "grpc-previous-rpc-attempts";
    heard.iter().map(|call| call.headers.get(name).and_then(|value| value.to_str().ok())).collect()
}

#[tokio::test]
async fn a_failed_attempt_is_repeated_as_far_as_its_contract_says() -> Result<()> {
    let echo = Echo::start().await?;
    let fabric = echo.behind()?.start().await?;
    let call = |method| Call::new(&fabric, method, "again");
    let down = || Line::fails(Code::Unavailable);

    echo.script([down(), down()]);
    assert_eq!(call("Repeat").send().await?.ok()?, word("again"));
    assert_eq!(previous(&echo.take()), [None, Some("1"), Some("2")]);

    echo.script([down(), down(), down()]);
    assert_eq!(call("Repeat").send().await?.code(), Code::Unavailable);
    assert_eq!(echo.take().len(), 3, "no more than max_attempts");

    echo.script([Line::fails(Code::Internal)]);
    assert_eq!(call("Repeat").send().await?.code(), Code::Internal);
    assert_eq!(echo.take().len(), 1, "a code that the contract does not repeat");

    echo.script([down()]);
    let repeated = call("Repeat").header("grpc-previous-rpc-attempts", "1").send().await?;
    assert_eq!(repeated.code(), Code::Unavailable);
    assert_eq!(previous(&echo.take()), [Some("1")], "whoever repeats it already goes on doing so alone");

    echo.script([down()]);
    assert_eq!(call("Keep").send().await?.code(), Code::Unavailable);
    assert_eq!(echo.take().len(), 1, "a mutation without a key");

    echo.script([down()]);
    assert_eq!(call("Keep").key("one").send().await?.ok()?, word("again"));
    assert_eq!(echo.take().len(), 2, "a mutation under a key");
    fabric.stop().await
}

#[tokio::test]
async fn the_upstream_the_deadline_and_the_budget_end_the_repeating() -> Result<()> {
    let echo = Echo::start().await?;
    let fabric = echo.behind()?.start().await?;
    the_upstream_says_when(&echo, &fabric).await?;
    nothing_is_repeated_after_the_deadline(&echo, &fabric).await?;
    a_slow_attempt_gets_a_second_beside_it(&echo, &fabric).await?;
    steady_failure_uses_the_budget_up(&echo, &fabric).await?;
    fabric.stop().await
}

#[tokio::test]
async fn what_was_never_sent_goes_to_another_endpoint() -> Result<()> {
    let echo = Echo::start().await?;
    let away = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let fabric = echo.behind()?.upstream("echo", &format!("http://{away}")).start().await?;
    let end = Instant::now() + Duration::from_secs(8);
    let unreached = [("upstream", "echo"), ("reached", "false")];
    // However often the one that is away is tried again, nobody notices.
    while fabric.gateway.metric("accord_upstream_attempts_total", &unreached).await? < 3.0 {
        assert!(Instant::now() < end, "nobody ever tries the one that is away");
        for method in ["Say", "Change", "Repeat", "Recite", "Converse"] {
            assert_eq!(Call::new(&fabric, method, "there").send().await?.ok()?, word("there"), "{method}");
        }
    }
    fabric.stop().await
}

#[tokio::test]
async fn what_was_refused_unprocessed_is_sent_once_more() -> Result<()> {
    let echo = Echo::start().await?;
    let fabric = echo.behind()?.start().await?;
    echo.script([Line::refuses()]);
    let changed = Call::new(&fabric, "Change", "unseen").send().await?;
    assert_eq!(changed.ok()?, word("unseen"), "the service has not seen it, so nothing is done twice");
    assert_eq!(previous(&echo.take()), [None, None], "that is no attempt");
    echo.script([Line::refuses(), Line::refuses()]);
    let refused = Call::new(&fabric, "Change", "unseen").send().await?;
    assert_eq!(refused.refusal(), (Code::Unavailable, "UPSTREAM_UNAVAILABLE".into()));
    assert_eq!(echo.take().len(), 2, "once more, and not for ever");
    fabric.stop().await
}

async fn the_upstream_says_when(echo: &Echo, fabric: &Fabric) -> Result<()> {
    for method in ["Repeat", "Chase"] {
        echo.script([Line::fails(Code::Unavailable)]);
        Call::new(fabric, method, "again").send().await?.ok()?;
        assert_eq!(echo.take().len(), 2, "{method}");
        echo.script([Line::fails(Code::Unavailable).trailer("grpc-retry-pushback-ms", "-1")]);
        assert_eq!(Call::new(fabric, method, "never").send().await?.code(), Code::Unavailable);
        assert_eq!(echo.take().len(), 1, "{method}");
    }
    echo.script([Line::fails(Code::Unavailable).trailer("grpc-retry-pushback-ms", "300")]);
    let begun = Instant::now();
    Call::new(fabric, "Repeat", "later").send().await?.ok()?;
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
    assert_eq!(echo.take().len(), 2);
    Ok(())
}

async fn nothing_is_repeated_after_the_deadline(echo: &Echo, fabric: &Fabric) -> Result<()> {
    echo.script([Line::fails(Code::Unavailable).trailer("grpc-retry-pushback-ms", "5000")]);
    let begun = Instant::now();
    let answer = Call::new(fabric, "Repeat", "late").header("grpc-timeout", "2S").send().await?;
    assert_eq!(answer.code(), Code::Unavailable, "what there is, and at once");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(echo.take().len(), 1);
    Ok(())
}

async fn a_slow_attempt_gets_a_second_beside_it(echo: &Echo, fabric: &Fabric) -> Result<()> {
    let left = echo.left();
    echo.script([Line::silent()]);
    assert_eq!(Call::new(fabric, "Race", "swift").send().await?.ok()?, word("swift"));
    assert_eq!(previous(&echo.take()), [None, Some("1")]);
    echo.until_left(left + 1).await
}

async fn steady_failure_uses_the_budget_up(echo: &Echo, fabric: &Fabric) -> Result<()> {
    echo.script(vec![Line::fails(Code::Unavailable); 300]);
    let calls = (0..40).map(|_| Call::new(fabric, "Repeat", "steady").send());
    futures_util::future::try_join_all(calls).await?;
    let before = echo.heard();
    assert_eq!(Call::new(fabric, "Repeat", "steady").send().await?.code(), Code::Unavailable);
    assert_eq!(echo.heard() - before, 1, "nothing is left to repeat it with");
    echo.take();
    Ok(())
}
