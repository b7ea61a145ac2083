//! Idempotency records that are slow, in place of the cache's, and connections to those of the cache that break.

use crate::{
    scripted_upstream::{Reply, ScriptedUpstream},
    wire::{GrpcCall, word},
};
use accord_api::accord::cache::v1::{
    AbandonRequest, AbandonResponse, BeginRequest, BeginResponse, Claim, CompleteRequest, CompleteResponse,
    begin_response::Decision,
    idempotency_service_server::{IdempotencyService, IdempotencyServiceServer},
};
use accord_fabric::{Fabric, Part, TcpProxy};
use anyhow::{Context, Result};
use std::{sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc},
    time::timeout,
};
use tonic::{
    Code, Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

/// The longest that a claim may take to be given back.
const BOUND: Duration = Duration::from_secs(10);

/// Gives a claim once it is let go on, and tells which claims come back.
struct SlowRecords {
    barrier: Arc<Notify>,
    abandoned: mpsc::Sender<String>,
}

#[tonic::async_trait]
impl IdempotencyService for SlowRecords {
    async fn begin(&self, _: Request<BeginRequest>) -> Result<Response<BeginResponse>, Status> {
        self.barrier.notified().await;
        let decision = Decision::Claim(Claim { id: "slow".to_owned() });
        Ok(Response::new(BeginResponse { decision: Some(decision) }))
    }

    async fn complete(&self, _: Request<CompleteRequest>) -> Result<Response<CompleteResponse>, Status> {
        Ok(Response::new(CompleteResponse::default()))
    }

    async fn abandon(&self, request: Request<AbandonRequest>) -> Result<Response<AbandonResponse>, Status> {
        self.abandoned.try_send(request.into_inner().claim_id).map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(AbandonResponse::default()))
    }
}

#[tokio::test]
async fn idempotency_claim_of_a_call_that_never_began_is_released() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let barrier = Arc::new(Notify::new());
    let (abandoned, mut claims) = mpsc::channel(1);
    let records = IdempotencyServiceServer::new(SlowRecords { barrier: Arc::clone(&barrier), abandoned });
    let serving = tokio::spawn(Server::builder().add_service(records).serve_with_incoming(TcpIncoming::from(listener)));
    let upstream = ScriptedUpstream::start().await?;
    let settings = toml::toml! { cache.url = url };
    let fabric = upstream.behind()?.settings(Part::Gateway, settings).start().await?;

    let late = GrpcCall::new(&fabric, "Keep", "late").key("late").header("grpc-timeout", "300m").send().await?;
    assert_eq!(late.refusal(), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".into()));
    assert_eq!(late.head["x-accord-fault"], "cache");
    barrier.notify_one();
    let claim = timeout(BOUND, claims.recv()).await.context("the claim was never given back")?;
    assert_eq!((claim.as_deref(), upstream.calls_received()), (Some("slow"), 0));
    fabric.stop().await?;
    serving.abort();
    Ok(())
}

/// A gateway that finds the cache by a name, whose connections can be broken.
async fn by_name(echo: &ScriptedUpstream) -> Result<(Fabric, TcpProxy)> {
    let builder = echo.behind()?;
    let name = TcpProxy::start(vec![builder.address(Part::Cache)]).await?;
    let url = format!("http://{}", name.address());
    Ok((builder.settings(Part::Gateway, toml::toml! { cache.url = url }).start().await?, name))
}

/// Breaks the connections to a cache that stands still, once it is asked for a record, and lets it go on.
async fn break_off(fabric: &mut Fabric, name: &TcpProxy) -> Result<()> {
    let asked = [("upstream", "cache.idempotency")];
    fabric.gateway.await_metric("accord_upstream_in_flight", &asked, |calls| calls > 0.0).await?;
    name.move_to(fabric.cache.listen);
    fabric.cache.process.resume()
}

#[tokio::test]
async fn idempotency_claim_whose_connection_breaks_is_asked_for_again() -> Result<()> {
    let echo = ScriptedUpstream::start().await?;
    let (mut fabric, name) = by_name(&echo).await?;
    let call = GrpcCall::new(&fabric, "Keep", "promise").key("promise").header("grpc-timeout", "10S");
    fabric.cache.process.pause()?;
    let call = tokio::spawn(call.send());
    break_off(&mut fabric, &name).await?;
    call.await??.ok()?;
    assert_eq!(echo.calls_received(), 1);
    fabric.stop().await
}

#[tokio::test]
async fn answer_under_an_idempotency_key_whose_connection_breaks_is_recorded_all_the_same() -> Result<()> {
    let echo = ScriptedUpstream::start().await?;
    let (mut fabric, name) = by_name(&echo).await?;
    let barrier = Arc::new(Notify::new());
    echo.script([Reply::ok(&word("kept")).after(&barrier)]);
    let call = GrpcCall::new(&fabric, "Keep", "promise").key("promise").header("grpc-timeout", "10S");
    let first = tokio::spawn(call.clone().send());
    echo.wait_received(1).await?;
    fabric.cache.process.pause()?;
    barrier.notify_one();
    break_off(&mut fabric, &name).await?;
    first.await??.ok()?;
    let second = call.send().await?;
    assert_eq!(second.head["idempotency-replayed"], "true");
    assert_eq!(echo.calls_received(), 1);
    fabric.stop().await
}
