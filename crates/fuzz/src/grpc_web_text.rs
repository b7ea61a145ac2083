//! The text form of gRPC-Web: group by group what the base64 crate reads, however the body is cut.

use accord_gateway::parsers::{grpc_web_text, grpc_web_text_in_chunks};
use base64::{Engine, engine::general_purpose::STANDARD};

use crate::Target;

pub(crate) const TARGET: Target =
    Target { name: "grpc_web_text", check, tokens: &["AAAA", "YQ==", "YWI=", "=", "==", "////", "-_", "AAAAAAA="] };

/// The first byte says how the rest is cut.
fn check(input: &[u8]) {
    let Some((size, text)) = input.split_first() else { return };
    let whole = grpc_web_text(text).map(|plain| plain.to_vec());
    assert_eq!(whole, expected(text));
    for size in [1, usize::from(*size).max(1)] {
        assert_eq!(grpc_web_text_in_chunks(text.chunks(size)), whole, "in chunks of {size}");
    }
    let encoded = STANDARD.encode(text);
    assert_eq!(grpc_web_text(encoded.as_bytes()).as_deref(), Some(text), "encoded and decoded");
}

fn expected(text: &[u8]) -> Option<Vec<u8>> {
    let groups = text.chunks(4).map(|group| STANDARD.decode(group).ok());
    groups.collect::<Option<Vec<_>>>().map(|groups| groups.concat())
}
