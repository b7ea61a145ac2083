//! RFC 9112 by section, with what RFC 9110 says of the same messages: HTTP/1.1 as it stands on the wire.

use std::{io, time::Duration};

use accord_runtime::server::ListenConfig;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::probe::{Port, serve_http};

const PATIENCE: Duration = Duration::from_secs(20);
const GRACE: Duration = Duration::from_secs(1);
const TARGET: &str = "/probe.v1.Probe/Answer";

async fn server() -> Port {
    serve_http(&ListenConfig::default(), GRACE).await
}

/// Everything that the server answers until it closes.
async fn answers(port: &Port, request: &str) -> String {
    let mut socket = TcpStream::connect(port.address).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, socket.read_to_end(&mut answer)).await.unwrap_or_else(|_| panic!("no end: {request}"));
    String::from_utf8_lossy(&answer).into_owned()
}

/// One answer with this status, then the end of the connection; no handler is reached.
async fn is_refused(request: &str, statuses: &[&str]) {
    let port = server().await;
    let answer = answers(&port, request).await;
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).unwrap_or_default();
    assert!(statuses.contains(&status), "{request:?}: {answer}");
    assert_eq!((answer.matches("HTTP/1.1 ").count(), port.probe.calls()), (1, 0), "{request:?}: {answer}");
}

/// Answered with 200, by a handler.
async fn is_served(request: &str) -> String {
    let port = server().await;
    let answer = answers(&port, request).await;
    assert!(answer.contains("HTTP/1.1 200") || answer.contains("HTTP/1.0 200"), "{request:?}: {answer}");
    assert_eq!(port.probe.calls(), 1, "{request:?}: {answer}");
    answer
}

/// A request with these fields, and a body behind them.
fn post(fields: &str, body: &str) -> String {
    format!("POST {TARGET} HTTP/1.1\r\nhost: probe\r\nconnection: close\r\n{fields}\r\n{body}")
}

#[tokio::test]
async fn section_2_2_empty_line_before_the_request_is_ignored() {
    is_served(&format!("\r\n{}", post("content-length: 0\r\n", ""))).await;
}

#[tokio::test]
async fn section_2_2_space_before_the_first_field_is_refused() {
    is_refused(&format!("POST {TARGET} HTTP/1.1\r\n host: probe\r\n\r\n"), &["400"]).await;
}

#[tokio::test]
async fn section_2_3_unknown_version_is_refused() {
    for version in ["HTTP/3.0", "HTTP/1.2.3", "http/1.1", "HTTX/1.1"] {
        is_refused(&format!("POST {TARGET} {version}\r\nhost: probe\r\n\r\n"), &["400", "505"]).await;
    }
}

#[tokio::test]
async fn section_3_request_line_that_is_none_is_refused() {
    for line in ["POST", "POST /a b HTTP/1.1", " POST / HTTP/1.1", "PO(ST / HTTP/1.1"] {
        is_refused(&format!("{line}\r\nhost: probe\r\n\r\n"), &["400"]).await;
    }
}

#[tokio::test]
async fn section_3_2_request_without_a_host_is_refused() {
    is_refused(&format!("POST {TARGET} HTTP/1.1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"), &["400"]).await;
}

#[tokio::test]
async fn section_3_2_request_with_two_hosts_is_refused() {
    is_refused(&post("host: other\r\ncontent-length: 0\r\n", ""), &["400"]).await;
}

#[tokio::test]
async fn section_3_2_host_that_is_none_is_refused() {
    let invalid = format!("POST {TARGET} HTTP/1.1\r\nhost: a b/c\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    is_refused(&invalid, &["400"]).await;
}

#[tokio::test]
async fn section_3_2_2_absolute_form_is_served() {
    let request = post("content-length: 0\r\n", "").replace(TARGET, &format!("http://probe{TARGET}"));
    is_served(&request).await;
}

#[tokio::test]
async fn section_5_1_space_before_the_colon_is_refused() {
    is_refused(&post("x-spaced : x\r\n", ""), &["400"]).await;
}

#[tokio::test]
async fn section_5_2_folded_field_is_refused() {
    is_refused(&post("x-folded: a\r\n b\r\n", ""), &["400"]).await;
}

#[tokio::test]
async fn section_5_5_field_value_with_a_control_character_is_refused() {
    for value in ["a\0b", "a\u{1}b", "a\rb"] {
        is_refused(&post(&format!("x-value: {value}\r\n"), ""), &["400"]).await;
    }
}

#[tokio::test]
async fn section_6_1_transfer_coding_that_is_unknown_is_refused() {
    for coding in ["gzip", "chunked, gzip", "chunked, chunked", "identity"] {
        is_refused(&post(&format!("transfer-encoding: {coding}\r\n"), "0\r\n\r\n"), &["400", "501"]).await;
    }
}

#[tokio::test]
async fn section_6_2_content_length_that_is_no_number_is_refused() {
    for length in ["-1", "+1", "0x1", "1, 2", "18446744073709551616", ""] {
        is_refused(&post(&format!("content-length: {length}\r\n"), "x"), &["400"]).await;
    }
}

#[tokio::test]
async fn section_7_1_chunked_body_with_an_extension_and_trailers_is_served() {
    is_served(&post("transfer-encoding: chunked\r\n", "3;a=b\r\nabc\r\n0\r\nx-trailer: x\r\n\r\n")).await;
}

#[tokio::test]
async fn section_9_3_connection_of_http_1_0_closes_behind_its_answer() {
    let answer = is_served(&format!("POST {TARGET} HTTP/1.0\r\nhost: probe\r\ncontent-length: 0\r\n\r\n")).await;
    assert!(!answer.contains("keep-alive"), "{answer}");
}

#[tokio::test]
async fn section_9_6_close_is_answered_with_close() {
    let answer = is_served(&post("content-length: 0\r\n", "")).await;
    assert!(answer.contains("connection: close"), "{answer}");
}

/// The whole answer to a client that goes on sending when it has come.
async fn answer_to_writer(head: &str, rest: &[u8]) -> io::Result<String> {
    let port = server().await;
    let mut socket = TcpStream::connect(port.address).await?;
    socket.write_all(head.as_bytes()).await?;
    socket.peek(&mut [0]).await?;
    for part in rest.chunks(4 << 10) {
        socket.write_all(part).await?;
    }
    let mut answer = String::new();
    timeout(PATIENCE, socket.read_to_string(&mut answer)).await??;
    Ok(answer)
}

#[tokio::test]
async fn section_9_6_answer_before_the_body_is_read_whole_by_a_client_that_goes_on_sending() {
    let head = format!("POST {TARGET} HTTP/1.1\r\ncontent-length: 65536\r\n\r\n");
    let answer = answer_to_writer(&head, &vec![b'a'; 64 << 10]).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.ends_with("(RFC 9112, 3.2)\n"), "{answer}");
}

#[tokio::test]
async fn section_9_6_answer_to_what_is_no_request_is_read_whole_by_a_client_that_goes_on_sending() {
    let answer = answer_to_writer("POST / / HTTP/1.1\r\n\r\n", &vec![b'a'; 64 << 10]).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}
