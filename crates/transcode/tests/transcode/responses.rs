//! Answers: canonical JSON from wire bytes in any order.

use accord_transcode::{Malformed, Output};
use prost_reflect::{DynamicMessage, SerializeOptions};
use serde_json::Value;

use super::kitchen::{COOK, binding, decoded, encoded, method, plan, request, response};

/// An answer in a form of its own.
fn written(output: Output, wire: &[u8]) -> String {
    let mut out = Vec::new();
    COOK.clone().written(output).response(wire, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// A message with something in it, and without much.
fn samples() -> [bytes::Bytes; 3] {
    let some = r#"{"text": "a", "colour": 1, "otherName": "b", "leaf": {"name": "n", "next": {"minorUnits": 1}},
        "leafList": [{}, {"name": "x"}], "leaves": {"1": {}}, "palette": {"2": "COLOUR_RED"}, "maybeNumber": 0,
        "colours": ["COLOUR_BLUE", 42], "nothing": null, "wrappedFlag": false, "struct": {"a": null}, "mask": "aB.cD",
        "any": {"@type": "a/kitchen.Leaf", "name": "y"}}"#;
    ["{}", some, r#"{"choiceText": "", "empty": {}, "raw_bytes": "AA=="}"#].map(|json| request(json).unwrap())
}

/// What the oracle writes.
fn expected(wire: &[u8], options: &SerializeOptions) -> Value {
    let message: DynamicMessage = decoded(wire);
    message.serialize_with_options(serde_json::value::Serializer, options).unwrap()
}

#[test]
fn default_values_proto_names_and_enum_numbers_are_written_where_asked_for() {
    for wire in samples() {
        for (output, options) in [
            (Output { defaults: true, ..Output::default() }, SerializeOptions::new().skip_default_fields(false)),
            (Output { proto_names: true, ..Output::default() }, SerializeOptions::new().use_proto_field_name(true)),
            (Output { enum_numbers: true, ..Output::default() }, SerializeOptions::new().use_enum_numbers(true)),
        ] {
            let written: Value = serde_json::from_str(&written(output, &wire)).unwrap();
            assert_eq!(written, expected(&wire, &options), "{output:?}");
        }
    }
}

#[test]
fn default_values_stand_in_the_order_of_their_fields() {
    let plan = plan("kitchen.Kitchen.Peel", None).written(Output { defaults: true, ..Output::default() });
    let mut out = Vec::new();
    // A `Leaf` with a `next` alone, whose name and number are absent.
    plan.response(&[0x1a, 2, 0x10, 5], &mut out).unwrap();
    let expected = r#"{"name":"","minorUnits":0,"next":{"name":"","minorUnits":5}}"#;
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn json_values_have_their_canonical_form() {
    for (sent, canonical) in [
        (r#"{"int64": 1, "int32": 2, "fixed64": 3}"#, r#"{"int32":2,"int64":"1","fixed64":"3"}"#),
        (
            r#"{"double": 1, "float": 0.1, "doubles": [1e300, "NaN", "-Infinity"]}"#,
            r#"{"float":0.1,"double":1.0,"doubles":[1e+300,"NaN","-Infinity"]}"#,
        ),
        (r#"{"colours": [1, 42, "COLOUR_BLUE"]}"#, r#"{"colours":["COLOUR_RED",42,"COLOUR_BLUE"]}"#),
        (r#"{"raw_bytes": "-_8"}"#, r#"{"rawBytes":"+/8="}"#),
        (
            r#"{"timestamp": "1969-12-31T23:59:59.25+00:00", "duration": "-0.5s"}"#,
            r#"{"timestamp":"1969-12-31T23:59:59.250Z","duration":"-0.500s"}"#,
        ),
        (
            r#"{"timestamp": "0001-01-01T00:00:00Z", "duration": "1.000001s"}"#,
            r#"{"timestamp":"0001-01-01T00:00:00Z","duration":"1.000001s"}"#,
        ),
        (
            r#"{"labels": {"b": "1", "a": "2"}, "leaves": {"10": {}, "-2": {}}}"#,
            r#"{"labels":{"a":"2","b":"1"},"leaves":{"-2":{},"10":{}}}"#,
        ),
        (r#"{"text": "a\u0001\"\\/\u007f"}"#, "{\"text\":\"a\\u0001\\\"\\\\/\u{7f}\"}"),
        (r#"{"maybeNumber": 0, "int32": 0, "numbers": [], "choiceText": ""}"#, r#"{"maybeNumber":0,"choiceText":""}"#),
        (
            r#"{"value": [null, 1.5], "wrappedFlag": false, "empty": {}}"#,
            r#"{"value":[null,1.5],"wrappedFlag":false,"empty":{}}"#,
        ),
    ] {
        assert_eq!(response(&request(sent).unwrap()), canonical);
    }
}

#[test]
fn message_in_pieces_is_merged() {
    let pieces = [
        r#"{"leaf": {"name": "a", "minorUnits": 1}, "numbers": [1], "choiceText": "lost", "text": "first"}"#,
        r#"{"numbers": [2, 3], "labels": {"k": "old"}, "choiceLeaf": {"name": "lost"}}"#,
        r#"{"choiceNumber": "5"}"#,
        r#"{"leaf": {"name": "b"}, "choiceLeaf": {"minorUnits": 9}, "labels": {"k": "new"}, "text": "last"}"#,
    ];
    let wire: Vec<u8> = pieces.iter().flat_map(|piece| encoded(piece)).collect();
    let expected = r#"{"text":"last","numbers":[1,2,3],"labels":{"k":"new"},"choiceLeaf":{"minorUnits":9},"leaf":{"name":"b","minorUnits":1}}"#;
    assert_eq!(response(&wire), expected);
}

#[test]
fn packed_and_unpacked_lists_are_read_alike() {
    // Field 19 is declared packed, field 20 is not; each comes in both forms.
    let wire = [0x98, 0x01, 1, 0x9a, 0x01, 2, 2, 3, 0xa0, 0x01, 1, 0xa2, 0x01, 2, 2, 3, 0x9a, 0x01, 0];
    assert_eq!(response(&wire), r#"{"numbers":[1,2,3],"unpacked":["-1","1","-2"]}"#);
}

#[test]
fn unknown_fields_are_left_out() {
    let known = encoded(r#"{"flag": true}"#);
    // Field 1000: a varint, and a group that holds a string.
    let unknown = [0xc0, 0x3e, 7, 0xc3, 0x3e, 0x0a, 1, b'x', 0xc4, 0x3e];
    assert_eq!(response(&[&known[..], &unknown].concat()), r#"{"flag":true}"#);
    assert_eq!(response(&[&unknown[..], &known].concat()), r#"{"flag":true}"#);
}

#[test]
fn message_within_the_depth_limit_can_be_written_back() {
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let json = format!(r#"{{"value":{}1.5{}}}"#, open.repeat(63), close.repeat(63));
        assert_eq!(response(&request(&json).unwrap()), json);
    }
    // Forms that are no level of their own, in the innermost of 64 messages.
    for leaf in [r#""timestamp":"2026-01-01T00:00:00Z""#, r#""wrappedNumber":"1""#, r#""mask":"a""#, r#""value":null"#]
    {
        let json = format!("{}{leaf}{}", r#"{"sink":"#.repeat(63) + "{", "}".repeat(64));
        assert_eq!(response(&request(&json).unwrap()), json);
    }
}

#[test]
fn malformed_response_is_refused() {
    let nested = (0..65).fold(Vec::new(), |inner, _| framed(&[0x1a], &inner));
    let deep = framed(&[0xfa, 0x01], &nested);
    for wire in [
        &[0x08][..],
        &[0x00],
        &[0x0b],
        &[0x0c],
        &[0x72, 5, b'x'],
        &[0x72, 1, 0xff],
        &[0x70, 1],
        &[0xff; 11],
        // A timestamp beyond year 9999, and an Any of an unknown type.
        &[0x92, 0x02, 7, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
        &[0xe2, 0x02, 5, 0x0a, 3, b'x', b'/', b'y'],
        &deep,
    ] {
        assert!(COOK.response(wire, &mut Vec::new()).is_err(), "{wire:?}");
    }
}

/// Small on the wire, and large as JSON or on the way there.
fn bombs() -> [(&'static str, Vec<u8>); 4] {
    const MANY: usize = 100_000;
    [
        ("enums", framed(&[0xb2, 0x01], &vec![1; MANY])),
        ("empty messages", [0x82, 0x02, 0].repeat(MANY)),
        ("entries of one key", [0xc2, 0x01, 0].repeat(MANY)),
        ("one field again and again", [0x08, 1].repeat(MANY)),
    ]
}

#[test]
fn answer_that_takes_more_memory_than_it_may_is_left_unwritten() {
    let plan = COOK.clone().written(Output { defaults: true, ..Output::default() });
    for (name, wire) in bombs() {
        let (mut out, mut asked) = (Vec::new(), Vec::new());
        let written = plan.response_within(&wire, &mut out, &mut |bytes| {
            asked.push(bytes);
            bytes <= 1 << 20
        });
        assert_eq!(written, Err(Malformed::TooLong), "{name}");
        assert!(out.capacity() <= 4 << 20, "{name}: {} bytes", out.capacity());
        assert!(asked.is_sorted() && asked.len() < 100, "{name}: asked {} times", asked.len());
    }
}

#[test]
fn answer_is_the_same_whether_anybody_keeps_account_of_its_memory() {
    for (name, wire) in bombs() {
        let (mut free, mut counted, mut most) = (Vec::new(), Vec::new(), 0);
        COOK.response(&wire, &mut free).unwrap();
        let may_take = &mut |bytes| {
            most = bytes;
            true
        };
        COOK.response_within(&wire, &mut counted, may_take).unwrap();
        assert_eq!(free, counted, "{name}");
        assert!(most >= counted.len(), "{name}: {most} bytes were asked for");
    }
    let (mut out, text) = (Vec::new(), encoded(r#"{"text": "a"}"#));
    COOK.response_within(&text, &mut out, &mut |_| panic!("nobody is asked about a short text")).unwrap();
}

#[test]
fn response_body_selects_one_field() {
    let answer = encoded(r#"{"numbers": [1, 2], "leaf": {"name": "x"}}"#);
    for (field, expected) in [
        ("numbers", "[1,2]"),
        ("leaf", r#"{"name":"x"}"#),
        ("texts", "[]"),
        ("labels", "{}"),
        ("int64", r#""0""#),
        ("colour", r#""COLOUR_UNSPECIFIED""#),
        ("maybe_text", "null"),
        ("sink", "null"),
    ] {
        let mut binding = binding("kitchen.Kitchen.Cook", "/v1", "*");
        binding.response_body = method("kitchen.Kitchen.Cook").output().get_field_by_name(field);
        let mut out = Vec::new();
        plan("kitchen.Kitchen.Cook", Some(&binding)).response(&answer, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{field}");
    }
}

/// `content` behind its tag and its length.
fn framed(tag: &[u8], content: &[u8]) -> Vec<u8> {
    let mut out = tag.to_vec();
    prost::encode_length_delimiter(content.len(), &mut out).unwrap();
    out.extend(content);
    out
}
