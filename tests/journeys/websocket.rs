//! WebSocket: calls of every kind, as a page in a browser makes them.

use crate::{
    create,
    scripted_upstream::{Reply, ScriptedUpstream},
    wire::word,
};
use accord_fabric::{
    EDITOR, Fabric, Part,
    websocket::{Format, WebSocketAnswer, WebSocketCall},
};
use anyhow::{Context, Result};
use std::{fs, time::Duration};
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// As many messages as somebody may leave unread.
const MANY: &str =
    "[[rule]]\nselector = \"echo.v1.EchoService/Converse\"\npolicy = { max_stream_messages = 1000000 }\n";

const FORMATS: [Format; 2] = [Format::Json, Format::Proto];

fn call(fabric: &Fabric, method: &str, format: Format) -> WebSocketCall {
    WebSocketCall::new(fabric.gateway.listen, &format!("/echo.v1.EchoService/{method}"), format)
}

fn outcome(answer: &WebSocketAnswer) -> (Code, &str) {
    (answer.code, answer.reason())
}

/// A gateway that is allowed to be opened by pages of one origin, and pings early.
async fn with_settings(settings: toml::Table) -> Result<(ScriptedUpstream, Fabric)> {
    let echo = ScriptedUpstream::start().await?;
    let fabric = echo.behind()?.settings(Part::Gateway, settings).start().await?;
    Ok((echo, fabric))
}

#[tokio::test]
async fn messages_of_both_sides_are_frames_in_every_kind_of_call() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    for format in FORMATS {
        for (method, texts) in
            [("Say", &["wörter"][..]), ("Recite", &["a"]), ("Gather", &["a"]), ("Converse", &["a", "", "c"])]
        {
            let answer = call(&fabric, method, format).send(texts).await?;
            assert_eq!(
                (&*answer.texts, answer.code),
                (&texts.iter().map(ToString::to_string).collect::<Vec<_>>()[..], Code::Ok)
            );
            assert_eq!(answer.close, Some((1000, String::new())), "{method}");
            let sent: Vec<_> = texts.iter().flat_map(|text| word(text)).collect();
            assert_eq!(echo.take_received()[0].body, sent, "{method}");
        }
    }
    fabric.stop().await
}

#[tokio::test]
async fn error_of_a_handler_is_the_last_text_and_the_close() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let details = ErrorDetails::with_error_info("SOLD_OUT", "shop", [("a".to_owned(), "b".to_owned())]);
    let message = "none left: käse ".repeat(20);
    let status = Status::with_error_details(Code::FailedPrecondition, &message, details);
    for format in FORMATS {
        for (method, sent) in [("Say", 0), ("Recite", 0), ("Recite", 2), ("Converse", 1)] {
            let reply = (0..sent).fold(Reply::unfinished(), |reply, _| reply.message(&word("a")));
            echo.script([reply.status(&status)]);
            let answer = call(&fabric, method, format).send(&["a"]).await?;
            assert_eq!(outcome(&answer), (Code::FailedPrecondition, "SOLD_OUT"), "{method}");
            assert_eq!((answer.texts.len(), &answer.message), (sent, &message), "{method}");
            let (code, reason) = answer.close.context("a close")?;
            assert!(code == 4009 && (120..=123).contains(&reason.len()), "{method}: {code} {reason}");
        }
    }
    fabric.stop().await
}

#[tokio::test]
async fn limits_of_a_method_hold_and_say_so() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    for format in FORMATS {
        let long = "long".repeat(300);
        for (method, texts) in
            [("Converse", &["a", "b", "c", "d"][..]), ("Converse", &[&long]), ("Say", &[&long]), ("Recite", &[&long])]
        {
            let answer = call(&fabric, method, format).send(texts).await?;
            assert_eq!(outcome(&answer), (Code::ResourceExhausted, "REQUEST_TOO_LARGE"), "{method}");
        }
        echo.script([Reply::unfinished().message(&word("a"))]);
        let answer = call(&fabric, "Recite", format).send(&["a"]).await?;
        assert_eq!((outcome(&answer), answer.texts.len()), ((Code::DeadlineExceeded, "STREAM_IDLE"), 1));
        echo.script([Reply::unfinished()]);
        let late = call(&fabric, "Say", format).header("request-timeout", "0.3")?.send(&["a"]).await?;
        assert_eq!(outcome(&late), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
    }
    fabric.stop().await
}

