//! The message in the query of a GET of Connect: what a form or base64 makes of it.

use accord_gateway::parsers::connect_message;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Uri;

use crate::{
    Target,
    percent::{decoded, decoded_form},
};

pub(crate) const TARGET: Target = Target {
    name: "connect_query",
    check,
    tokens: &[
        "message=",
        "encoding=json",
        "base64=1",
        "connect=v1",
        "compression=gzip",
        "&",
        "=",
        "+",
        "%2B",
        "%3D",
        "-_8",
    ],
};

fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(uri) = format!("/a.B/C?{text}").parse::<Uri>() else { return };
    // A fragment is no part of a query.
    let query = text.split('#').next().unwrap_or_default();
    assert_eq!(connect_message(&uri), expected(query));
}

fn expected(query: &str) -> Option<Vec<u8>> {
    let first = |name: &str| {
        let pair = query.split('&').find(|pair| pair.starts_with(&format!("{name}=")))?;
        Some(&pair[name.len() + 1..])
    };
    let (message, _) = (first("message")?, first("encoding")?);
    if first("base64") != Some("1") {
        return Some(decoded_form(message));
    }
    let text = decoded(message, |_| false);
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    // None, or at most what makes a whole group.
    let length = text.len() - padding;
    let is_padded_right = padding <= length.next_multiple_of(4) - length;
    URL_SAFE_NO_PAD.decode(&text[..length]).ok().filter(|_| is_padded_right)
}
