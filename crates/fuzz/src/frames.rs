//! Frames of gRPC, which are envelopes of Connect and frames of gRPC-Web as well: the same messages however the bytes are cut.

use accord_gateway::parsers::whole_frames;
use accord_upstream::grpc::{Deframer, PREFIX, frame};
use bytes::Bytes;
use http::HeaderValue;

use crate::Target;

pub(crate) const TARGET: Target = Target {
    name: "frames",
    check,
    tokens: &[
        "\x00\x00\x00\x00\x00",
        "\x00\x00\x00\x00\x01a",
        "\x01\x00\x00\x00\x03",
        "\x02\x00\x00\x00\x02{}",
        "\x1f",
        "\u{7f}",
    ],
};

/// The longest message.
const LIMIT: u64 = 1024;

/// The first byte says how messages are compressed, the second how the rest is cut.
fn check(input: &[u8]) {
    let [encoding, size, stream @ ..] = input else { return };
    let encoding = match encoding % 3 {
        0 => None,
        1 => Some(HeaderValue::from_static("gzip")),
        _ => Some(HeaderValue::from_static("deflate")),
    };
    let whole = messages([stream], encoding.as_ref());
    for size in [1, usize::from(*size).max(1)] {
        assert_eq!(messages(stream.chunks(size), encoding.as_ref()), whole, "in chunks of {size}");
        passed_on(stream, size);
    }
    if encoding.is_none() {
        assert_eq!(whole, expected(stream));
    }
    for message in &whole.0 {
        assert!(message.len() as u64 <= LIMIT, "{} bytes", message.len());
    }
    let again: Vec<u8> = whole.0.iter().flat_map(|message| frame(message)).collect();
    assert_eq!(messages([&again[..]], None), (whole.0, None), "framed again");
}

/// The messages, and what is wrong with what follows them.
type Read = (Vec<Bytes>, Option<String>);

fn messages<'a>(chunks: impl IntoIterator<Item = &'a [u8]>, encoding: Option<&HeaderValue>) -> Read {
    let (mut deframer, mut messages) = (Deframer::new(LIMIT), Vec::new());
    for chunk in chunks {
        deframer.push(chunk);
        loop {
            match deframer.next(encoding) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error.to_string())),
            }
        }
    }
    let is_cut_off = deframer.buffered() > 0;
    (messages, is_cut_off.then(|| "cut off".to_owned()))
}

/// One frame after another, of messages that are not compressed.
fn expected(mut stream: &[u8]) -> Read {
    let mut messages = Vec::new();
    let problem = loop {
        let [flag, a, b, c, d, rest @ ..] = stream else { break (!stream.is_empty()).then_some("cut off") };
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        match flag {
            0 | 1 if length as u64 > LIMIT => {
                break Some("the message is larger than the 1024 bytes its method allows");
            }
            0 | 1 if rest.len() < length => break Some("cut off"),
            0 => messages.push(Bytes::copy_from_slice(&rest[..length])),
            1 => break Some("the message is marked as compressed, and no `grpc-encoding` says how"),
            _ => break Some("the body is not one gRPC message: its compression flag is neither 0 nor 1"),
        }
        stream = &rest[length..];
    };
    (messages, problem.map(str::to_owned))
}

/// Frames of answers are passed on whole, and none is lost.
fn passed_on(stream: &[u8], size: usize) {
    let passed: Vec<Bytes> = whole_frames(stream.chunks(size));
    for frames in &passed {
        let mut rest = &frames[..];
        while let [_, a, b, c, d, after @ ..] = rest {
            rest =
                after.get(u32::from_be_bytes([*a, *b, *c, *d]) as usize..).expect("a frame that is passed on is whole");
        }
        assert!(rest.is_empty(), "a frame is passed on in part");
    }
    let length: usize = passed.iter().map(Bytes::len).sum();
    assert_eq!(passed.concat(), stream[..length], "in chunks of {size}");
    let left = &stream[length..];
    let prefix = left.first_chunk::<PREFIX>().map(|[_, a, b, c, d]| u32::from_be_bytes([*a, *b, *c, *d]) as usize);
    assert!(prefix.is_none_or(|needed| needed > left.len() - PREFIX), "a whole frame is kept back");
}
