//! Python's gRPC client and its client of WebSocket: every kind of call, through the gateway, to a service that streams.

use crate::{output, tool, web::hold_websocket, with_echo};
use accord_fabric::{EDITOR, binaries};
use anyhow::Result;
use serde_json::Value;

#[tokio::test]
async fn websockets_makes_every_kind_of_call_in_text_and_binary() -> Result<()> {
    let fabric = with_echo().await?;
    let token = fabric.token(EDITOR).await?;
    let script = binaries::workspace().join("tests/clients/websockets_client.py").display().to_string();
    let target = fabric.gateway.listen.to_string();
    let seen = output(&tool("ACCORD_TEST_PYTHON")?, &[&script, "--target", &target, "--token", &token]).await?;
    hold_websocket(&serde_json::from_str(&seen)?);
    fabric.stop().await
}

#[tokio::test]
async fn grpcio_makes_every_kind_of_call() -> Result<()> {
    let fabric = with_echo().await?;
    let token = fabric.token(EDITOR).await?;
    let script = binaries::workspace().join("tests/clients/grpcio_client.py").display().to_string();
    let target = fabric.gateway.listen.to_string();
    let seen = output(&tool("ACCORD_TEST_PYTHON")?, &[&script, "--target", &target, "--token", &token]).await?;
    let seen: Value = serde_json::from_str(&seen)?;

    let echoed = &seen["seen_by_service"];
    assert_eq!(echoed["metadata"]["echo-note"], "kept", "{seen}");
    assert_eq!(echoed["metadata"]["x-request-id"], "grpcio-journey-1");
    assert_eq!(echoed["metadata"]["echo-bytes-bin"], "AAE=");
    assert_eq!(seen["deadline"]["code"], "DEADLINE_EXCEEDED", "{seen}");
    assert_eq!(
        (&seen["failure"]["code"], &seen["failure"]["message"]),
        (&"FAILED_PRECONDITION".into(), &"as asked".into())
    );
    assert_eq!(seen["failure"]["reason"], Value::Null, "a handler's error has no reason of ours");
    assert_eq!(seen["without_token"]["code"], "UNAUTHENTICATED");
    assert_eq!(seen["without_token"]["reason"], "accord/CREDENTIAL_MISSING");
    assert_eq!(seen["unknown_method"]["code"], "UNIMPLEMENTED");
    assert_eq!(seen["unknown_method"]["reason"], "accord/METHOD_UNKNOWN");
    for step in ["unary", "server_stream", "large_stream", "client_stream", "bidi"] {
        assert!(!seen[step].is_null() && seen[step]["code"].is_null(), "{step}: {}", seen[step]);
    }
    fabric.stop().await
}
