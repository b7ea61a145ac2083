//! The page on `ProtoJSON`, rule by rule: <https://protobuf.dev/programming-guides/json/>. What is quoted stands there.
//!
//! Each row is what is sent and what is written of it. What is refused is named by its field.

use accord_transcode::ViolationKind;

use super::kitchen::{request, response};

#[track_caller]
fn reads(sent: &str, written: &str) {
    let wire = request(sent).unwrap_or_else(|violation| panic!("{sent}: {violation}"));
    assert_eq!(response(&wire), written, "{sent}");
}

/// A member under `name`, of which each value is read and written like this.
#[track_caller]
fn reads_values(name: &str, values: &[(&str, &str)]) {
    for (sent, written) in values {
        reads(&format!("{{\"{name}\":{sent}}}"), &format!("{{\"{name}\":{written}}}"));
    }
}

#[track_caller]
fn refuses(sent: &str, field: &str, kind: ViolationKind) {
    let violation = request(sent).map(|wire| response(&wire)).expect_err(sent);
    assert_eq!((violation.field.as_str(), violation.kind), (field, kind), "{sent}: {violation}");
}

#[track_caller]
fn refuses_values(name: &str, values: &[&str]) {
    for sent in values {
        refuses(&format!("{{\"{name}\":{sent}}}"), name, ViolationKind::InvalidValue);
    }
}

// "Representation of each type"

