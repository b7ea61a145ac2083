//! Connect's own libraries for Node and for browsers, grpc-web's, and buf, each in every protocol that it has.

use crate::{output, tool, with_echo};
use accord_fabric::{EDITOR, Fabric, binaries::workspace};
use anyhow::{Context, Result};
use serde_json::{Value, json};

/// The descriptor set of the echo service, as buf builds it.
async fn descriptors(directory: &tempfile::TempDir) -> Result<String> {
    let path = directory.path().join("echo.binpb").display().to_string();
    let protos = workspace().join("tests/clients/proto").display().to_string();
    output(&tool("ACCORD_TEST_BUF")?, &["build", &protos, "--output", &path]).await?;
    Ok(path)
}

/// Runs a script of Node, which prints what it has seen.
async fn node(script: &str, fabric: &Fabric, descriptors: &str) -> Result<Value> {
    let script = workspace().join("tests/clients/web").join(script).display().to_string();
    let (url, token) = (fabric.gateway.url(), fabric.token(EDITOR).await?);
    let arguments = [&script, "--url", &url, "--token", &token, "--descriptors", descriptors];
    let seen = output("node", &arguments).await?;
    serde_json::from_str(&seen).with_context(|| seen)
}

#[tokio::test]
async fn connects_own_clients_make_every_kind_of_call_in_every_protocol() -> Result<()> {
    let (fabric, directory) = (with_echo().await?, tempfile::tempdir()?);
    let seen = node("connect.cjs", &fabric, &descriptors(&directory).await?).await?;
    let transports = seen.as_object().context("an object")?;
    assert_eq!(transports.len(), 10);
    for (transport, steps) in transports {
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
    fabric.stop().await
}

#[tokio::test]
async fn grpc_webs_own_client_reads_answers_streams_and_errors_in_text_and_binary() -> Result<()> {
    let (fabric, directory) = (with_echo().await?, tempfile::tempdir()?);
    let seen = node("grpc_web.cjs", &fabric, &descriptors(&directory).await?).await?;
    for format in ["text", "binary"] {
        let steps = &seen[format];
        assert_eq!(steps["unary"], json!({ "ok": "hi" }), "{format}: {seen}");
        assert_eq!(steps["failure"], json!({ "code": 9, "message": "as asked: käse" }), "{format}: {seen}");
        assert_eq!(steps["anonymous"]["code"], 16, "{format}: {seen}");
    }
    assert_eq!(seen["text"]["stream"], json!({ "ok": [1, 2, 3] }), "whose binary form has no streams: {seen}");
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
