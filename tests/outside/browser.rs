//! A page in Chromium, with the libraries for browsers as they are and its own WebSocket. It has another origin than the gateway, so
//! that CORS is what a browser makes of it.

use crate::{
    tool,
    web::{descriptors, hold_connect, hold_grpc_web, hold_websocket, node},
    with_echo_under,
};
use accord_fabric::Port;
use anyhow::{Context, Result};
use serde_json::Value;

/// What a page saw that may call nothing.
fn hold_refused(seen: &Value) -> Result<()> {
    for (transport, steps) in seen["connect"].as_object().context("an object")? {
        for (step, outcome) in steps.as_object().context("an object")? {
            assert!(outcome["code"].is_string() && outcome["fault"].is_null(), "{transport}, {step}: {outcome}");
        }
    }
    for format in ["text", "binary"] {
        let outcome = &seen["grpc_web"][format]["unary"];
        assert!(outcome["code"].is_number() && outcome["ok"].is_null(), "{format}: {outcome}");
    }
    // A browser tells a page no more of a handshake that was refused.
    assert_eq!((&seen["websocket"]["code"], &seen["websocket"]["wasClean"]), (&1006.into(), &false.into()));
    Ok(())
}

#[tokio::test]
async fn page_in_a_browser_calls_in_every_protocol_where_its_origin_may() -> Result<()> {
    let reserved = Port::reserve()?;
    let port = reserved.address().port().to_string();
    let cors = format!("cors = {{ origins = [\"http://127.0.0.1:{port}\"] }}");
    let fabric = with_echo_under(cors.parse()?).await?;
    let (directory, chromium) = (tempfile::tempdir()?, tool("ACCORD_TEST_CHROMIUM")?);
    let others = ["--chromium", &chromium, "--port", &port];
    let seen = node("browser.cjs", &fabric, &descriptors(&directory).await?, &others).await?;
    let allowed = &seen["allowed"];
    hold_connect(&allowed["connect"], 4)?;
    hold_grpc_web(&allowed["grpc_web"]);
    hold_websocket(&allowed["websocket"]);
    hold_refused(&seen["other"])?;
    fabric.stop().await
}
