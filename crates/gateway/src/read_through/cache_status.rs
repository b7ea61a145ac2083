//! What the caller is told of an answer's freshness: `Cache-Status` (RFC 9211) and `Age` (RFC 9111).

use crate::{near::CACHE_STATUS, protocol::Consistency};
use accord_api::accord::cache::v1::{Freshness, Outcome, StaleReason};
use http::{HeaderMap, HeaderValue, header};
use std::fmt::Write;

pub(super) fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Hit => "hit",
        Outcome::Stale => "stale",
        Outcome::Request => "request",
        Outcome::Bypass => "bypass",
        Outcome::UriMiss | Outcome::Unspecified => "uri-miss",
    }
}

/// `Cache-Status` (RFC 9211) and `Age` (RFC 9111), in whole seconds: an age never less, and what is left of a life never more
/// than the truth.
pub(super) fn add_freshness(freshness: &Freshness, head: &mut HeaderMap) {
    let mut text = String::from("accord; ");
    if freshness.outcome() != Outcome::Hit {
        text.push_str("fwd=");
    }
    text.push_str(outcome_name(freshness.outcome()));
    if let Some(ttl) = &freshness.ttl {
        // Formatting into a string can't fail.
        let _ = write!(text, "; ttl={}", ttl.seconds - i64::from(ttl.nanos < 0));
    }
    for (flag, parameter) in [(freshness.stored, "; stored"), (freshness.collapsed, "; collapsed")] {
        if flag {
            text.push_str(parameter);
        }
    }
    text.push_str(match freshness.stale_reason() {
        StaleReason::Revalidating => "; detail=revalidating",
        StaleReason::OriginFailed => "; detail=origin-failed",
        StaleReason::OlderVersion => "; detail=older-version",
        StaleReason::OriginTooSlow => "; detail=origin-too-slow",
        StaleReason::Unspecified if freshness.from_second_level => "; detail=second-level",
        StaleReason::Unspecified => "",
    });
    if let Some(version) = freshness.version {
        // A string, since integers of a header field have 15 digits at most (RFC 9651).
        let _ = write!(text, "; version=\"{version}\"");
    }
    if let Ok(value) = HeaderValue::try_from(text) {
        head.insert(CACHE_STATUS, value);
    }
    if let Some(age) = &freshness.age {
        head.insert(header::AGE, HeaderValue::from(age.seconds + i64::from(age.nanos > 0)));
    }
}

/// Says why the near cache was no help, after what the cache says: the list goes from the origin to the caller (RFC 9211, 2).
pub(super) fn add_near(asked: Option<Consistency>, head: &mut HeaderMap) {
    let why = if matches!(asked, Some(Consistency::Strong)) { "request" } else { "uri-miss" };
    let told = head.get(CACHE_STATUS).and_then(|told| told.to_str().ok());
    if let Some(Ok(told)) = told.map(|told| HeaderValue::try_from(format!("{told}, accord-near; fwd={why}"))) {
        head.insert(CACHE_STATUS, told);
    }
}
