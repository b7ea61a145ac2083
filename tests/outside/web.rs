//! The libraries of gRPC and Connect for Node, those for browsers, ws, and buf, each in every protocol that it has.

use crate::{output, tool, with_echo};
use accord_fabric::{EDITOR, Fabric, binaries::workspace};
use anyhow::{Context, Result};
use serde_json::{Value, json};

/// The descriptor set of the echo service, as buf builds it.
pub(crate) async fn descriptors(directory: &tempfile::TempDir) -> Result<String> {
    let path = directory.path().join("echo.binpb").display().to_string();
    let protos = workspace().join("tests/clients/proto").display().to_string();
    output(&tool("ACCORD_TEST_BUF")?, &["build", &protos, "--output", &path]).await?;
    Ok(path)
}

/// Runs a script of Node, which prints what it has seen.
pub(crate) async fn node(script: &str, fabric: &Fabric, descriptors: &str, others: &[&str]) -> Result<Value> {
    let script = workspace().join("tests/clients/web").join(script).display().to_string();
    let (url, token) = (fabric.gateway.url(), fabric.token(EDITOR).await?);
    let arguments = [&[&*script, "--url", &url, "--token", &token, "--descriptors", descriptors], others].concat();
    let seen = output("node", &arguments).await?;
    serde_json::from_str(&seen).with_context(|| seen)
}

/// Holds what Connect's clients saw by each transport against what they should have.
pub(crate) fn hold_connect(seen: &Value, transports: usize) -> Result<()> {
    let by_transport = seen.as_object().context("an object")?;
    assert_eq!(by_transport.len(), transports);
    for (transport, steps) in by_transport {
        for (step, expected) in [("unary", json!("hi")), ("stream", json!([1, 2, 3])), ("metadata", json!("kept"))] {
            assert_eq!(steps[step]["ok"], expected, "{transport}, {step}: {steps}");
        }
        let failure = (&steps["failure"]["code"], &steps["failure"]["message"]);
        assert_eq!(failure, (&"FailedPrecondition".into(), &"as asked: käse".into()), "{transport}: {steps}");
        for step in ["anonymous", "anonymous_stream"] {
            assert_eq!(steps[step]["code"], "Unauthenticated", "{transport}: {steps}");
            assert_eq!(steps[step]["fault"], "gateway", "{transport}: {steps}");
            assert_eq!(steps[step]["details"][0]["type"], "google.rpc.ErrorInfo", "{transport}: {steps}");
        }
        assert_eq!(steps["late"]["code"], "DeadlineExceeded", "{transport}: {steps}");
        if let Some(both_ways) = steps.get("bidi") {
            assert_eq!(
                (&both_ways["ok"], &steps["client_stream"]["ok"]),
                (&json!(["a", "b"]), &"a b".into()),
                "{transport}"
            );
        }
    }
    Ok(())
}

/// The same for those of grpc-web.
pub(crate) fn hold_grpc_web(seen: &Value) {
    for format in ["text", "binary"] {
        let steps = &seen[format];
        assert_eq!(steps["unary"], json!({ "ok": "hi" }), "{format}: {seen}");
        assert_eq!(steps["failure"], json!({ "code": 9, "message": "as asked: käse" }), "{format}: {seen}");
        assert_eq!(steps["anonymous"]["code"], 16, "{format}: {seen}");
    }
    assert_eq!(seen["text"]["stream"], json!({ "ok": [1, 2, 3] }), "whose binary form has no streams: {seen}");
}

/// The same for those of WebSocket.
pub(crate) fn hold_websocket(seen: &Value) {
    for format in ["json", "proto"] {
        let steps = &seen[format];
        for (step, messages) in [
            ("unary", json!(["hi"])),
            ("stream", json!([1, 2, 3])),
            ("client_stream", json!(["a b"])),
            ("bidi", json!(["a", "b"])),
        ] {
            let expected = json!({ "messages": messages, "code": 1000, "reason": "", "wasClean": true });
            assert_eq!(steps[step], expected, "{format}, {step}");
        }
        let failure = &steps["failure"];
        assert_eq!((&failure["code"], &failure["reason"]), (&4009.into(), &"as asked: käse".into()), "{format}");
        let error = &failure["error"];
        assert_eq!((&error["code"], &error["message"]), (&9.into(), &"as asked: käse".into()), "{format}");
        let anonymous = &steps["anonymous"];
        let reason = &anonymous["error"]["details"][0]["reason"];
        assert_eq!((&anonymous["code"], reason), (&4016.into(), &"CREDENTIAL_MISSING".into()), "{format}");
        assert_eq!((&steps["left"]["code"], &steps["left"]["wasClean"]), (&1000.into(), &true.into()), "{format}");
    }
}

