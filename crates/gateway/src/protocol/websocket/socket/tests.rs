use super::*;
use crate::protocol::tests::{GET, memory, table};
use accord_runtime::fault::reason_of;
use std::future::poll_fn;

impl Socket {
    /// One by which this message has come.
    pub(in crate::protocol) fn holding(format: Format, is_text: bool, bytes: Bytes) -> Self {
        let (sender, socket) = Self::new(format);
        sender.try_send(Piece { is_text, is_last: true, bytes }).expect("there is room for one");
        socket
    }
}

/// What comes of pieces, each with whether it is text and the last of its message, and whether the messages end well after them.
async fn read(pieces: &[(bool, bool, &'static str)]) -> (Vec<Bytes>, Option<Fault>) {
    let (sender, socket) = Socket::new(Format::Json);
    let entry = Arc::clone(table().await.grpc(GET).unwrap());
    let pieces = pieces.to_vec();
    tokio::spawn(async move {
        for (is_text, is_last, text) in pieces {
            _ = sender.send(Piece { is_text, is_last, bytes: Bytes::from_static(text.as_bytes()) }).await;
        }
    });
    let (mut messages, mut held) = (socket.messages(&entry.plan, &entry.method), memory().request());
    let mut read = Vec::new();
    while let Some(next) = poll_fn(|context| messages.poll_next(context, &mut held)).await {
        match next {
            Ok(message) => read.push(message),
            Err(fault) => return (read, Some(fault)),
        }
    }
    (read, None)
}

fn reason(fault: Option<Fault>) -> String {
    fault.and_then(|fault| reason_of(fault.status())).map(accord_runtime::fault::name).unwrap_or_default()
}

#[tokio::test]
async fn text_is_json_and_binary_is_protobuf_until_an_empty_text_ends_them() {
    let pieces = [
        (true, false, "{\"id\":"),
        (true, true, "\"a\"}"),
        (false, true, "\n\u{1}b"),
        (false, true, ""),
        (true, true, ""),
        (true, true, "{}"),
    ];
    let (messages, fault) = read(&pieces).await;
    assert_eq!((&*messages, reason(fault)), (&["\n\u{1}a", "\n\u{1}b", ""].map(Bytes::from)[..], String::new()));
}

#[tokio::test]
async fn messages_that_break_off_or_are_none_are_refused() {
    for pieces in [&[][..], &[(true, false, "{")], &[(true, true, "{")], &[(true, true, "{} {}")]] {
        assert_eq!(reason(read(pieces).await.1), "REQUEST_MALFORMED", "{pieces:?}");
    }
    assert_eq!(reason(read(&[(true, true, "{\"colour\":1}")]).await.1), "FIELD_UNKNOWN");
}

#[tokio::test]
async fn message_over_its_bound_is_refused_before_it_is_whole() {
    let begun: &'static str = "x".repeat(5 << 20).leak();
    assert_eq!(reason(read(&[(false, false, begun)]).await.1), "REQUEST_TOO_LARGE");
}

#[tokio::test]
async fn message_that_is_not_whole_is_held() {
    let entry = Arc::clone(table().await.grpc(GET).unwrap());
    let (sender, socket) = Socket::new(Format::Json);
    // A mebibyte is all that the budget has, and a caller's share of it is half.
    let piece = || Piece { is_text: false, is_last: false, bytes: vec![0; 300 << 10].into() };
    tokio::spawn(async move { while sender.send(piece()).await.is_ok() {} });
    let (mut messages, mut held) = (socket.messages(&entry.plan, &entry.method), memory().request());
    let next = poll_fn(|context| messages.poll_next(context, &mut held)).await;
    assert_eq!(reason(next.and_then(Result::err)), "OVERLOADED");
}
