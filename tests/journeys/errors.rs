//! Errors of handlers, and malformed responses.

use crate::{
    scripted_upstream::{Reply, ScriptedUpstream},
    wire::{GrpcCall, word},
};
use anyhow::Result;
use http::{Method, StatusCode};
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

#[tokio::test]
async fn malformed_response_is_upstream_malformed() -> Result<()> {
    let echo = ScriptedUpstream::start().await?;
    let fabric = echo.behind()?.start().await?;
    for method in ["Say", "Change", "Recite", "Converse"] {
        echo.script([Reply::http(StatusCode::SERVICE_UNAVAILABLE)]);
        let answer = GrpcCall::new(&fabric, method, "who").send().await?;
        assert_eq!(answer.refusal(), (Code::Unavailable, "UPSTREAM_MALFORMED".into()), "{method}: {answer:?}");
        assert_eq!(answer.head["x-accord-fault"], "upstream", "{method}");
        let half = Reply::unfinished().message(&word("half"));
        let (ok, odd) = (Status::new(Code::Ok, ""), |reply: Reply| reply.trailer("grpc-status", "banana"));
        let replies = [
            half.clone().without_status(),
            half.clone().trailer("kept", "1"),
            Reply::unfinished().message(&word("half").slice(..3)).status(&ok),
            Reply::unfinished().message(&word("half").slice(..8)).status(&ok),
            odd(half),
            odd(Reply::unfinished()),
            Reply::ok(&word("half")).head("content-type", "text/html"),
        ];
        for reply in replies {
            echo.script([reply]);
            let answer = GrpcCall::new(&fabric, method, "half").send().await?;
            assert_eq!(answer.refusal().1, "UPSTREAM_MALFORMED", "{method}: {answer:?}");
        }
    }
    echo.script([Reply::http(StatusCode::SERVICE_UNAVAILABLE)]);
    assert_eq!(fabric.get("/v1/words/who:recite").send().await?.status, 503);
    echo.script([Reply::http(StatusCode::SERVICE_UNAVAILABLE)]);
    assert_eq!(GrpcCall::new(&fabric, "Repeat", "again").send().await?.ok()?, word("again"));
    fabric.stop().await
}

fn word_taken() -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(
        "WORD_TAKEN",
        "echo.example",
        [("word", "é/1")].map(|(key, value)| (key.into(), value.into())),
    );
    details.add_bad_request_violation("text", "is taken");
    Status::with_error_details(Code::AlreadyExists, "déjà vu: 100%", details)
}

#[tokio::test]
async fn error_of_a_handler_passes_unchanged_in_grpc() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let error = word_taken();
    for method in ["Say", "Change", "Repeat", "Recall", "Recite", "Converse"] {
        echo.script([Reply::unfinished().status(&error)]);
        let answer = GrpcCall::new(&fabric, method, "taken").send().await?;
        let status = answer.status();
        assert_eq!((status.code(), status.message()), (error.code(), error.message()), "{method}");
        assert_eq!(status.details(), error.details(), "{method}");
        assert!(!answer.head.contains_key("x-accord-fault"), "{method}: it is the handler's own");
    }
    fabric.stop().await
}

#[tokio::test]
async fn error_of_a_handler_is_written_with_its_details_in_json() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let error = word_taken();
    let calls = [
        fabric.get("/v1/words/taken"),
        fabric.get("/v1/words/taken:recite"),
        fabric.call(Method::POST, "/v1/words/taken:change"),
    ];
    for call in calls {
        echo.script([Reply::unfinished().status(&error)]);
        let answer = call.send().await?;
        assert_eq!(answer.status, 409, "{}", answer.text());
        let body = answer.json()?;
        assert_eq!((body["code"].as_i64(), body["message"].as_str()), (Some(6), Some(error.message())));
        let info = json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "WORD_TAKEN",
            "domain": "echo.example",
            "metadata": { "word": "é/1" },
        });
        assert_eq!(body["details"][0], info);
        assert_eq!(body["details"][1]["fieldViolations"][0]["field"], "text");
    }
    fabric.stop().await
}

#[tokio::test]
async fn error_of_the_mesh_tells_the_id_of_its_call() -> Result<()> {
    let (_echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let answer = fabric.get("/v1/words/who?nowhere=1").header("x-request-id", "order-17").send().await?;
    let told =
        json!({ "@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": "order-17", "servingData": "" });
    let details = answer.json()?["details"].clone();
    let told_as =
        |detail: &serde_json::Value| detail["@type"] == told["@type"] && detail["requestId"] == told["requestId"];
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(details.as_array().is_some_and(|details| details.iter().any(told_as)), "{details}");
    let answer = GrpcCall::new(&fabric, "Nowhere", "who").header("x-request-id", "order-18").send().await?;
    let request = answer.status().get_details_request_info();
    assert_eq!(request.map(|request| request.request_id), Some("order-18".to_owned()), "{answer:?}");
    fabric.stop().await
}