#[tokio::test]
async fn connects_own_clients_make_every_kind_of_call_in_every_protocol() -> Result<()> {
    let (fabric, directory) = (with_echo().await?, tempfile::tempdir()?);
    hold_connect(&node("connect.cjs", &fabric, &descriptors(&directory).await?, &[]).await?, 10)?;
    fabric.stop().await
}

#[tokio::test]
async fn grpcs_own_client_for_node_makes_every_kind_of_call() -> Result<()> {
    let (fabric, directory) = (with_echo().await?, tempfile::tempdir()?);
    let seen = node("grpc.cjs", &fabric, &descriptors(&directory).await?, &[]).await?;
    assert_eq!(seen["unary"]["ok"]["text"], "hi", "{seen}");
    let metadata = &seen["metadata"];
    assert_eq!((&metadata["echo-note"], &metadata["echo-bytes-bin"]), (&"kept".into(), &"AAE=".into()), "{seen}");
    for (step, expected) in [("stream", json!([1, 2, 3])), ("client_stream", json!("a b")), ("bidi", json!(["a", "b"]))]
    {
        assert_eq!(seen[step], json!({ "ok": expected }), "{step}: {seen}");
    }
    let failure = (&seen["failure"]["code"], &seen["failure"]["message"]);
    assert_eq!(failure, (&9.into(), &"as asked: käse".into()), "{seen}");
    let anonymous = (&seen["anonymous"]["code"], &seen["anonymous"]["fault"]);
    assert_eq!(anonymous, (&16.into(), &"gateway".into()), "{seen}");
    assert_eq!(seen["late"]["code"], 4, "{seen}");
    fabric.stop().await
}

#[tokio::test]
async fn grpc_webs_own_client_reads_answers_streams_and_errors_in_text_and_binary() -> Result<()> {
    let (fabric, directory) = (with_echo().await?, tempfile::tempdir()?);
    hold_grpc_web(&node("grpc_web.cjs", &fabric, &descriptors(&directory).await?, &[]).await?);
    fabric.stop().await
}

#[tokio::test]
async fn ws_makes_every_kind_of_call_in_text_and_binary() -> Result<()> {
    let (fabric, directory) = (with_echo().await?, tempfile::tempdir()?);
    hold_websocket(&node("websocket.cjs", &fabric, &descriptors(&directory).await?, &[]).await?);
    fabric.stop().await
}

#[tokio::test]
async fn buf_calls_in_each_protocol() -> Result<()> {
    let (fabric, directory) = (with_echo().await?, tempfile::tempdir()?);
    let (schema, token) = (descriptors(&directory).await?, fabric.token(EDITOR).await?);
    let header = format!("authorization: Bearer {token}");
    for protocol in ["grpc", "grpcweb", "connect"] {
        for (method, data, expected) in
            [("Say", r#"{"text":"hi"}"#, "\"hi\""), ("Count", r#"{"to":3}"#, "\"number\":3")]
        {
            let url = format!("{}/echo.v1.EchoService/{method}", fabric.gateway.url());
            let mut arguments =
                vec!["curl", "--protocol", protocol, "--schema", &schema, "--header", &header, "--data", data];
            if protocol == "grpc" {
                arguments.push("--http2-prior-knowledge");
            }
            arguments.push(&url);
            let said = output(&tool("ACCORD_TEST_BUF")?, &arguments).await?;
            assert!(said.replace(' ', "").contains(expected), "{protocol}, {method}: {said}");
        }
    }
    fabric.stop().await
}
