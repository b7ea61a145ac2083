//! Pagination and streams.

use crate::{
    create,
    scripted_upstream::{Reply, ScriptedUpstream},
    wire::{frame, word},
};
use accord_api::catalog::v1::{
    CreateProductRequest, ListProductsRequest, Product, UpdateProductRequest, WatchProductsRequest,
};
use accord_fabric::{EDITOR, Fabric};
use anyhow::{Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::{Code, Request};

#[tokio::test]
async fn list_is_paginated() -> Result<()> {
    let fabric = Fabric::start().await?;
    let token = fabric.token(EDITOR).await?;
    for index in 0..5 {
        let product = Product { id: format!("chair-{index}"), title: "Chair".into(), ..Product::default() };
        let mut request = Request::new(CreateProductRequest { product: Some(product) });
        request.metadata_mut().insert("idempotency-key", format!("chair-{index}").parse()?);
        fabric.products(&token)?.create_product(request).await?;
    }
    let mut ids = Vec::new();
    let mut path = "/v1/products?pageSize=2".to_owned();
    loop {
        let page = fabric.get(&path).token(&token).send().await?.json()?;
        ids.extend(page["products"].as_array().unwrap().iter().map(|product| product["id"].clone()));
        let Some(next) = page["nextPageToken"].as_str() else { break };
        path = format!("/v1/products?pageSize=2&pageToken={next}");
    }
    assert_eq!(ids, ["chair-0", "chair-1", "chair-2", "chair-3", "chair-4"]);

    let request = ListProductsRequest { page_size: 3, ..ListProductsRequest::default() };
    assert_eq!(fabric.products(&token)?.list_products(request).await?.into_inner().products.len(), 3);
    fabric.stop().await
}

#[tokio::test]
async fn watch_streams_the_present_state_and_later_changes() -> Result<()> {
    let fabric = Fabric::start().await?;
    create(&fabric, "Oak desk").await?;
    let token = fabric.token(EDITOR).await?;
    let mut products = fabric.products(&token)?;
    let mut watch = products.watch_products(WatchProductsRequest::default()).await?.into_inner();
    let first = watch.message().await?.unwrap().product.unwrap();
    assert_eq!((first.title.as_str(), first.version), ("Oak desk", 1));
    let changed = Product { title: "Old desk".into(), ..first };
    products.update_product(UpdateProductRequest { product: Some(changed) }).await?;
    let second = watch.message().await?.unwrap().product.unwrap();
    assert_eq!((second.title.as_str(), second.version), ("Old desk", 2));
    // A watcher that stays would be waited for.
    drop(watch);
    fabric.stop().await
}

#[tokio::test]
async fn stream_ends_at_its_deadline_in_every_protocol() -> Result<()> {
    let fabric = Fabric::start().await?;
    create(&fabric, "Oak desk").await?;
    let token = fabric.token(EDITOR).await?;
    let watch = || fabric.get("/v1/products:watch").token(&token).header("request-timeout", "0.5");

    let lines = watch().send().await?;
    assert_eq!(lines.header("content-type"), Some("application/x-ndjson"));
    let text = lines.text();
    let mut lines = text.lines();
    assert!(lines.next().unwrap().contains("Oak desk"), "{text}");
    let last: serde_json::Value = serde_json::from_str(lines.next().unwrap())?;
    assert_eq!(last["@error"]["code"], Code::DeadlineExceeded as i32);

    let events = watch().header("accept", "text/event-stream").send().await?;
    assert_eq!(events.header("content-type"), Some("text/event-stream"));
    assert!(events.text().starts_with("data: {"), "{}", events.text());
    assert!(events.text().contains("\n\nevent: error\ndata: {"), "{}", events.text());

    let mut request = Request::new(WatchProductsRequest::default());
    request.set_timeout(std::time::Duration::from_millis(500));
    let mut stream = fabric.products(&token)?.watch_products(request).await?.into_inner();
    assert!(stream.message().await?.is_some());
    assert_eq!(stream.message().await.unwrap_err().code(), Code::DeadlineExceeded);
    fabric.stop().await
}

/// Reads on until the answer ends with this.
async fn read_until(socket: &mut TcpStream, end: &str) -> Result<String> {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        ensure!(socket.read_buf(&mut read).await? > 0, "the connection ended after {}", String::from_utf8_lossy(&read));
    }
    Ok(String::from_utf8_lossy(&read).into_owned())
}

#[tokio::test]
async fn connection_is_used_again_after_a_stream_whose_answer_ended_before_its_request() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let message = frame(0, br#"{"text":"word"}"#);
    let head = "POST /echo.v1.EchoService/Recite HTTP/1.1\r\nhost: a\r\ncontent-type: application/connect+json\r\n\
                connect-protocol-version: 1\r\ntransfer-encoding: chunked\r\n\r\n";
    let get = "GET /v1/words/second HTTP/1.1\r\nhost: a\r\ncache-control: no-store\r\n\r\n";
    let mut socket = TcpStream::connect(fabric.gateway.listen).await?;
    for _ in 0..20 {
        echo.script([Reply::ok(&word("early")).early()]);
        let chunk = [format!("{:x}\r\n", message.len()).as_bytes(), &message, b"\r\n"].concat();
        socket.write_all(&[head.as_bytes(), &chunk].concat()).await?;
        let answer = read_until(&mut socket, "0\r\n\r\n").await?;
        ensure!(answer.contains("early") && !answer.contains("connection: close"), "{answer}");
        socket.write_all(&[b"0\r\n\r\n", get.as_bytes()].concat()).await?;
        read_until(&mut socket, r#"{"text":"second"}"#).await?;
    }
    fabric.stop().await
}
