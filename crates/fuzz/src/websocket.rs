//! Frames of a WebSocket: what tungstenite reads of them, however the bytes are cut.

use std::io::{self, Read, Write};

use accord_gateway::parsers::{WebSocketFrame, websocket_frames};
use tokio_tungstenite::tungstenite::{
    Error, Message,
    error::ProtocolError,
    protocol::{Role, WebSocket, WebSocketConfig},
};

use crate::Target;

pub(crate) const TARGET: Target = Target {
    name: "websocket",
    check,
    tokens: &["\x00\x00\x00\x00", "{}", "\x03\x00\x00\x00", "\x01", "\x7f", "\x09"],
};

/// Longer messages are left to tungstenite's own bound, and compared no further.
const LIMIT: usize = 1 << 16;

/// A code that was registered after tungstenite knew them all.
const BAD_GATEWAY: u16 = 1014;
const PROTOCOL: u16 = 1002;

/// The first byte says how the rest is cut.
fn check(input: &[u8]) {
    let Some((size, stream)) = input.split_first() else { return };
    let whole = websocket_frames([stream]);
    for size in [1, usize::from(*size).max(1)] {
        assert_eq!(websocket_frames(stream.chunks(size)), whole, "in chunks of {size}");
    }
    let (frames, problem) = whole;
    let (mut expected, end) = expected(stream);
    match end {
        End::Closed(code) => {
            expected.push(WebSocketFrame::Close(code));
            assert_eq!((frames, problem), (expected, None));
        }
        End::OtherCode => {
            assert!(frames.starts_with(&expected));
            let close = frames.get(expected.len());
            let is_known = matches!(close, Some(WebSocketFrame::Close(Some(BAD_GATEWAY | PROTOCOL))));
            assert!(problem.is_some() || is_known, "{close:?} has a code that nobody may send");
        }
        // Text is looked at when it is read as JSON, and a method has its own bound.
        End::Failed(Error::Utf8(_) | Error::Capacity(_)) => assert!(frames.starts_with(&expected)),
        // What no frame can begin with is refused before the frame's head is whole.
        End::Failed(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => assert_eq!(frames, expected),
        End::Failed(Error::Protocol(refused)) => {
            assert_eq!(frames, expected);
            assert!(problem.is_some(), "tungstenite refuses it: {refused}");
        }
        End::Failed(other) => panic!("tungstenite fails: {other}"),
    }
}

/// Why tungstenite stops.
enum End {
    Closed(Option<u16>),
    /// A close with a code that it does not know, which it takes for `PROTOCOL`.
    OtherCode,
    Failed(Error),
}

/// What tungstenite reads, and why it stops.
fn expected(stream: &[u8]) -> (Vec<WebSocketFrame>, End) {
    let config = WebSocketConfig::default().max_message_size(Some(LIMIT)).max_frame_size(Some(LIMIT));
    let mut socket = WebSocket::from_raw_socket(Client(stream), Role::Server, Some(config));
    let mut frames = Vec::new();
    let end = loop {
        frames.push(match socket.read() {
            Ok(Message::Text(text)) => WebSocketFrame::Text(text.as_bytes().to_vec()),
            Ok(Message::Binary(bytes)) => WebSocketFrame::Binary(bytes.to_vec()),
            Ok(Message::Ping(bytes)) => WebSocketFrame::Ping(bytes.to_vec()),
            Ok(Message::Pong(_)) => WebSocketFrame::Pong,
            Ok(Message::Close(Some(close))) if close.reason == "Protocol violation" => break End::OtherCode,
            Ok(Message::Close(close)) => break End::Closed(close.map(|close| close.code.into())),
            Ok(Message::Frame(frame)) => panic!("a frame where a message is read: {frame}"),
            Err(error) => break End::Failed(error),
        });
    };
    (frames, end)
}

/// A client that has said all it says, and does not listen.
struct Client<'a>(&'a [u8]);

impl Read for Client<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Client<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
