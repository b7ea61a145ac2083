//! The end of a process is not the end of a call.

use crate::{
    create,
    echo::{Echo, Line},
    wire::{Call, word},
};
use accord_api::catalog::v1::WatchProductsRequest;
use accord_fabric::{EDITOR, Fabric, Part};
use anyhow::Result;
use std::time::Duration;
use tonic::Request;

#[tokio::test]
async fn a_call_in_flight_ends_before_the_gateway_does() -> Result<()> {
    let mut fabric = Fabric::start().await?;
    create(&fabric, "Oak desk").await?;
    let token = fabric.token(EDITOR).await?;
    let mut request = Request::new(WatchProductsRequest::default());
    request.set_timeout(Duration::from_secs(2));
    let mut stream = fabric.products(&token)?.watch_products(request).await?.into_inner();
    assert!(stream.message().await?.is_some());

    let reading = tokio::spawn(async move { stream.message().await });
    let status = fabric.gateway.process.terminate(Duration::from_secs(10)).await?;
    assert!(status.success(), "{status}");
    // Its own deadline ended it, and not the process.
    assert_eq!(reading.await?.unwrap_err().code(), tonic::Code::DeadlineExceeded);
    Ok(())
}

#[tokio::test]
async fn a_call_under_a_key_ends_before_the_gateway_does_even_without_its_caller() -> Result<()> {
    let echo = Echo::start().await?;
    let mut fabric = echo.behind()?.start().await?;
    // It answers a second after it was asked, when the end has long begun.
    echo.script([Line::says(&word("kept")).ahead_of_deadline(Duration::from_secs(1))]);
    let call = Call::new(&fabric, "Keep", "promise").key("promise");
    call.clone().header("grpc-timeout", "2S").leave_after(echo.until_heard(1)).await?;

    let gateway = &mut fabric.gateway.process;
    assert!(gateway.terminate(Duration::from_secs(10)).await?.success());
    gateway.restart()?;
    fabric.gateway.wait_serving().await?;
    let answer = call.send().await?;
    assert_eq!(answer.head["idempotency-replayed"], "true");
    assert_eq!((answer.ok()?, echo.heard()), (word("kept"), 1));
    fabric.stop().await
}

#[tokio::test]
async fn what_a_call_that_was_cut_off_may_have_changed_is_told_before_the_end() -> Result<()> {
    let echo = Echo::start().await?;
    let soon = toml::toml! { grace = "300ms" };
    let mut fabric = echo.behind()?.settings(Part::Gateway, soon).start().await?;
    echo.script([Line::silent()]);
    let call = tokio::spawn(Call::new(&fabric, "Change", "fact").send());
    echo.until_heard(1).await?;
    assert!(fabric.gateway.process.terminate(Duration::from_secs(10)).await?.success());
    call.abort();
    let told = [("rpc_method", "accord.cache.v1.InvalidationService/Invalidate")];
    fabric.cache.await_metric("rpc_server_call_duration_seconds_count", &told, |calls| calls > 0.0).await?;
    Ok(())
}