#[tokio::test]
async fn message_that_is_none_of_its_method_is_refused() -> Result<()> {
    let (_echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    for method in ["Say", "Converse"] {
        for (text, reason) in [("{", "REQUEST_MALFORMED"), (r#"{"colour":1}"#, "FIELD_UNKNOWN")] {
            let mut socket = call(&fabric, method, Format::Json).open().await?;
            socket.frame(Message::text(text)).await?;
            assert_eq!(outcome(&socket.answer().await?), (Code::InvalidArgument, reason), "{method}: {text}");
        }
    }
    let nothing = call(&fabric, "Say", Format::Json).send(&[]).await?;
    assert_eq!(outcome(&nothing), (Code::InvalidArgument, "REQUEST_MALFORMED"));
    let unknown = call(&fabric, "Nothing", Format::Json).send(&["a"]).await?;
    assert_eq!(outcome(&unknown), (Code::Unimplemented, "METHOD_UNKNOWN"));
    fabric.stop().await
}

#[tokio::test]
async fn token_of_a_page_comes_among_the_subprotocols() -> Result<()> {
    let fabric = Fabric::start().await?;
    create(&fabric, "Oak desk").await?;
    let get = WebSocketCall::new(fabric.gateway.listen, "/catalog.v1.ProductService/GetProduct", Format::Json);
    for (token, code, reason) in [
        (Some(fabric.token(EDITOR).await?), Code::Ok, ""),
        (Some("none".to_owned()), Code::Unauthenticated, "CREDENTIAL_INVALID"),
        (None, Code::Unauthenticated, "CREDENTIAL_MISSING"),
    ] {
        let call = token.iter().fold(get.clone(), |call, token| call.token(token));
        let mut socket = call.open().await?;
        socket.frame(Message::text(r#"{"id":"oak-desk"}"#)).await?;
        let answer = socket.answer().await?;
        assert_eq!((outcome(&answer), answer.texts.len()), ((code, reason), usize::from(code == Code::Ok)));
    }
    fabric.stop().await
}

#[tokio::test]
async fn page_of_another_origin_opens_one_only_where_cors_names_it() -> Result<()> {
    let (echo, fabric) = with_settings(toml::toml! { cors = { origins = ["https://shop.example"] } }).await?;
    let from = |origin: &str| call(&fabric, "Say", Format::Json).header("origin", origin);
    for origin in ["https://shop.example".to_owned(), format!("http://{}", fabric.gateway.listen)] {
        assert_eq!(from(&origin)?.send(&["a"]).await?.code, Code::Ok, "{origin}");
    }
    echo.take_received();
    for origin in ["https://evil.example", "null"] {
        let refusal = from(origin)?.refusal().await?;
        let body: serde_json::Value = serde_json::from_slice(refusal.body())?;
        assert_eq!(
            (refusal.status().as_u16(), &body["details"][0]["reason"]),
            (403, &"HEADER_REFUSED".into()),
            "{origin}"
        );
    }
    assert!(echo.take_received().is_empty());
    fabric.stop().await
}

#[tokio::test]
async fn close_by_the_client_cancels_the_call() -> Result<()> {
    let (echo, mut fabric) = ScriptedUpstream::behind_gateway().await?;
    for (index, method) in ["Say", "Recite", "Converse"].into_iter().enumerate() {
        echo.script([Reply::unfinished()]);
        let mut socket = call(&fabric, method, Format::Json).open().await?;
        socket.say("bye").await?;
        socket.end().await?;
        echo.wait_received(index + 1).await?;
        socket.frame(Message::Close(None)).await?;
        echo.wait_cancelled(index + 1).await?;
    }
    let cancelled = [("rpc_response_status_code", "CANCELLED"), ("accord_protocol", "websocket")];
    fabric.gateway.await_metric("rpc_server_call_duration_seconds_count", &cancelled, |calls| calls >= 3.0).await?;
    fabric.gateway.await_metric("accord_gateway_calls_active", &[], |active| active < 1.0).await?;
    fabric.stop().await
}

#[tokio::test]
async fn silent_client_is_pinged() -> Result<()> {
    let settings = toml::toml! { listen = { keepalive_interval = "100ms", keepalive_timeout = "10s" } };
    let (echo, fabric) = with_settings(settings).await?;
    echo.script([Reply::unfinished()]);
    let mut socket = call(&fabric, "Say", Format::Json).open().await?;
    socket.say("a").await?;
    for _ in 0..2 {
        // The client answers by itself.
        assert_eq!(socket.next().await?, Some(Message::Ping(Bytes::new())));
    }
    fabric.stop().await
}

#[tokio::test]
async fn websocket_that_outlives_a_drain_is_closed_as_going_away() -> Result<()> {
    let (echo, mut fabric) = with_settings(toml::toml! { grace = "1500ms" }).await?;
    echo.script([Reply::unfinished()]);
    let mut socket = call(&fabric, "Converse", Format::Json).open().await?;
    socket.say("a").await?;
    socket.end().await?;
    echo.wait_received(1).await?;
    let reading = tokio::spawn(socket.answer());
    assert!(fabric.gateway.process.terminate(Duration::from_secs(10)).await?.success());
    assert_eq!(reading.await??.close.context("a close")?.0, 1001);
    Ok(())
}

#[tokio::test]
async fn reader_that_stalls_loses_its_in_flight_slot_at_the_deadline() -> Result<()> {
    let echo = ScriptedUpstream::start().await?;
    let directory = tempfile::tempdir()?;
    let overlay = directory.path().join("many.toml");
    fs::write(&overlay, MANY)?;
    let mut fabric = echo.behind()?.overlay(&overlay).start().await?;
    let reply = (0..20_000).fold(Reply::unfinished(), |reply, _| reply.message(&word(&"x".repeat(900))));
    echo.script([reply]);
    let mut socket = call(&fabric, "Converse", Format::Json).header("request-timeout", "2")?.open().await?;
    socket.end().await?;
    fabric.gateway.await_metric("accord_gateway_calls_active", &[], |active| active > 0.0).await?;
    fabric.gateway.await_metric("accord_gateway_calls_active", &[], |active| active < 1.0).await?;
    fabric.stop().await
}
