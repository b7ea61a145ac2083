//! Graceful shutdown: calls in flight, and invalidations.

use crate::{
    create,
    scripted_upstream::{Reply, ScriptedUpstream},
    wire::{GrpcCall, word},
};
use accord_api::catalog::v1::WatchProductsRequest;
use accord_fabric::{EDITOR, Fabric, Part};
use anyhow::Result;
use std::time::Duration;
use tonic::Request;

#[tokio::test]
async fn drain_of_the_gateway_waits_for_a_call_in_flight() -> Result<()> {
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
async fn drain_waits_for_a_call_with_an_idempotency_key_whose_caller_left() -> Result<()> {
    let echo = ScriptedUpstream::start().await?;
    let mut fabric = echo.behind()?.start().await?;
    // It answers a second after it was asked, when the end has long begun.
    echo.script([Reply::ok(&word("kept")).before_deadline(Duration::from_secs(1))]);
    let call = GrpcCall::new(&fabric, "Keep", "promise").key("promise");
    call.clone().header("grpc-timeout", "2S").leave_after(echo.wait_received(1)).await?;

    let gateway = &mut fabric.gateway.process;
    assert!(gateway.terminate(Duration::from_secs(10)).await?.success());
    gateway.restart()?;
    fabric.gateway.wait_serving().await?;
    let answer = call.send().await?;
    assert_eq!(answer.head["idempotency-replayed"], "true");
    assert_eq!((answer.ok()?, echo.calls_received()), (word("kept"), 1));
    fabric.stop().await
}

#[tokio::test]
async fn drain_delivers_the_invalidations_of_calls_that_were_cut() -> Result<()> {
    let echo = ScriptedUpstream::start().await?;
    let soon = toml::toml! { grace = "300ms" };
    let mut fabric = echo.behind()?.settings(Part::Gateway, soon).start().await?;
    echo.script([Reply::unfinished()]);
    let call = tokio::spawn(GrpcCall::new(&fabric, "Change", "fact").send());
    echo.wait_received(1).await?;
    assert!(fabric.gateway.process.terminate(Duration::from_secs(10)).await?.success());
    call.abort();
    let told = [("rpc_method", "accord.cache.v1.InvalidationService/Invalidate")];
    fabric.cache.await_metric("rpc_server_call_duration_seconds_count", &told, |calls| calls > 0.0).await?;
    Ok(())
}
