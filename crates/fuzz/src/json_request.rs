//! JSON to protobuf: what is read is JSON, means what prost-reflect reads, and is written back as the same.

use accord_transcode::Malformed;
use serde::de::IgnoredAny;

use crate::{
    Target,
    oracle::{alike, parsed, theirs, written},
    schemas::{MESSAGES, Message},
};

pub(crate) const TARGET: Target = Target {
    name: "json_request",
    check,
    tokens: &[
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "null",
        "true",
        "false",
        "\"@type\"",
        "\"value\"",
        "1e2",
        "-0",
        "1.5",
        "\\u0000",
        "\\ud83d\\ude00",
        "\"NaN\"",
        "\"Infinity\"",
        "\"2026-01-01T00:00:00Z\"",
        "\"1.5s\"",
        "\"a,bC\"",
        "\"AA==\"",
        "\"a/google.protobuf.Any\"",
        "\"a/google.protobuf.Duration\"",
        "\"a/google.protobuf.Empty\"",
        "\"a/kitchen.Leaf\"",
        "\"any\"",
        "\"struct\"",
        "\"value\"",
        "\"list\"",
        "\"values\"",
        "\"timestamp\"",
        "\"duration\"",
        "\"mask\"",
        "\"labels\"",
        "\"leaves\"",
        "\"switches\"",
        "\"palette\"",
        "\"leaf\"",
        "\"leafList\"",
        "\"sink\"",
        "\"next\"",
        "\"wrappedNumber\"",
        "\"nothing\"",
        "\"colour\"",
        "\"numbers\"",
        "\"unpacked\"",
        "\"rawBytes\"",
        "\"choiceText\"",
        "\"int64\"",
        "\"uint64\"",
        "\"float\"",
        "\"double\"",
        "\"text\"",
        "\"part\"",
        "\"item\"",
        "\"[legacy.inner]\"",
        "\"[legacy.remark]\"",
        "\"[legacy.Scope.tally]\"",
        "\"size\"",
        "\"parts\"",
        "\"code\"",
    ],
};

/// The most bytes that a byte of JSON becomes: `-1,` is ten in a packed list.
const MOST: usize = 4;

fn check(input: &[u8]) {
    MESSAGES.iter().for_each(|message| read(message, input));
}

fn read(message: &Message, input: &[u8]) {
    let Ok(wire) = message.plan.request(&[], None, None, input) else { return };
    assert!(wire.len() <= input.len() * MOST + 16, "{} bytes became {}", input.len(), wire.len());
    let is_json = input.is_empty() || serde_json::from_slice::<IgnoredAny>(input).is_ok();
    assert!(is_json, "serde_json reads no JSON in it");
    let decoded = message.decoded(&wire).expect("prost-reflect reads what was written");

    let text = match written(&message.plan, &wire) {
        Ok(text) => text,
        // A field mask is read in snake_case as well, which has names that lowerCamelCase has no form for.
        Err(Malformed::Value(problem)) if problem.contains("field mask") => return,
        Err(problem) => panic!("what was read can't be written: {problem}"),
    };
    let again = message.plan.request(&[], None, None, text.as_bytes()).expect("what was written is read");
    assert_eq!(written(&message.plan, &again).as_ref(), Ok(&text), "read a second time");
    if let Some(theirs) = theirs(&decoded) {
        assert_eq!(parsed(&text), theirs, "written by prost-reflect");
    }
    if let Some(theirs) = message.read(input).as_ref().and_then(theirs) {
        assert!(alike(&parsed(&text), &theirs), "{text}, but prost-reflect reads {theirs}");
    }
}
