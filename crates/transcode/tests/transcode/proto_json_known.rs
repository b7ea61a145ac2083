//! The well-known types of the page on `ProtoJSON`, rule by rule: <https://protobuf.dev/programming-guides/json/#wkt>.

use accord_transcode::ViolationKind;

use super::kitchen::{COOK, encoded, request, response};

/// A value of a field, and how it is written.
#[track_caller]
fn reads(name: &str, values: &[(&str, &str)]) {
    for (sent, written) in values {
        let json = format!("{{\"{name}\":{sent}}}");
        let wire = request(&json).unwrap_or_else(|violation| panic!("{json}: {violation}"));
        assert_eq!(response(&wire), format!("{{\"{name}\":{written}}}"), "{json}");
    }
}

#[track_caller]
fn refuses(name: &str, values: &[&str]) {
    for sent in values {
        let json = format!("{{\"{name}\":{sent}}}");
        let violation = request(&json).map(|wire| response(&wire)).expect_err(&json);
        assert!(violation.field.starts_with(name), "{json}: {violation}");
        assert_ne!(violation.kind, ViolationKind::Malformed, "{json}: {violation}");
    }
}

/// A message as one field of the whole, in wire bytes.
fn field(number: u32, message: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    accord_wire::put_bytes(&mut wire, number, message);
    wire
}

#[track_caller]
fn is_not_written(number: u32, message: &[u8]) {
    let mut out = Vec::new();
    let written = COOK.response(&field(number, message), &mut out);
    assert!(written.is_err(), "{message:?} became {}", String::from_utf8_lossy(&out));
}

