//! What can be seen of one call from outside, aspect by aspect, and what should be.

use crate::{
    call::{CallResult, Detail, Protocol},
    row::{Expected, KEPT, Pairs, Row, VARIES},
    table::Path,
};
use http::{HeaderMap, HeaderValue};
use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};
use tonic::Code;

/// Longer values are told by their length.
const LONGEST: usize = 60;

/// Set anew by each hop, different in each call, or said in another aspect.
const OWN: [&str; 19] = [
    "accept",
    "age",
    "cache-status",
    "connection",
    "content-length",
    "content-type",
    "date",
    "forwarded",
    "te",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "user-agent",
    "vary",
    "x-accord-consistency-token",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-request-id",
];

/// Aspects and their values; an aspect that is not there is not looked at.
pub(crate) type Seen = BTreeMap<&'static str, String>;

/// What the caller and the upstream saw of one call.
pub(crate) fn of(answer: &CallResult, protocol: Protocol, calls: &[HeaderMap]) -> Seen {
    let code = answer.code.as_ref().map_or_else(Clone::clone, |code| name(*code));
    let is_ok = matches!(answer.code, Ok(Code::Ok));
    let fault = answer.details.iter().find_map(|detail| detail.component.as_deref());
    let mut seen = Seen::from([
        ("code", code),
        ("message", short(&answer.message)),
        ("details", details(&answer.details)),
        ("fault", fault.unwrap_or("-").to_owned()),
        ("calls", attempts(calls)),
        ("sent", calls.first().map(|call| metadata(call, None)).unwrap_or_default()),
        ("head", metadata(&answer.head, fault)),
        ("trailers", metadata(&answer.trailers, fault)),
        ("through", if is_ok { through(answer).to_owned() } else { "-".to_owned() }),
    ]);
    if is_ok {
        seen.insert("text", short(&answer.text));
    }
    if let (true, Ok(code)) = (protocol.has_http_status(), &answer.code) {
        let is_right = http_status(*code) == answer.http;
        seen.insert("http", if is_right { "as the code".to_owned() } else { answer.http.to_string() });
    }
    seen
}

/// Whether an answer came that is no error.
pub(crate) fn is_ok(seen: &Seen) -> bool {
    seen["code"] == name(Code::Ok)
}

/// What was seen of a call that had no whole answer.
pub(crate) fn nothing(problem: &anyhow::Error) -> Seen {
    ["details", "code"].map(|aspect| (aspect, format!("{problem:#}"))).into()
}

/// What should be seen.
pub(crate) fn expected(row: &Row, path: Path, protocol: Protocol, text: &str) -> Seen {
    let Expected { code, message, details, fault, text: other, calls, sent, head, trailers } = row.expected.clone();
    let is_ok = code == Code::Ok;
    // From memory the upstream is not asked.
    let calls = if path == Path::Hit { "" } else { calls };
    let only = |names: &'static [&str], pairs: Pairs| {
        pairs_text(pairs.iter().filter(|(name, _)| path == Path::Uncached || names.contains(name)))
    };
    let mut seen = Seen::from([
        ("code", name(code)),
        ("fault", fault.unwrap_or("-").to_owned()),
        ("calls", if row.times == 1 { calls.to_owned() } else { "one each".to_owned() }),
        ("head", only(KEPT, head)),
        ("trailers", only(KEPT, trailers)),
        ("through", if is_ok { path.through().to_owned() } else { "-".to_owned() }),
    ]);
    if !calls.is_empty() {
        seen.insert("sent", only(VARIES, sent));
    }
    message.and_then(|message| seen.insert("message", short(&message)));
    details.and_then(|details| seen.insert("details", details.join(", ")));
    if is_ok {
        seen.insert("text", short(other.as_deref().unwrap_or(text)));
    }
    if row.beside {
        seen.insert("beside", name(Code::Ok));
    }
    if protocol.has_http_status() {
        seen.insert("http", "as the code".to_owned());
    }
    if !protocol.has_metadata() {
        seen.retain(|aspect, _| !["head", "trailers", "through"].contains(aspect));
    }
    seen
}

