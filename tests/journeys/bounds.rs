//! Size limits of messages and streams, compressed or not.

use crate::{
    reason,
    scripted_upstream::{Reply, ScriptedUpstream},
    wire::{GrpcCall, frame, word},
};
use accord_fabric::{Fabric, http::HttpResponse};
use anyhow::Result;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::Method;
use serde_json::json;
use std::io::Write;
use tonic::{Code, Status};

/// Larger than any message of the echo may be.
fn long() -> String {
    "long ".repeat(300)
}

fn gzip(message: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(message)?;
    Ok(encoder.finish()?)
}

async fn as_json(fabric: &Fabric, method: &str, text: &str) -> Result<HttpResponse> {
    let path = format!("/echo.v1.EchoService/{method}");
    // Said to be JSON, it would be Connect.
    fabric.call(Method::POST, &path).body("text/plain", json!({ "text": text }).to_string()).send().await
}

#[tokio::test]
async fn request_over_its_size_limit_is_resource_exhausted() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let too_large = (Code::ResourceExhausted, "REQUEST_TOO_LARGE".to_owned());
    for method in ["Say", "Change", "Converse"] {
        assert_eq!(GrpcCall::new(&fabric, method, &long()).send().await?.refusal(), too_large, "{method}");
    }
    let answer = as_json(&fabric, "Say", &long()).await?;
    assert_eq!((answer.status.as_u16(), reason(&answer)), (413, too_large.1));
    assert_eq!(echo.calls_received(), 0, "none of it reached the upstream");
    fabric.stop().await
}

#[tokio::test]
async fn response_over_its_size_limit_is_resource_exhausted() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let too_large = (Code::ResourceExhausted, "RESPONSE_TOO_LARGE".to_owned());
    for method in ["Say", "Change", "Recite", "Converse"] {
        echo.script([Reply::ok(&word(&long()))]);
        assert_eq!(GrpcCall::new(&fabric, method, "much").send().await?.refusal(), too_large, "{method}");
    }
    echo.script([Reply::ok(&word(&long())).head("content-length", "1508")]);
    assert_eq!(GrpcCall::new(&fabric, "Say", "measured").send().await?.refusal(), too_large);

    echo.script([Reply::ok(&word(&long()))]);
    let answer = as_json(&fabric, "Say", "much").await?;
    assert_eq!((answer.status.as_u16(), reason(&answer)), (429, too_large.1.clone()));

    echo.script([Reply::ok(&word("little")).message(&word(&long()))]);
    let text = fabric.get("/v1/words/much:recite").send().await?.text();
    assert!(text.starts_with("{\"text\":\"little\"}\n") && text.contains(&too_large.1), "{text}");
    let together: Bytes = [word("little"), frame(9, b"odd")].concat().into();
    echo.script([Reply::ok(&together)]);
    let text = fabric.get("/v1/words/odd:recite").send().await?.text();
    assert!(text.starts_with("{\"text\":\"little\"}\n") && text.contains("UPSTREAM_MALFORMED"), "{text}");
    fabric.stop().await
}

#[tokio::test]
async fn stream_over_its_message_count_is_resource_exhausted() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let (one, ok) = (word("one"), Status::new(Code::Ok, ""));
    let replies = |count: usize| (0..count).fold(Reply::unfinished(), |reply, _| reply.message(&one));
    echo.script([replies(3).status(&ok), replies(4).status(&ok), replies(4).status(&ok)]);
    assert_eq!(GrpcCall::new(&fabric, "Recite", "three").send().await?.code(), Code::Ok);
    let many = GrpcCall::new(&fabric, "Recite", "four").send().await?;
    assert_eq!(many.refusal(), (Code::ResourceExhausted, "RESPONSE_TOO_LARGE".into()));
    let text = fabric.get("/v1/words/four:recite").send().await?.text();
    assert!(text.contains("RESPONSE_TOO_LARGE"), "{text}");
    let many = GrpcCall::new(&fabric, "Converse", "").body(vec![one.clone(); 4].concat()).send().await?;
    assert_eq!(many.refusal(), (Code::ResourceExhausted, "REQUEST_TOO_LARGE".into()));
    fabric.stop().await
}

