//! Refusals: they come at once, have a time to be read in, and leave a connection that its client can use.

use crate::scripted_upstream::ScriptedUpstream;
use accord_fabric::{
    Fabric,
    raw_http2::{RST_STREAM, RawConnection},
};
use anyhow::{Context, Result};
use std::net::Ipv4Addr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What the gateway answers to the head of a request whose body does not come.
async fn answer_to_head(fabric: &Fabric, head: &str) -> Result<String> {
    let mut socket = TcpStream::connect(fabric.gateway.listen).await?;
    socket.write_all(format!("{head}host: gateway\r\n\r\n").as_bytes()).await?;
    let mut answer = vec![0; 4096];
    let read = socket.read(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer[..read]).to_lowercase())
}

#[tokio::test]
async fn declared_length_over_the_bound_is_refused_before_the_body_comes() -> Result<()> {
    let (_echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let head = "POST /v1/words/w:change HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: 100000000\r\n";
    for expect in ["", "expect: 100-continue\r\n"] {
        let answer = answer_to_head(&fabric, &format!("{head}{expect}")).await?;
        assert!(answer.starts_with("http/1.1 413") && answer.contains("connection: close"), "{answer}");
    }
    fabric.stop().await
}

#[tokio::test]
async fn refusal_before_the_body_of_an_http1_request_announces_that_its_connection_closes() -> Result<()> {
    let fabric = Fabric::start().await?;
    for (path, status) in [("/v1/products", 401), ("/nothing", 404)] {
        let head = format!("POST {path} HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: 2\r\n");
        let (answer, expected) = (answer_to_head(&fabric, &head).await?, format!("http/1.1 {status}"));
        assert!(answer.starts_with(&expected) && answer.contains("connection: close"), "{answer}");
    }
    fabric.stop().await
}

#[tokio::test]
async fn refusal_of_a_request_without_a_body_leaves_its_connection_open() -> Result<()> {
    let fabric = Fabric::start().await?;
    let answer = answer_to_head(&fabric, "GET /v1/products HTTP/1.1\r\n").await?;
    assert!(answer.starts_with("http/1.1 401") && !answer.contains("connection: close"), "{answer}");
    fabric.stop().await
}

#[tokio::test]
async fn refusal_that_nobody_reads_is_reset_in_time() -> Result<()> {
    let fabric = Fabric::start().await?;
    let mut connection = RawConnection::open(fabric.gateway.listen, Ipv4Addr::LOCALHOST.into(), 0).await?;
    connection.get("/v1/products").await?;
    while connection.next().await?.context("the connection goes on")?.kind != RST_STREAM {}
    fabric.stop().await
}

#[tokio::test]
async fn health_watch_ends_with_its_deadline() -> Result<()> {
    let fabric = Fabric::start().await?;
    let mut health = tonic_health::pb::health_client::HealthClient::new(fabric.gateway.channel()?);
    let mut request = tonic::Request::new(tonic_health::pb::HealthCheckRequest::default());
    request.metadata_mut().insert("grpc-timeout", "300m".parse()?);
    let mut watch = health.watch(request).await?.into_inner();
    assert!(watch.message().await?.is_some());
    let ended = watch.message().await.expect_err("the deadline");
    assert_eq!(ended.code(), tonic::Code::DeadlineExceeded, "{ended:?}");
    fabric.stop().await
}
