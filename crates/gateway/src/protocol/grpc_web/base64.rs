//! The text form of gRPC-Web: base64 in pieces, each of which may end with padding.

use crate::{fault::Fault, protocol::frames::Rewrite};
use accord_api::accord::fault::v1::Reason;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use tonic::Status;

/// Characters that stand for three bytes together.
const GROUP: usize = 4;

/// Pieces that one message may come in: more are no way to write one.
const PIECES: u64 = 16;

/// Decodes a body as it comes.
#[derive(Default)]
pub(in crate::protocol) struct Base64 {
    /// Characters of a group that is not whole yet.
    begun: Vec<u8>,
}

impl Rewrite for Base64 {
    fn chunk(&mut self, chunk: &[u8]) -> Result<Bytes, Status> {
        let mut text = std::mem::take(&mut self.begun);
        text.extend_from_slice(chunk);
        self.begun = text.split_off(text.len() / GROUP * GROUP);
        decode(&text).ok_or_else(|| malformed().status().clone())
    }

    fn end(&mut self) -> Result<Bytes, Status> {
        if self.begun.is_empty() { Ok(Bytes::new()) } else { Err(malformed().status().clone()) }
    }
}

/// Whole groups, of which each may end with padding.
pub(in crate::protocol) fn decode(mut text: &[u8]) -> Option<Bytes> {
    let mut plain = Vec::with_capacity(text.len() / GROUP * 3);
    while !text.is_empty() {
        let end =
            text.iter().position(|byte| *byte == b'=').map_or(text.len(), |padding| (padding / GROUP + 1) * GROUP);
        let (piece, rest) = text.split_at_checked(end)?;
        STANDARD.decode_vec(piece, &mut plain).ok()?;
        text = rest;
    }
    Some(plain.into())
}

/// One piece.
pub(super) fn encode(plain: &[u8]) -> Bytes {
    STANDARD.encode(plain).into()
}

/// The most characters that a message of so many bytes takes in its frame, in a few pieces.
pub(super) fn encoded(limit: u64) -> u64 {
    let frame = limit.saturating_add(accord_upstream::grpc::PREFIX as u64);
    (frame.div_ceil(3) + PIECES).saturating_mul(GROUP as u64)
}

/// That a text is none.
pub(super) fn malformed() -> Fault {
    Fault::violation(Reason::RequestMalformed, "", "the body is not base64, as `application/grpc-web-text` says")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is decoded of pieces, however they are cut.
    fn decoded(text: &str, size: usize) -> Result<Vec<u8>, Status> {
        let (mut decoder, mut plain) = (Base64::default(), Vec::new());
        for chunk in text.as_bytes().chunks(size) {
            plain.extend_from_slice(&decoder.chunk(chunk)?);
        }
        decoder.end().map(|_| plain)
    }

    #[test]
    fn padding_between_pieces_is_decoded_however_the_body_is_cut() {
        let text: String =
            [&b"a"[..], b"bc", b"def", b"", b"ghij"].iter().map(|piece| STANDARD.encode(piece)).collect();
        assert!(text.starts_with("YQ==YmM="), "{text}");
        for size in 1..=text.len() {
            assert_eq!(decoded(&text, size).unwrap(), b"abcdefghij", "{size}");
        }
        assert_eq!(decode(text.as_bytes()).unwrap(), &b"abcdefghij"[..]);
    }

    #[test]
    fn text_that_is_no_base64_is_malformed() {
        for text in ["!!!!", "YQ", "YQ=a", "=YQ=", "Y==="] {
            for size in [1, 4, 64] {
                assert!(decoded(text, size).is_err(), "{text} by {size}");
            }
            assert!(decode(text.as_bytes()).is_none(), "{text}");
        }
    }
}
