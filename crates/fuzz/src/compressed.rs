//! Compressed bodies: within the limit or refused, whatever they say of themselves; and what was compressed comes out again.

use std::io::Write;

use accord_gateway::parsers::inflated;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};

use crate::Target;

pub(crate) const TARGET: Target =
    Target { name: "compressed", check, tokens: &["\x1f", "gzip", "\u{28}\x2f", "identity", "\x08\x00\x00\x00"] };

const LIMIT: u64 = 4096;

/// The first byte says how, as far as it matters.
fn check(input: &[u8]) {
    let Some((first, body)) = input.split_first() else { return };
    let name = if first % 2 == 0 { "gzip" } else { "zstd" };
    if let Some(plain) = inflated(name, Bytes::copy_from_slice(body), LIMIT) {
        assert!(plain.len() as u64 <= LIMIT, "{} bytes", plain.len());
    }
    let whole = inflated(name, compressed(name, body), LIMIT);
    let fits = body.len() as u64 <= LIMIT;
    assert_eq!(whole.as_deref(), fits.then_some(body), "compressed with {name} and inflated");
}

fn compressed(name: &str, body: &[u8]) -> Bytes {
    if name == "zstd" {
        return zstd::encode_all(body, 1).expect("nothing fails in memory").into();
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).expect("nothing fails in memory");
    encoder.finish().expect("nothing fails in memory").into()
}