/// "Generated output will always be Z-normalized with 0, 3, 6 or 9 fractional digits."
#[test]
fn timestamp_is_written_with_0_3_6_or_9_digits() {
    let at = |fraction: &str| format!(r#""2026-01-31T12:00:00{fraction}Z""#);
    for (sent, written) in [
        ("", ""),
        (".0", ""),
        (".5", ".500"),
        (".05", ".050"),
        (".1234", ".123400"),
        (".123456", ".123456"),
        (".1234567", ".123456700"),
        (".000000001", ".000000001"),
    ] {
        reads("timestamp", &[(&at(sent), &at(written))]);
    }
    refuses("timestamp", &[&at("."), &at(".0000000001"), &at(".-1"), &at(".1e1")]);
}

/// "Offsets other than "Z" are also accepted."
#[test]
fn timestamp_is_read_with_any_offset() {
    let at = |time: &str| format!(r#""2026-01-31T{time}""#);
    for offset in ["12:00:00+00:00", "12:00:00-00:00", "23:59:00+11:59", "00:00:00-12:00", "12:30:00.000+00:30"] {
        reads("timestamp", &[(&at(offset), &at("12:00:00Z"))]);
    }
    reads("timestamp", &[(r#""2025-12-31T23:30:00-01:00""#, r#""2026-01-01T00:30:00Z""#)]);
    let broken =
        ["12:00:00", "12:00:00z", "12:00:00+1:00", "12:00:00+0100", "12:00:00+24:00", "12:00:00+00:60", "12:00:00 Z"];
    refuses("timestamp", &broken.map(at).each_ref().map(String::as_str));
}

/// RFC 3339, of which a message can hold no leap second.
#[test]
fn timestamp_is_a_date_and_a_time_that_exist() {
    reads("timestamp", &[(r#""2024-02-29T00:00:00Z""#, r#""2024-02-29T00:00:00Z""#)]);
    refuses(
        "timestamp",
        &[
            r#""2023-02-29T00:00:00Z""#,
            r#""2100-02-29T00:00:00Z""#,
            r#""2026-04-31T00:00:00Z""#,
            r#""2026-13-01T00:00:00Z""#,
            r#""2026-00-01T00:00:00Z""#,
            r#""2026-01-00T00:00:00Z""#,
            r#""2026-01-01T24:00:00Z""#,
            r#""2026-01-01T00:60:00Z""#,
            r#""2026-06-30T23:59:60Z""#,
            r#""2026-01-01 00:00:00Z""#,
            r#""2026-01-01t00:00:00Z""#,
            r#""26-01-01T00:00:00Z""#,
            r#""+2026-01-01T00:00:00Z""#,
            r#""2026-1-1T0:0:0Z""#,
            r#""2026-01-01""#,
            r#""""#,
            "1767225600",
            r#"{"seconds":1}"#,
        ],
    );
}

#[test]
fn timestamp_is_within_the_years_1_and_9999() {
    let (first, last) = (r#""0001-01-01T00:00:00Z""#, r#""9999-12-31T23:59:59.999999999Z""#);
    reads("timestamp", &[(first, first), (last, last), (r#""0001-01-01T01:00:00+01:00""#, first)]);
    refuses("timestamp", &[r#""0000-12-31T23:59:59Z""#, r#""0001-01-01T00:00:00+00:01""#]);
    refuses("timestamp", &[r#""9999-12-31T23:59:59-00:01""#, r#""10000-01-01T00:00:00Z""#]);
    // Nanoseconds that are negative, and as many as make a second.
    is_not_written(34, &[0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
    is_not_written(34, &[0x10, 0x80, 0x94, 0xeb, 0xdc, 3]);
}

/// "Generated output always contains 0, 3, 6, or 9 fractional digits, depending on required precision, followed by the suffix "s".
/// Accepted are any fractional digits (also none) as long as they fit into nanoseconds precision and the suffix "s" is required."
#[test]
fn duration_is_seconds_with_their_unit() {
    for (sent, written) in [
        ("0s", "0s"),
        ("-0s", "0s"),
        ("1s", "1s"),
        ("01s", "1s"),
        ("1.5s", "1.500s"),
        ("-1.5s", "-1.500s"),
        ("-0.000000001s", "-0.000000001s"),
        ("1.000340012s", "1.000340012s"),
        ("1.0000s", "1s"),
        ("315576000000s", "315576000000s"),
        ("-315576000000s", "-315576000000s"),
    ] {
        reads("duration", &[(&format!("\"{sent}\""), &format!("\"{written}\""))]);
    }
    let broken = [
        "",
        "s",
        "1",
        "1S",
        "1m",
        "1 s",
        " 1s",
        "+1s",
        "--1s",
        "1.s",
        ".5s",
        "1.-5s",
        "1.0000000001s",
        "1e3s",
        "PT1S",
        "315576000001s",
        "-315576000001s",
        "99999999999999999999s",
    ];
    refuses("duration", &broken.map(|text| format!("\"{text}\"")).each_ref().map(String::as_str));
    refuses("duration", &["1", "1.5", "{}"]);
}

#[test]
fn duration_of_two_signs_has_no_json_form() {
    // A second, and a nanosecond less.
    is_not_written(35, &[0x08, 1, 0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
    is_not_written(35, &[0x10, 0x80, 0x94, 0xeb, 0xdc, 3]);
}

/// "`"f.fooBar,h"`" "Note that some field names cannot be represented in JSON `FieldMasks`"
#[test]
fn field_mask_is_paths_in_lower_camel_case() {
    reads("mask", &[(r#""""#, r#""""#), (r#""f.fooBar,h""#, r#""f.fooBar,h""#), (r#""foo_bar""#, r#""fooBar""#)]);
    refuses("mask", &[r#""a,,b""#, r#"",""#, r#""a, b""#, r#""a-b""#, r#""a*""#, r#""é""#, "[]", r#"["a"]"#]);
    let path = |path: &str| {
        let mut mask = Vec::new();
        accord_wire::put_bytes(&mut mask, 1, path.as_bytes());
        mask
    };
    for lost in ["fooBar", "foo__bar", "foo_3", "foo_", "_Foo"] {
        is_not_written(36, &path(lost));
    }
    // What would be read back as other paths, or as none.
    for other in ["a,b", "", "a b", "a-b", "é"] {
        is_not_written(36, &path(other));
    }
}

/// "Wrappers use the same representation in JSON as the wrapped primitive type".
#[test]
fn wrapper_is_what_it_wraps() {
    reads("wrappedNumber", &[("0", r#""0""#), (r#""1e2""#, r#""100""#)]);
    reads("wrappedText", &[(r#""""#, r#""""#)]);
    reads("wrappedFlag", &[("false", "false")]);
    refuses("wrappedNumber", &["1.5", r#""""#, r#"{"value":1}"#, "[]"]);
    refuses("wrappedFlag", &[r#""true""#, "0"]);
}

/// "Any JSON object."
#[test]
fn struct_value_and_list_are_any_json() {
    let object = r#"{"":{"a":[1.5,"x",true,null,{}]}}"#;
    reads("struct", &[("{}", "{}"), (object, object)]);
    reads("list", &[("[]", "[]"), (r#"[[],[null],{"a":[]}]"#, r#"[[],[null],{"a":[]}]"#)]);
    reads("value", &[(object, object), ("[]", "[]"), (r#""NaN""#, r#""NaN""#), ("-1e2", "-100.0"), ("false", "false")]);
    refuses("struct", &["[]", "1", r#""{}""#]);
    refuses("list", &["{}", "1", r#""[]""#]);
    refuses("value", &["1e309"]);
    // Numbers that JSON has no form for.
    for bits in [f64::NAN, f64::INFINITY] {
        is_not_written(38, &[&[0x11][..], &bits.to_le_bytes()].concat());
    }
}

/// "the message contained inside the `Any` is turned into a JSON object with an additional `"@type"` field inserted"
#[test]
fn any_is_a_message_with_its_type() {
    let leaf = r#"{"@type":"type.googleapis.com/kitchen.Leaf","name":"x","minorUnits":3}"#;
    reads("any", &[(leaf, leaf), ("{}", "{}")]);
    // In any order, and under any host.
    reads("any", &[(r#"{"name":"x","minorUnits":3,"@type":"type.googleapis.com/kitchen.Leaf"}"#, leaf)]);
    reads(
        "any",
        &[(r#"{"minor_units":3,"@type":"a.b/c/kitchen.Leaf"}"#, r#"{"@type":"a.b/c/kitchen.Leaf","minorUnits":3}"#)],
    );
    refuses(
        "any",
        &[r#"{"@type":"kitchen.Leaf"}"#, r#"{"@type":""}"#, r#"{"@type":"a/"}"#, r#"{"name":"x"}"#, "[]", r#""""#],
    );
    refuses("any", &[r#"{"@type":"a/kitchen.Leaf","value":{"name":"x"}}"#]);
    let twice = request(r#"{"any":{"@type":"a/kitchen.Leaf","@type":"a/kitchen.Leaf"}}"#).unwrap_err();
    assert_eq!(twice.field, "any.@type");
}

/// "the message is converted into the special representation and set as a field with key "value"."
#[test]
fn any_holds_a_well_known_type_under_value() {
    for (name, value) in [
        ("Any", r#"{"@type":"a/google.protobuf.Any","value":{"@type":"a/kitchen.Leaf","name":"x"}}"#),
        ("BoolValue", "true"),
        ("BytesValue", r#""AA==""#),
        ("DoubleValue", r#""NaN""#),
        ("Duration", r#""3.100s""#),
        ("FieldMask", r#""a,bC""#),
        ("FloatValue", "1.5"),
        ("Int32Value", "-1"),
        ("Int64Value", r#""1""#),
        ("ListValue", "[1.0]"),
        ("StringValue", r#""x""#),
        ("Struct", r#"{"@type":"x"}"#),
        ("Timestamp", r#""2026-01-01T00:00:00Z""#),
        ("UInt32Value", "1"),
        ("UInt64Value", r#""1""#),
        ("Value", "null"),
    ] {
        let written = format!(r#"{{"@type":"a/google.protobuf.{name}","value":{value}}}"#);
        reads("any", &[(&written, &written)]);
        reads("any", &[(&format!(r#"{{"value":{value},"@type":"a/google.protobuf.{name}"}}"#), &written)]);
    }
    refuses("any", &[r#"{"@type":"a/google.protobuf.Duration","seconds":1}"#]);
    refuses("any", &[r#"{"@type":"a/google.protobuf.Duration","value":1}"#]);
}

/// "Note that `google.protobuf.Empty` is not considered to have any special JSON mapping". Go writes a `value` all the same.
#[test]
fn any_holds_empty_without_a_value() {
    let empty = r#"{"@type":"a/google.protobuf.Empty"}"#;
    reads("any", &[(empty, empty), (r#"{"@type":"a/google.protobuf.Empty","value":{}}"#, empty)]);
    refuses(
        "any",
        &[r#"{"@type":"a/google.protobuf.Empty","value":{"a":1}}"#, r#"{"@type":"a/google.protobuf.Empty","a":1}"#],
    );
}

#[test]
fn any_without_content_is_its_type_alone() {
    assert_eq!(response(&encoded(r#"{"any":{"@type":"a/kitchen.Leaf"}}"#)), r#"{"any":{"@type":"a/kitchen.Leaf"}}"#);
    // Content without a type has no form.
    is_not_written(44, &[0x12, 2, 8, 1]);
}
