//! The names of headers in a cache policy: which may be kept with an answer, and which may tell answers apart.

use std::collections::HashSet;

use super::bounds::Bounds;
use crate::limits::{HEADERS_OF_ONE_MESSAGE, MAX_HEADER_NAME, MAX_HEADER_NAMES};

/// Differ with every call, because each says something about that call alone.
const OF_ONE_CALL: [&str; 4] = ["request-timeout", "traceparent", "tracestate", "x-request-id"];

/// Written anew for each answer.
const WRITTEN: [&str; 7] =
    ["age", "cache-status", "date", "ratelimit", "ratelimit-policy", "retry-after", "www-authenticate"];

/// Are a matter between the caller and whoever holds a stored answer (RFC 9110, 12.5.3, 13 and 14; RFC 9111).
const OF_STORED_ANSWERS: [&str; 9] = [
    "accept-encoding",
    "cache-control",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "pragma",
    "range",
];

/// Headers of the answer that are kept.
pub(super) fn keep(declared: &[String], bounds: &mut Bounds<'_>) -> Vec<Box<str>> {
    let written = ("is written by Accord for each answer", "leave it out: it comes without being kept");
    names("cache.keep_headers", declared, bounds, |name| WRITTEN.contains(&name).then_some(written))
}

/// Headers of the request that enter the key.
pub(super) fn vary(declared: &[String], bounds: &mut Bounds<'_>) -> Vec<Box<str>> {
    let ends_here = ("is a matter between the caller and Accord, in which the origin has no part", LEAVE_OUT);
    names("cache.vary", declared, bounds, |name| OF_STORED_ANSWERS.contains(&name).then_some(ends_here))
}

/// The header of the answer that is its version.
pub(super) fn version(name: &str, has_field: bool, bounds: &mut Bounds<'_>) {
    let is_binary = |name: &str| name.ends_with("-bin").then_some(("has bytes, and a version is a number", LEAVE_OUT));
    names("cache.version_header", &[name.to_owned()], bounds, is_binary);
    if has_field {
        let remedy = "name one of both";
        bounds.refuse("cache.version_header", "an answer has one version, and `version_field` names it", remedy);
    }
}

/// What is wrong with a name, and the way out.
type Refusal = (&'static str, &'static str);

const LEAVE_OUT: &str = "leave it out";

fn names(
    option: &str,
    declared: &[String],
    bounds: &mut Bounds<'_>,
    refusal_here: impl Fn(&str) -> Option<Refusal>,
) -> Vec<Box<str>> {
    if declared.len() > MAX_HEADER_NAMES {
        let problem = format!("has {} names, more than {MAX_HEADER_NAMES}", declared.len());
        bounds.refuse(option, problem, "keep those without which the answer would be another");
    }
    let mut seen = HashSet::new();
    for name in declared {
        let again = (!seen.insert(name)).then_some(("is there twice", "name it once"));
        if let Some((problem, remedy)) = again.or_else(|| refusal(name)).or_else(|| refusal_here(name)) {
            bounds.refuse(option, format!("`{name}` {problem}"), remedy);
        }
    }
    declared.iter().map(|name| name.as_str().into()).collect()
}

/// Why no policy may name it.
fn refusal(name: &str) -> Option<Refusal> {
    Some(match name {
        name if name.starts_with(':') => ("is a pseudo-header, which is no metadata", LEAVE_OUT),
        name if !is_header_name(name) => (
            "is no header name",
            "write up to 100 characters: lower-case letters, digits, `-`, `_` and `.`, as in `accept-language`",
        ),
        name if is_ours(name) => ("is kept for Accord's own hops", "give it another name than `x-accord-…`"),
        name if name.starts_with("grpc-") => ("is reserved by gRPC", LEAVE_OUT),
        name if HEADERS_OF_ONE_MESSAGE.contains(&name) => ("belongs to one connection or message", LEAVE_OUT),
        name if OF_ONE_CALL.contains(&name) => ("belongs to one call, so it differs with each", LEAVE_OUT),
        "authorization" | "x-api-key" => (
            "is a credential, which stays at the gateway",
            "leave it out: tenant and, with CACHE_SCOPE_PER_PRINCIPAL, principal are in the key already",
        ),
        "set-cookie" => ("gives a credential to one caller", LEAVE_OUT),
        _ => return None,
    })
}

/// As gRPC has it: narrower than HTTP's token.
fn is_header_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    (1..=MAX_HEADER_NAME).contains(&name.len()) && name.bytes().all(allowed)
}

/// `x-accord-…`, also as a server spells it that maps `_` to `-`.
fn is_ours(name: &str) -> bool {
    name.replace('_', "-").starts_with("x-accord-")
}
