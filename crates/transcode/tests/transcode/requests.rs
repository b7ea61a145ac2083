//! Requests: what is accepted, and what is refused with which name.

use accord_transcode::{Limits, Plan, ViolationKind};

use super::kitchen::{SCHEMA, binding, decoded, encoded, method, plan, request, response};

/// Compares with the oracle, by value rather than by bytes: the order of fields may differ.
#[track_caller]
fn same(json: &str) {
    let wire = request(json).unwrap_or_else(|violation| panic!("{json}: {violation}"));
    let (ours, expected) = (decoded(&wire), decoded(&encoded(json)));
    // Not `assert_eq`: a descriptor refers to itself, and would be shown without an end.
    assert!(ours == expected, "{json} became {}", serde_json::to_string(&ours).unwrap());
}

#[track_caller]
fn refused(json: &str, field: &str, kind: ViolationKind) {
    let violation = request(json).expect_err(json);
    assert_eq!((violation.field.as_str(), violation.kind), (field, kind), "{json}: {violation}");
}

#[test]
fn every_json_field_reaches_the_wire() {
    for json in [
        "{}",
        " {\n\t\"flag\" : true }\r ",
        r#"{"int32": -1, "sint32": -2147483648, "sfixed32": 2147483647, "uint32": 4294967295, "fixed32": 1}"#,
        r#"{"int64": "-9223372036854775808", "uint64": "18446744073709551615", "fixed64": 12, "sint64": "-1"}"#,
        r#"{"int32": 1.0, "int64": 1e3, "uint32": 100.00e-2}"#,
        r#"{"float": 3.4e38, "double": 1.7976931348623157e308}"#,
        r#"{"float": "Infinity", "double": "-Infinity", "doubles": ["Infinity", 0, -1.5, "2.5"]}"#,
        r#"{"text": "\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00é😀"}"#,
        r#"{"rawBytes": "+/8="}"#,
        r#"{"raw_bytes": "AQI="}"#,
        r#"{"colour": "COLOUR_BLUE", "colours": [1, "COLOUR_RED", 42]}"#,
        r#"{"maybeNumber": 0, "maybeText": ""}"#,
        r#"{"numbers": [], "unpacked": [1, -2], "texts": ["", "a"], "labels": {}}"#,
        r#"{"labels": {"": "x", "b": ""}, "leaves": {"-1": {"name": "n"}, "0": {}}, "switches": {"true": "4"}}"#,
        r#"{"palette": {"18446744073709551615": "COLOUR_RED"}}"#,
        r#"{"choiceLeaf": {"next": {"next": {"minorUnits": 4}}}, "leafList": [{}, {"name": "x"}]}"#,
        r#"{"sink": {"sink": {"flag": true, "text": "deep"}}}"#,
        r#"{"timestamp": "2026-02-28T23:59:59.5Z", "duration": "-1.000000001s", "mask": "a,bC.dE"}"#,
        r#"{"timestamp": "2000-02-29T01:00:00+01:00", "duration": "-315576000000.999999999s", "mask": ""}"#,
        r#"{"struct": {"a": null, "b": [1, "x", true, {}]}, "value": null, "list": [[], null]}"#,
        r#"{"value": {"a": 1}, "nothing": null, "values": [null, 1, "a", false]}"#,
        r#"{"wrappedNumber": "0", "wrappedText": "", "wrappedFlag": false}"#,
        r#"{"any": {"@type": "type.googleapis.com/kitchen.Leaf", "name": "x", "minorUnits": 3}}"#,
        r#"{"any": {"value": "1.5s", "@type": "type.googleapis.com/google.protobuf.Duration"}}"#,
        r#"{"empty": {}, "otherName": "x"}"#,
        r#"{"leaf": null, "labels": null, "numbers": null, "wrappedText": null, "text": null}"#,
    ] {
        same(json);
    }
}

#[test]
fn integers_are_read_exactly_however_they_are_written() {
    for (written, plain) in [
        ("\"1.5e1\"", "15"),
        ("9.223372036854775807e18", "9223372036854775807"),
        ("-9223372036854775808.000", "-9223372036854775808"),
        ("0e99", "0"),
        ("-0", "0"),
        ("1e0000000000000000000000000001", "10"),
    ] {
        let [written, plain] = [written, plain].map(|value| request(&format!("{{\"int64\": {value}}}")).unwrap());
        assert_eq!(written, plain);
    }
}

