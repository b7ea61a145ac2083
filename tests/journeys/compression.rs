//! Compressed answers, for callers that accept them.

use crate::{create, scripted_upstream::ScriptedUpstream, wire::GrpcCall};
use accord_fabric::{EDITOR, Fabric, Part, http::HttpResponse};
use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;
use http::Method;
use serde_json::json;
use std::{
    io::Read,
    time::{Duration, Instant},
};
use toml::toml;

const PRODUCT: &str = "/v1/products/oak-desk";

/// A body in gzip, as it was before.
fn inflated(answer: &HttpResponse) -> Result<String> {
    ensure!(answer.header("content-encoding") == Some("gzip"), "{:?}", answer.headers);
    ensure!(answer.header("content-length") == Some(&*answer.body.len().to_string()), "{:?}", answer.headers);
    let mut text = String::new();
    GzDecoder::new(&*answer.body).read_to_string(&mut text)?;
    Ok(text)
}

fn varies(answer: &HttpResponse) -> Vec<&str> {
    answer.headers.get_all("vary").iter().filter_map(|names| names.to_str().ok()).collect()
}

#[tokio::test]
async fn json_answer_is_compressed_from_the_upstream_the_cache_and_the_gateways_memory() -> Result<()> {
    let builder = Fabric::builder()?.overlay("tests/journeys/near.toml");
    let fabric = builder.settings(Part::Gateway, toml! { compression.min_bytes = 100 }).start().await?;
    let token = fabric.token(EDITOR).await?;
    create(&fabric, "Oak desk").await?;
    let plain = fabric.get(PRODUCT).token(&token).send().await?;
    ensure!(plain.header("content-encoding").is_none() && varies(&plain) == ["accept-encoding"], "{:?}", plain.headers);
    let tag = format!("W/{}", plain.header("etag").context("a tag")?);
    // Until it is answered near, which takes a while: what was written lately is leased to nobody.
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = fabric.get(PRODUCT).token(&token).header("accept-encoding", "gzip").send().await?;
        assert_eq!((inflated(&answer)?, varies(&answer)), (plain.text(), vec!["accept-encoding"]));
        assert_eq!(answer.header("etag"), Some(&*tag));
        if answer.header("cache-status").is_some_and(|status| status.starts_with("accord-near; hit")) {
            break;
        }
        ensure!(Instant::now() < end, "no read was answered near");
    }
    let call = fabric.get(PRODUCT).token(&token).header("accept-encoding", "gzip").header("if-none-match", &tag);
    let known = call.send().await?;
    assert_eq!(
        (known.status.as_u16(), known.header("etag"), known.header("content-encoding")),
        (304, Some(&*tag), None)
    );
    fabric.stop().await
}

#[tokio::test]
async fn unary_answer_in_connect_is_compressed_and_one_in_grpc_is_not() -> Result<()> {
    let (_echo, fabric) = ScriptedUpstream::with_few_policies().await?;
    let (path, word) = ("/echo.v1.EchoService/Change", json!({ "text": "word ".repeat(1_000) }));
    let call = fabric.call(Method::POST, path).header("accept-encoding", "gzip").json(&word);
    assert_eq!(inflated(&call.send().await?)?, word.to_string());
    let zstd = fabric.call(Method::POST, path).header("accept-encoding", "gzip, zstd").json(&word).send().await?;
    assert_eq!(zstd.header("content-encoding"), Some("zstd"));
    let grpc = GrpcCall::new(&fabric, "Change", &"word ".repeat(1_000)).header("accept-encoding", "gzip");
    let grpc = grpc.header("grpc-accept-encoding", "gzip").send().await?;
    assert!(!grpc.head.contains_key("content-encoding") && !grpc.head.contains_key("grpc-encoding"), "{:?}", grpc.head);
    assert_eq!(grpc.body[0], 0, "a frame that is not compressed");
    fabric.stop().await
}

#[tokio::test]
async fn long_problem_and_the_openapi_document_are_compressed_unless_that_is_switched_off() -> Result<()> {
    let small = |enabled: bool| toml! { compression = { enabled = enabled, min_bytes = 64 } };
    for enabled in [true, false] {
        let fabric = Fabric::builder()?.settings(Part::Gateway, small(enabled)).start().await?;
        let get = |path, accept| fabric.get(path).header("accept", accept).header("accept-encoding", "gzip").send();
        let problem = get("/v1/nowhere", "application/problem+json").await?;
        let openapi = get("/openapi.json", "*/*").await?;
        assert_eq!(problem.header("content-type"), Some("application/problem+json"));
        if enabled {
            ensure!(inflated(&problem)?.contains("METHOD_UNKNOWN") && inflated(&openapi)?.contains("\"paths\""));
            assert_eq!(varies(&problem), ["accept", "accept-encoding"]);
        } else {
            ensure!(problem.text().contains("METHOD_UNKNOWN") && openapi.text().contains("\"paths\""));
        }
        fabric.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn cached_answer_says_which_headers_of_a_read_it_varies_by() -> Result<()> {
    let (_echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let read = fabric.get("/v1/words/vary").send().await?;
    assert_eq!((read.status.as_u16(), varies(&read)), (200, vec!["x-dialect"]), "{}", read.text());
    fabric.stop().await
}
