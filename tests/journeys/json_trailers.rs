//! Trailing metadata for callers that read JSON.

use crate::{
    scripted_upstream::{Reply, ScriptedUpstream},
    wire::{GrpcCall, word},
};
use anyhow::Result;
use http::Method;
use tonic::{Code, Status};

#[tokio::test]
async fn trailing_metadata_of_a_json_answer_stands_in_its_head() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let call = |path| fabric.call(Method::POST, path).body("text/plain", r#"{"text":"a"}"#);
    for (path, messages) in [("/echo.v1.EchoService/Say", 1), ("/v1/words:gather", 1), ("/echo.v1.EchoService/Say", 0)]
    {
        let reply = (0..messages).fold(Reply::unfinished().head("x-shelf", "7"), |reply, _| reply.message(&word("a")));
        let status = if messages == 0 { Status::not_found("none") } else { Status::new(Code::Ok, "") };
        echo.script([reply.status(&status).trailer("x-left", "1").trailer("x-left", "2")]);
        let answer = call(path).send().await?;
        let values: Vec<_> = answer.headers.get_all("trailer-x-left").iter().collect();
        // A status that is all of an answer has all its metadata with it.
        let alone: Vec<_> = answer.headers.get_all("x-left").iter().collect();
        assert_eq!([values, alone].concat(), ["1", "2"], "{path}: {answer:?}");
        assert!(answer.header("trailer-grpc-status").is_none() && answer.header("x-shelf") == Some("7"), "{answer:?}");
    }
    fabric.stop().await
}

#[tokio::test]
async fn trailing_metadata_of_a_json_stream_is_told_in_trailers_where_they_are_read() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    for (te, accept) in [("trailers", "*/*"), ("trailers", "text/event-stream"), ("", "*/*")] {
        for status in [Status::new(Code::Ok, ""), Status::not_found("no more")] {
            echo.script([Reply::unfinished().message(&word("a")).status(&status).trailer("x-left", "1")]);
            let call = GrpcCall::to(fabric.gateway.listen, "/v1/words/a:recite").method(Method::GET);
            let call = call.header("content-type", "application/json").header("accept", accept).header("te", te);
            let answer = call.send().await?;
            assert!(answer.body.windows(3).any(|text| text == b"\"a\""), "{te}: {answer:?}");
            let told = answer.trailers.get("trailer-x-left").map(http::HeaderValue::as_bytes);
            assert_eq!(told, (!te.is_empty()).then_some(&b"1"[..]), "{te}: {answer:?}");
            assert!(!answer.trailers.contains_key("trailer-grpc-status"));
        }
    }
    fabric.stop().await
}