#[test]
fn long_messages_get_long_lengths() {
    for length in [0, 1, 126, 127, 128, 129, 16_383, 16_384, 16_385, 2_097_152] {
        let text = "x".repeat(length);
        same(&format!(r#"{{"leaf": {{"next": {{"name": "{text}"}}}}}}"#));
    }
}

#[test]
fn both_base64_alphabets_are_read_with_and_without_padding() {
    let expected = request(r#"{"rawBytes": "-_-_8A=="}"#).unwrap();
    for text in ["+/+/8A==", "-_-_8A", "+/+/8A"] {
        assert_eq!(request(&format!(r#"{{"rawBytes": "{text}"}}"#)).unwrap(), expected);
    }
}

#[test]
fn value_that_its_type_can_not_hold_is_invalid() {
    for (json, field) in [
        (r#"{"flag": "true"}"#, "flag"),
        (r#"{"text": 1}"#, "text"),
        (r#"{"int32": 2147483648}"#, "int32"),
        (r#"{"uint32": -1}"#, "uint32"),
        (r#"{"uint64": "18446744073709551616"}"#, "uint64"),
        (r#"{"int64": 1e99999999999}"#, "int64"),
        (r#"{"int64": "0x1"}"#, "int64"),
        (r#"{"int64": " 1"}"#, "int64"),
        (r#"{"float": 1e39}"#, "float"),
        (r#"{"double": 1e400}"#, "double"),
        (r#"{"double": "inf"}"#, "double"),
        (r#"{"value": 1e400}"#, "value"),
        (r#"{"rawBytes": "*"}"#, "rawBytes"),
        (r#"{"colour": "GREEN"}"#, "colour"),
        (r#"{"colours": ["COLOUR_RED", null]}"#, "colours[1]"),
        (r#"{"timestamp": "2026-02-29T00:00:00Z"}"#, "timestamp"),
        (r#"{"timestamp": "0000-12-31T23:59:59Z"}"#, "timestamp"),
        (r#"{"timestamp": "2026-01-01t00:00:00Z"}"#, "timestamp"),
        (r#"{"timestamp": "2026-01-01T00:00:00.Z"}"#, "timestamp"),
        (r#"{"timestamp": "2026-01-01T00:00:00+é1:00"}"#, "timestamp"),
        (r#"{"timestamp": 1}"#, "timestamp"),
        (r#"{"duration": "1"}"#, "duration"),
        (r#"{"duration": "315576000001s"}"#, "duration"),
        (r#"{"mask": "a-b"}"#, "mask"),
    ] {
        refused(json, field, ViolationKind::InvalidValue);
    }
}

#[test]
fn mistake_in_json_is_named_by_its_field() {
    use ViolationKind::{InvalidValue, Malformed, UnknownField};
    for (json, field, kind) in [
        (r#"{"nope": 1}"#, "nope", UnknownField),
        (r#"{"leaf": {"nope": 1}}"#, "leaf.nope", UnknownField),
        (r#"{"leafList": [{}, {"next": {"minorUnits": "x"}}]}"#, "leafList[1].next.minorUnits", InvalidValue),
        (r#"{"leaf_list": [{}, 1]}"#, "leafList[1]", InvalidValue),
        (r#"{"leaves": {"7": {"minor_units": 1.5}}}"#, "leaves.7.minorUnits", InvalidValue),
        (r#"{"leaves": {"x": {}}}"#, "leaves", InvalidValue),
        (r#"{"switches": {"True": 1}}"#, "switches", InvalidValue),
        (r#"{"leaf": []}"#, "leaf", InvalidValue),
        (r#"{"labels": []}"#, "labels", InvalidValue),
        (r#"{"numbers": 1}"#, "numbers", InvalidValue),
        (r#"{"choiceText": "a", "choiceNumber": 1}"#, "choiceNumber", InvalidValue),
        (r#"{"any": {"name": "x"}}"#, "any.@type", InvalidValue),
        (r#"{"any": {"@type": "x/kitchen.Nope"}}"#, "any.@type", InvalidValue),
        (r#"{"any": {"@type": "x/kitchen.Leaf", "nope": 1}}"#, "any.nope", UnknownField),
        (r#"{"flag": true, "flag": true}"#, "flag", Malformed),
        (r#"{"rawBytes": "", "raw_bytes": ""}"#, "rawBytes", Malformed),
        (r#"{"labels": {"a": "1", "\u0061": "2"}}"#, "labels", Malformed),
        (r#"{"struct": {"a": 1, "a": 2}}"#, "struct.fields", Malformed),
    ] {
        // The only field of a `Struct` has no name in JSON.
        refused(json, field.trim_end_matches(".fields"), kind);
    }
}

/// Texts that look like JSON and are none.
const MALFORMED: [&str; 35] = [
    " ",
    "null",
    "[]",
    "1",
    "{",
    "}",
    "{}}",
    "{} x",
    "{,}",
    r#"{"flag"}"#,
    r#"{"flag":}"#,
    r#"{"flag":true,}"#,
    "{flag:true}",
    r#"{"flag":tru}"#,
    r#"{"flag":TRUE}"#,
    r#"{"numbers":[1,]}"#,
    r#"{"numbers":[1 2]}"#,
    r#"{"int32":01}"#,
    r#"{"int32":+1}"#,
    r#"{"int32":.5}"#,
    r#"{"int32":1.}"#,
    r#"{"int32":1e}"#,
    r#"{"int32":-}"#,
    r#"{"int32":NaN}"#,
    r#"{"text":"a"#,
    r#"{"text":"\x"}"#,
    r#"{"text":"\u12"}"#,
    r#"{"text":"\ud800"}"#,
    r#"{"text":"\ud800\u0041"}"#,
    r#"{"text":"\udc00"}"#,
    "{\"text\":\"\n\"}",
    "{\"text\":\"\0\"}",
    "\u{feff}{}",
    "{}\u{a0}",
    "// comment\n{}",
];

#[test]
fn malformed_json_is_refused() {
    for json in MALFORMED {
        let refused = request(json);
        assert!(refused.is_err(), "{json:?} was read as {refused:?}");
    }
}

#[test]
fn json_nested_above_the_limit_is_malformed() {
    let deep = |levels: usize| format!(r#"{{"list": {}{}}}"#, "[".repeat(levels), "]".repeat(levels));
    assert!(request(&deep(63)).is_ok());
    assert_eq!(request(&deep(64)).unwrap_err().kind, ViolationKind::Malformed);
    assert_eq!(request(&deep(100_000)).unwrap_err().kind, ViolationKind::Malformed);
}

#[test]
fn array_of_many_elements_is_read() {
    let many = format!(r#"{{"numbers": [{}0]}}"#, "0,".repeat(100_000));
    assert_eq!(
        decoded(&request(&many).unwrap()).get_field_by_name("numbers").unwrap().as_list().unwrap().len(),
        100_001
    );
}

#[test]
fn elements_and_members_above_the_limit_are_malformed() {
    let limits = Limits { elements: 5, ..Limits::default() };
    let plan = Plan::compile(&SCHEMA, &method("kitchen.Kitchen.Cook"), None, limits).unwrap();
    let read = |text: &str| plan.request(&[], None, None, text.as_bytes());
    for five in [r#"{"numbers": [1, 2, 3, 4]}"#, r#"{"leaf": {"name": "x"}, "numbers": [1, 2]}"#] {
        assert!(read(five).is_ok(), "{five}");
    }
    for six in [r#"{"numbers": [1, 2, 3, 4, 5]}"#, r#"{"leaf": {"name": "x"}, "numbers": [1, 2, 3]}"#] {
        assert_eq!(read(six).unwrap_err().kind, ViolationKind::Malformed, "{six}");
    }
}

#[test]
fn any_whose_type_stands_last_is_looked_for_within_a_bound() {
    let nested = |levels: usize| {
        let typed = |inner: String| format!(r#"{{"value": {inner}, "@type": "a/google.protobuf.Any"}}"#);
        let inner = (0..levels).fold(format!(r#""{}""#, "x".repeat(1000)), |inner, _| typed(inner));
        request(&format!(r#"{{"any": {inner}}}"#)).unwrap_err().problem
    };
    assert!(nested(40).contains("must stand first"), "{}", nested(40));
    assert!(!nested(4).contains("must stand first"), "{}", nested(4));
}

#[test]
fn field_mask_is_read_in_either_case_and_with_asterisks() {
    let mask = |text: &str| request(&format!(r#"{{"mask": "{text}"}}"#));
    let paths = |text: &str| mask(text).map(|wire| response(&wire));
    for (given, written) in [("display_name,aB", "displayName,aB"), ("*", "*"), ("a.*.b_c", "a.*.bC")] {
        assert_eq!(paths(given).unwrap(), format!(r#"{{"mask":"{written}"}}"#), "{given}");
    }
    assert!(mask("a*").is_err());
}

#[test]
fn empty_object_is_no_body() {
    let plan = plan("kitchen.Kitchen.Cook", Some(&binding("kitchen.Kitchen.Cook", "/v1", "")));
    for body in ["", "{}", " { } "] {
        assert_eq!(&*plan.request(&[], Some("text=a"), None, body.as_bytes()).unwrap(), b"\x72\x01a", "{body}");
    }
    for body in [r#"{"text":"a"}"#, "[]", "{} {}", "null"] {
        assert_eq!(
            plan.request(&[], None, None, body.as_bytes()).unwrap_err().kind,
            ViolationKind::Malformed,
            "{body}"
        );
    }
}

#[test]
fn json_that_is_not_utf8_is_refused_with_its_place() {
    let plan = plan("kitchen.Kitchen.Cook", None);
    let violation = plan.request(&[], None, None, b"{\"text\":\"\xff\"}").unwrap_err();
    assert_eq!(violation.problem, "not UTF-8 at byte 9");
}

#[test]
fn depth_that_is_configured_holds() {
    let limits = Limits { depth: 2, ..Limits::default() };
    let plan = Plan::compile(&SCHEMA, &method("kitchen.Kitchen.Cook"), None, limits).unwrap();
    let request = |json: &str| plan.request(&[], None, None, json.as_bytes());
    assert!(request(r#"{"leaf": {"name": ""}}"#).is_ok());
    assert!(request(r#"{"leaf": {"next": {}}}"#).is_err());
}
