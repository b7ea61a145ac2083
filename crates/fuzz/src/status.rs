//! Statuses: a code that exists is read whatever stands beside it, and written and read again it is the same.

use accord_gateway::parsers::details;
use accord_runtime::deadline::trailers;
use accord_upstream::grpc::{has_status, status, strip_unreadable};
use http::{HeaderMap, HeaderValue};
use prost_reflect::DescriptorPool;
use serde_json::Value;
use std::sync::LazyLock;

use crate::{Target, schemas::sink};

pub(crate) const TARGET: Target = Target {
    name: "status",
    check,
    tokens: &["0", "16", "17", "\n", "%20", "%zz", "%C3%A4", "CAU=", "EgR0ZXh0", "Gi0K", "!!!"],
};

static OURS: LazyLock<Option<DescriptorPool>> =
    LazyLock::new(|| DescriptorPool::decode(accord_api::FILE_DESCRIPTOR_SET).ok());

/// How deep the details of an error are written: 64 messages, and the objects and arrays around them.
const MOST_LEVELS: usize = 200;

/// Lines: the code, the message, the details.
fn check(input: &[u8]) {
    let mut lines = input.split(|byte| *byte == b'\n');
    let mut head = HeaderMap::new();
    for name in ["grpc-status", "grpc-message", "grpc-status-details-bin"] {
        let Some(Ok(value)) = lines.next().map(HeaderValue::from_bytes) else { break };
        head.insert(name, value);
    }
    let expected = head.get("grpc-status").and_then(|value| code(value.as_bytes()));
    let read = status(&head, None);
    assert_eq!(read.as_ref().map(|status| i32::from(status.code())), expected);
    assert_eq!(has_status(&head), expected.is_some());
    strip_unreadable(&mut head);
    let Some(read) = read else { return };
    let again = status(&trailers(&read), None).expect("what was written is read");
    assert_eq!((again.code(), again.message(), again.details()), (read.code(), read.message(), read.details()));
    for known in [None, OURS.as_ref(), Some(sink().method.parent_pool())] {
        assert!(levels(&details(&read, known)) <= MOST_LEVELS, "details nest without end");
    }
}

/// Of the numbers 0 to 16, in one spelling.
fn code(text: &[u8]) -> Option<i32> {
    (0..=16).find(|code| code.to_string().as_bytes() == text)
}

fn levels(json: &Value) -> usize {
    match json {
        Value::Array(elements) => 1 + elements.iter().map(levels).max().unwrap_or_default(),
        Value::Object(members) => 1 + members.values().map(levels).max().unwrap_or_default(),
        _ => 0,
    }
}