/// Several calls as one: each aspect as the set of its values.
pub(crate) fn together(all: Vec<Seen>, calls: usize) -> Seen {
    let number = match calls.cmp(&all.len()) {
        Ordering::Less => "too few",
        Ordering::Equal => "one each",
        Ordering::Greater => "too many",
    };
    let mut sets = BTreeMap::<_, BTreeSet<_>>::new();
    for (aspect, value) in all.into_iter().flatten() {
        sets.entry(aspect).or_default().insert(value);
    }
    let joined = sets.into_iter().map(|(aspect, values)| (aspect, values.into_iter().collect::<Vec<_>>().join(" | ")));
    let mut seen: Seen = joined.collect();
    seen.insert("calls", number.to_owned());
    seen
}

/// Where what was seen is not what should be, in words. Another code has another message, other details and so on: they
/// are not told as well.
pub(crate) fn difference(seen: &Seen, expected: &Seen) -> Option<String> {
    let found = |aspect: &str| seen.get(aspect).map_or("-", String::as_str);
    let is_other = expected.get("code").is_some_and(|code| found("code") != code);
    let told = |aspect: &str| !is_other || ["beside", "calls", "code", "http"].contains(&aspect);
    let differing = expected.iter().filter(|(aspect, wanted)| told(aspect) && found(aspect) != *wanted);
    let differing: Vec<_> = differing.map(|(aspect, _)| format!("{aspect}: {}", found(aspect))).collect();
    (!differing.is_empty()).then(|| differing.join("; "))
}

fn name(code: Code) -> String {
    format!("{code:?}")
}

fn short(text: &str) -> String {
    if text.chars().count() <= LONGEST { text.to_owned() } else { format!("{} bytes", text.len()) }
}

/// `ErrorInfo SOLD_OUT, Note`. The call's id is no business of these tables: faults tell it, whatever they are about.
fn details(details: &[Detail]) -> String {
    let details = details.iter().filter(|detail| detail.name != "RequestInfo");
    let names = details.map(|Detail { name, reason, .. }| format!("{name} {reason}").trim_end().to_owned());
    names.collect::<Vec<_>>().join(", ")
}

fn attempts(calls: &[HeaderMap]) -> String {
    let previous = |call: &HeaderMap| {
        let value = call.get("grpc-previous-rpc-attempts").and_then(|value| value.to_str().ok());
        value.unwrap_or("-").to_owned()
    };
    calls.iter().map(previous).collect::<Vec<_>>().join(",")
}

/// Where an answer that went well came from.
fn through(answer: &CallResult) -> &'static str {
    match answer.header("cache-status") {
        None => "upstream",
        Some(status) if status.contains("fwd=bypass") => "bypass",
        Some(status) if status.contains("; hit") => "memory",
        Some(_) => "cache",
    }
}

/// What is left of metadata without what each hop says. That the mesh names itself is no metadata of the handler's.
fn metadata(headers: &HeaderMap, fault: Option<&str>) -> String {
    let is_own = |name: &str| OWN.contains(&name) || name.starts_with("grpc-") || name.starts_with("ratelimit");
    let names_itself =
        |name: &str, value: &HeaderValue| name == "x-accord-fault" && fault.is_some_and(|fault| value == fault);
    let is_other = |name: &str, value: &HeaderValue| !is_own(name) && !names_itself(name, value);
    let lines = headers.iter().filter(|(name, value)| is_other(name.as_str(), value));
    let lines: Vec<_> =
        lines.map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value.as_bytes()))).collect();
    sorted(lines.iter().map(String::as_str))
}

fn pairs_text<'a>(pairs: impl Iterator<Item = &'a (&'static str, &'static str)>) -> String {
    let lines: Vec<_> = pairs.map(|(name, value)| format!("{name}={value}")).collect();
    sorted(lines.iter().map(String::as_str))
}

fn sorted<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let mut lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    lines.join(", ")
}

/// The HTTP status that stands for a code.
fn http_status(code: Code) -> u16 {
    match code {
        Code::Ok => 200,
        Code::Cancelled => 499,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => 400,
        Code::Unauthenticated => 401,
        Code::PermissionDenied => 403,
        Code::NotFound => 404,
        Code::AlreadyExists | Code::Aborted => 409,
        Code::ResourceExhausted => 429,
        Code::Unimplemented => 501,
        Code::Unavailable => 503,
        Code::DeadlineExceeded => 504,
        Code::Unknown | Code::Internal | Code::DataLoss => 500,
    }
}