#[tokio::test]
async fn stream_that_is_silent_for_too_long_is_deadline_exceeded() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let (one, cancelled) = (word("one"), echo.calls_cancelled());
    let reply = || Reply::unfinished().message(&one);
    echo.script([reply(), reply()]);
    let silent = GrpcCall::new(&fabric, "Recite", "hush").send().await?;
    assert_eq!(silent.refusal(), (Code::DeadlineExceeded, "STREAM_IDLE".into()));
    assert_eq!(silent.body, one);
    let text = fabric.get("/v1/words/hush:recite").send().await?.text();
    assert!(text.contains("STREAM_IDLE"), "{text}");
    echo.wait_cancelled(cancelled + 2).await?;
    fabric.stop().await
}

#[tokio::test]
async fn compressed_message_is_decompressed_only_where_it_is_read() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let (plain, small) = (word("tight"), frame(1, &gzip(&word("tight")[5..])?));
    let zipped = |method, body: &Bytes| {
        GrpcCall::new(&fabric, method, "")
            .header("grpc-encoding", "gzip")
            .header("grpc-accept-encoding", "gzip")
            .body(body.clone())
    };
    echo.take_received();
    assert_eq!(zipped("Say", &small).send().await?.ok()?, small);
    let through = echo.take_received().remove(0);
    assert_eq!((&through.body, through.headers["grpc-accept-encoding"].as_bytes()), (&small, &b"gzip"[..]));

    assert_eq!(zipped("Change", &small).send().await?.ok()?, plain);
    let read = echo.take_received().remove(0);
    assert_eq!(read.body, plain);
    assert!(!read.headers.contains_key("grpc-encoding") && !read.headers.contains_key("grpc-accept-encoding"));

    let bomb = frame(1, &gzip(&vec![0; 900_000])?);
    assert!(bomb.len() < 1000, "it comes in small");
    assert_eq!(zipped("Change", &bomb).send().await?.refusal(), (Code::ResourceExhausted, "REQUEST_TOO_LARGE".into()));
    let trailing = frame(1, &[&gzip(&word("tight")[5..])?[..], b"garbage"].concat());
    assert_eq!(
        zipped("Change", &trailing).send().await?.refusal(),
        (Code::InvalidArgument, "REQUEST_MALFORMED".into())
    );
    let unsaid = GrpcCall::new(&fabric, "Change", "").body(small.clone()).send().await?;
    assert_eq!(unsaid.refusal(), (Code::Internal, "REQUEST_MALFORMED".into()));
    let other = zipped("Change", &small).header("grpc-encoding", "zstd").send().await?;
    assert_eq!(other.refusal(), (Code::Unimplemented, "PROTOCOL_UNSUPPORTED".into()));
    assert!(echo.take_received().is_empty());
    fabric.stop().await
}

/// A word whose message has so many bytes: three of them are not text.
fn of_size(bytes: usize) -> String {
    "x".repeat(bytes - 3)
}

#[tokio::test]
async fn message_of_exactly_the_size_limit_passes() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    // Where bytes pass, where they are read, and where they may be sent again.
    for method in ["Say", "Change", "Repeat"] {
        let largest = GrpcCall::new(&fabric, method, &of_size(1000)).send().await?;
        assert_eq!(largest.ok()?, word(&of_size(1000)), "{method}");
        let request = GrpcCall::new(&fabric, method, &of_size(1001)).send().await?;
        assert_eq!(request.refusal().1, "REQUEST_TOO_LARGE", "{method}");
        echo.script([Reply::ok(&word(&of_size(1001)))]);
        let answer = GrpcCall::new(&fabric, method, "much").send().await?;
        assert_eq!(answer.refusal().1, "RESPONSE_TOO_LARGE", "{method}");
    }
    fabric.stop().await
}

#[tokio::test]
async fn memory_is_taken_in_small_pages() -> Result<()> {
    let fabric = Fabric::start().await?;
    for process in [&fabric.gateway.process, &fabric.auth.process, &fabric.cache.process] {
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.id()))?;
        assert!(status.contains("THP_enabled:\t0"), "{status}");
    }
    fabric.stop().await
}
