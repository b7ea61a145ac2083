//! Streams of requests from callers without gRPC: one JSON text per line.

use crate::{
    reason,
    scripted_upstream::{Reply, ScriptedUpstream},
    wire::word,
};
use accord_fabric::{Fabric, http::HttpResponse};
use anyhow::Result;
use http::Method;
use serde_json::json;
use tonic::{Code, Status};

async fn upload(fabric: &Fabric, path: &str, lines: &str) -> Result<HttpResponse> {
    fabric.call(Method::POST, path).body("application/x-ndjson", lines.to_owned()).send().await
}

#[tokio::test]
async fn lines_are_the_messages_of_a_client_stream_and_its_answer_is_json() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let ok = Status::new(Code::Ok, "");
    for path in ["/v1/words:gather", "/echo.v1.EchoService/Gather"] {
        echo.script([Reply::unfinished().head("x-shelf", "7").message(&word("all")).status(&ok)]);
        let answer = upload(&fabric, path, "{\"text\":\"a\"}\n\n{\"text\":\"\"}\n{\"text\":\"wörter\"}").await?;
        assert_eq!((answer.status.as_u16(), answer.json()?), (200, json!({ "text": "all" })), "{path}");
        assert_eq!(answer.headers["x-shelf"], "7", "{path}");
        let received = echo.take_received();
        assert_eq!(received[0].body, [word("a"), word(""), word("wörter")].concat(), "{path}");
        assert_eq!(received[0].headers["content-type"], "application/grpc", "{path}");
    }
    fabric.stop().await
}

#[tokio::test]
async fn client_stream_that_its_handler_refuses_is_an_error_in_json() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    for reply in [Reply::unfinished().status(&Status::not_found("no shelf")), Reply::error(Code::NotFound)] {
        echo.script([reply]);
        let answer = upload(&fabric, "/v1/words:gather", "{}").await?;
        assert_eq!((answer.status.as_u16(), &answer.json()?["code"]), (404, &json!(Code::NotFound as i32)));
    }
    echo.script([Reply::unfinished().status(&Status::new(Code::Ok, ""))]);
    let without_message = upload(&fabric, "/v1/words:gather", "{}").await?;
    assert_eq!(without_message.status, 500, "{}", without_message.text());
    fabric.stop().await
}

#[tokio::test]
async fn stream_both_ways_is_lines_both_ways() -> Result<()> {
    let (_echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let answer = upload(&fabric, "/echo.v1.EchoService/Converse", "{\"text\":\"a\"}\n{\"text\":\"b\"}\n").await?;
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(answer.text(), "{\"text\":\"a\"}\n{\"text\":\"b\"}\n");
    fabric.stop().await
}

#[tokio::test]
async fn line_that_is_no_message_and_lines_over_the_limits_are_refused() -> Result<()> {
    let (_echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let path = "/echo.v1.EchoService/Converse";
    let wrong = upload(&fabric, path, "{\"text\":\"a\"}\n{\"colour\":1}\n").await?;
    assert_eq!((wrong.status.as_u16(), reason(&wrong).as_str()), (400, "FIELD_UNKNOWN"), "{}", wrong.text());
    assert!(wrong.text().contains("[1].colour"), "{}", wrong.text());
    for lines in ["{}\n".repeat(4), format!("{{\"text\":\"{}\"}}", "long".repeat(300))] {
        let refused = upload(&fabric, path, &lines).await?;
        assert_eq!((refused.status.as_u16(), reason(&refused).as_str()), (429, "REQUEST_TOO_LARGE"));
    }
    let typed = fabric.call(Method::POST, path).body("text/csv", "a,b").send().await?;
    assert_eq!((typed.status.as_u16(), reason(&typed).as_str()), (415, "PROTOCOL_UNSUPPORTED"));
    fabric.stop().await
}