/// "Parsers accept both the lowerCamelCase name (or the one specified by the `json_name` option) and the original proto field
/// name."
#[test]
fn field_is_read_by_either_of_its_names() {
    for sent in [r#"{"rawBytes":"AA=="}"#, r#"{"raw_bytes":"AA=="}"#] {
        reads(sent, r#"{"rawBytes":"AA=="}"#);
    }
    for sent in [r#"{"otherName":"x"}"#, r#"{"renamed":"x"}"#] {
        reads(sent, r#"{"otherName":"x"}"#);
    }
    for sent in ["raw-bytes", "RawBytes", "rawbytes", "", "15"] {
        refuses(&format!(r#"{{"{sent}":"AA=="}}"#), sent, ViolationKind::UnknownField);
    }
}

/// "Parsers accept both enum names and integer values."
#[test]
fn enum_is_a_name_or_an_integer() {
    let (red, blue) = (r#""COLOUR_RED""#, r#""COLOUR_BLUE""#);
    reads_values("colour", &[(red, red), ("1", red), ("1.0", red), ("1e0", red), ("-7", blue), ("42", "42")]);
    reads_values("colour", &[("2147483647", "2147483647"), ("-2147483648", "-2147483648")]);
    refuses_values("colour", &[r#""COLOUR_GREEN""#, r#""colour_red""#, r#""""#, "1.5", "2147483648", "true"]);
}

/// "All keys are converted to strings (object keys in JSON can only be strings)."
#[test]
fn keys_of_maps_are_strings() {
    reads(r#"{"labels":{"":"a","\u0000":"b","é\n":"c"}}"#, r#"{"labels":{"":"a","\u0000":"b","é\n":"c"}}"#);
    reads(r#"{"leaves":{"-2147483648":{},"1e1":{}}}"#, r#"{"leaves":{"-2147483648":{},"10":{}}}"#);
    reads(r#"{"switches":{"true":1,"false":"2"}}"#, r#"{"switches":{"false":"2","true":"1"}}"#);
    reads(r#"{"palette":{"18446744073709551615":0}}"#, r#"{"palette":{"18446744073709551615":"COLOUR_UNSPECIFIED"}}"#);
    for (map, key) in [
        ("leaves", ""),
        ("leaves", "1.5"),
        ("leaves", " 1"),
        ("leaves", "2147483648"),
        ("palette", "-1"),
        ("switches", "1"),
        ("switches", "TRUE"),
    ] {
        refuses(&format!(r#"{{"{map}":{{"{key}":{{}}}}}}"#), map, ViolationKind::InvalidValue);
    }
}

#[test]
fn list_is_an_array() {
    reads(r#"{"texts":["a","","a"],"numbers":[0,-1]}"#, r#"{"numbers":[0,-1],"texts":["a","","a"]}"#);
    refuses_values("texts", &[r#""a""#, "{}", r#"{"0":"a"}"#, "false"]);
}

#[test]
fn bool_is_true_or_false() {
    reads_values("maybeNumber", &[("0", "0")]);
    reads(r#"{"flag":true,"wrappedFlag":false}"#, r#"{"flag":true,"wrappedFlag":false}"#);
    refuses_values("flag", &[r#""true""#, "0", "1", "[]", r#""""#]);
}

#[test]
fn string_is_any_text() {
    let escaped = r#""\u0000\u001f\"\\\/\b\f\n\r\t\u007f\ud83d\ude00é""#;
    reads_values("text", &[(escaped, "\"\\u0000\\u001f\\\"\\\\/\\b\\f\\n\\r\\t\u{7f}😀é\"")]);
    refuses_values("text", &["1", "true", "{}", "[]"]);
}

/// A surrogate without the other half is no character.
#[test]
fn string_with_half_a_surrogate_pair_is_malformed() {
    for escape in [r"\ud800", r"\udc00", r"\ude00\ud83d", r"\ud800x", r"\ud800\ud800", r"\ud83d\n", r"\ud83d\u00e9"] {
        assert_eq!(
            request(&format!(r#"{{"text":"{escape}"}}"#)).unwrap_err().kind,
            ViolationKind::Malformed,
            "{escape}"
        );
        let key = format!(r#"{{"labels":{{"{escape}":""}}}}"#);
        assert_eq!(request(&key).unwrap_err().kind, ViolationKind::Malformed, "{escape}");
    }
}

/// "Either standard or URL-safe base64 encoding with/without paddings are accepted."
#[test]
fn bytes_are_base64_in_either_alphabet() {
    for sent in [r#""+/+/8A==""#, r#""-_-_8A==""#, r#""-_-_8A""#, r#""+/+/8A""#, r#""+/+/8A=""#, r#""+\/+\/8A""#] {
        reads_values("rawBytes", &[(sent, r#""+/+/8A==""#)]);
    }
    refuses_values("rawBytes", &[r#""+_==""#, r#""A""#, r#""AA==AA==""#, r#""AA ==""#, r#""=""#, r#""A===""#, "1"]);
}

/// "Either numbers or strings are accepted. … Exponent notation (such as `1e2`) is accepted in both quoted and unquoted forms."
#[test]
fn integer_is_a_number_or_a_string_in_any_notation() {
    for name in ["int32", "sint32", "sfixed32", "uint32", "fixed32"] {
        reads_values(name, &[("100", "100"), (r#""100""#, "100"), ("1e2", "100"), (r#""1E+2""#, "100")]);
        reads_values(name, &[("100.0", "100"), (r#""100.00""#, "100"), ("1.0e2", "100"), ("100000e-3", "100")]);
    }
    for name in ["int64", "sint64", "sfixed64", "uint64", "fixed64"] {
        let written = r#""100""#;
        reads_values(name, &[("100", written), (r#""100""#, written), ("1e2", written), (r#""1E+2""#, written)]);
        reads_values(name, &[("100.0", written), (r#""100.00""#, written), ("1.0e2", written), ("100000e-3", written)]);
    }
}

/// "Empty strings are invalid." "Values with nonzero fractional portions are not allowed for integer-typed fields."
#[test]
fn integer_that_is_none_is_invalid() {
    let broken =
        [r#""""#, r#"" 1""#, r#""1 ""#, r#""+1""#, r#""01""#, r#""1_0""#, r#""0x1""#, r#""1.""#, r#"".5""#, r#""NaN""#];
    for name in ["int32", "uint32", "sint32", "fixed32", "sfixed32", "int64", "uint64", "sint64", "fixed64", "sfixed64"]
    {
        refuses_values(name, &broken);
        refuses_values(name, &["1.5", r#""1.5""#, "1e-1", "true", "[]", "{}", "1e99999999999"]);
    }
}

/// "This includes any negative number for `uint32`, and numbers less than `INT_MIN` or larger than `INT_MAX` for `int32`."
#[test]
fn integer_out_of_range_is_invalid() {
    for name in ["int32", "sint32", "sfixed32"] {
        reads_values(name, &[("-2147483648", "-2147483648"), ("2147483647", "2147483647")]);
        refuses_values(name, &["-2147483649", "2147483648", "1e10"]);
    }
    for name in ["uint32", "fixed32"] {
        reads_values(name, &[("4294967295", "4294967295")]);
        refuses_values(name, &["4294967296", "-1", r#""-1""#]);
    }
    for name in ["int64", "sint64", "sfixed64"] {
        let (least, most) = (r#""-9223372036854775808""#, r#""9223372036854775807""#);
        reads_values(name, &[(least, least), (most, most), ("9.223372036854775807e18", most)]);
        refuses_values(name, &[r#""-9223372036854775809""#, r#""9223372036854775808""#, "1e19"]);
    }
    for name in ["uint64", "fixed64"] {
        reads_values(name, &[(r#""18446744073709551615""#, r#""18446744073709551615""#)]);
        refuses_values(name, &[r#""18446744073709551616""#, "-1", "1e20"]);
    }
}

/// "JSON value will be a number or one of the special string values "NaN", "Infinity", and "-Infinity". Either numbers or strings
/// are accepted."
#[test]
fn floating_point_number_is_a_number_or_a_string() {
    for name in ["float", "double"] {
        reads_values(name, &[(r#""NaN""#, r#""NaN""#), (r#""Infinity""#, r#""Infinity""#)]);
        reads_values(
            name,
            &[(r#""-Infinity""#, r#""-Infinity""#), (r#""2.5""#, "2.5"), ("25e-1", "2.5"), ("-0", "-0.0")],
        );
        refuses_values(name, &[r#""""#, r#""nan""#, r#""Inf""#, r#""+Infinity""#, r#""infinity""#, r#"" 1""#, "true"]);
    }
    reads_values("float", &[("3.4028235e38", "3.4028235e+38"), ("1e-45", "1e-45")]);
    reads(r#"{"float":1e-50,"double":1e-400}"#, "{}");
    reads_values("double", &[("1.7976931348623157e308", "1.7976931348623157e+308"), ("5e-324", "5e-324")]);
    refuses_values("float", &["3.5e38", "-3.5e38", r#""1e39""#]);
    refuses_values("double", &["1.8e308", "-1.8e308", r#""1e309""#]);
}

// "Null values"

/// "`null` is valid for any field and leaves the field unset." "Any key validity checking should still occur".
#[test]
fn null_leaves_a_field_unset() {
    let names = "flag int32 uint64 double text rawBytes colour maybeNumber numbers labels choiceText leaf timestamp duration mask \
                 struct list wrappedNumber any empty";
    for name in names.split(' ') {
        reads(&format!(r#"{{"{name}":null}}"#), "{}");
    }
    refuses(r#"{"nope":null}"#, "nope", ViolationKind::UnknownField);
    reads(r#"{"choiceText":null,"choiceNumber":1}"#, r#"{"choiceNumber":"1"}"#);
}

/// "`null` values are not allowed within repeated fields."
#[test]
fn null_in_a_list_or_a_map_is_invalid() {
    for list in ["numbers", "texts", "colours", "doubles", "leafList", "unpacked"] {
        refuses(&format!(r#"{{"{list}":[null]}}"#), &format!("{list}[0]"), ViolationKind::InvalidValue);
    }
    for (map, key) in [("labels", "a"), ("leaves", "1"), ("switches", "true"), ("palette", "1")] {
        refuses(&format!(r#"{{"{map}":{{"{key}":null}}}}"#), &format!("{map}.{key}"), ViolationKind::InvalidValue);
    }
}

/// "`google.protobuf.NullValue` is a special exception … `null` is handled as a sentinel-present value for this type".
#[test]
fn null_is_a_value_where_values_are_held() {
    reads_values("value", &[("null", "null"), (r#"[null,{"a":null}]"#, r#"[null,{"a":null}]"#)]);
    reads_values("values", &[("[null,1,null]", "[null,1.0,null]")]);
    reads_values("struct", &[(r#"{"a":null}"#, r#"{"a":null}"#)]);
    // Without presence it is the default, which is not written.
    for sent in ["null", r#""NULL_VALUE""#, "0"] {
        reads(&format!(r#"{{"nothing":{sent}}}"#), "{}");
    }
}

// "Duplicate keys"

/// "Wherever it is not practical to implement "last wins", the parse must fail rather than selecting one to win arbitrarily."
#[test]
fn key_that_is_given_twice_is_malformed() {
    for (sent, field) in [
        (r#"{"text":"a","text":"a"}"#, "text"),
        (r#"{"text":null,"text":"a"}"#, "text"),
        (r#"{"rawBytes":"","raw_bytes":""}"#, "rawBytes"),
        (r#"{"te\u0078t":"a","text":"b"}"#, "text"),
        (r#"{"labels":{"a":"1","\u0061":"2"}}"#, "labels"),
        (r#"{"leaves":{"1":{},"1.0":{}}}"#, "leaves"),
        (r#"{"struct":{"a":1,"a":1}}"#, "struct"),
        (r#"{"value":{"a":1,"a":1}}"#, "value"),
    ] {
        let violation = request(sent).expect_err(sent);
        assert!(
            violation.field.starts_with(field) && violation.kind == ViolationKind::Malformed,
            "{sent}: {violation}"
        );
    }
}

#[test]
fn two_members_of_a_oneof_are_invalid() {
    refuses(r#"{"choiceText":"a","choiceNumber":1}"#, "choiceNumber", ViolationKind::InvalidValue);
    refuses(r#"{"choiceLeaf":{},"choiceText":""}"#, "choiceText", ViolationKind::InvalidValue);
}

// "Presence and default-values"

/// "serializers must emit the field value if and only if the corresponding hazzer would return true. If the field doesn't support
/// field presence and has the default value … serializers should omit it"
#[test]
fn default_value_is_written_only_where_its_presence_shows() {
    reads(r#"{"flag":false,"int32":0,"double":0,"text":"","rawBytes":"","colour":0,"numbers":[],"labels":{}}"#, "{}");
    let shown = r#"{"maybeNumber":0,"maybeText":"","choiceText":"","leaf":{},"wrappedNumber":"0","empty":{}}"#;
    reads(shown, shown);
}
