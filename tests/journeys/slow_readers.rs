//! Slow readers: callers that take the head of a response and leave the rest.

use crate::create;
use accord_fabric::{EDITOR, Fabric};
use anyhow::Result;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

#[tokio::test]
async fn slow_reader_loses_its_in_flight_slot_at_the_deadline() -> Result<()> {
    let mut fabric = Fabric::start().await?;
    create(&fabric, "Oak desk").await?;
    let token = fabric.token(EDITOR).await?;
    // Once the answer is in the cache, its head takes next to nothing of the time that the test gives it.
    assert_eq!(fabric.get("/v1/products/oak-desk").token(&token).send().await?.status, 200);

    let socket = TokioIo::new(TcpStream::connect(fabric.gateway.listen).await?);
    let narrow = Builder::new(TokioExecutor::new()).initial_stream_window_size(0).handshake(socket).await?;
    let (mut sender, connection) = narrow;
    let connection = tokio::spawn(connection);
    let request = Request::get(format!("{}/v1/products/oak-desk", fabric.gateway.url()))
        .header("authorization", format!("Bearer {token}"))
        .header("request-timeout", "3");
    let answer = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
    assert_eq!(answer.status(), 200);
    assert!(fabric.gateway.metric("accord_gateway_calls_active", &[]).await? > 0.0);

    fabric.gateway.await_metric("accord_gateway_calls_active", &[], |active| active < 1.0).await?;
    assert!(answer.into_body().collect().await.is_err());
    connection.abort();
    fabric.stop().await
}
