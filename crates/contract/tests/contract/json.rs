//! How a contract says that JSON is read and written.

use accord_contract::{JsonPolicy, Overlay};

use crate::fixture::{accepted, findings, reading, refused, shop};

fn json(options: &str) -> accord_contract::Source {
    reading(&format!("json: {{ {options} }}"))
}

#[test]
fn json_is_canonical_where_no_layer_says_otherwise() {
    assert_eq!(accepted(reading(""), &[]).policy.json, JsonPolicy::default());
    let said = json("defaults: false names: JSON_NAMES_CAMEL_CASE enums: JSON_ENUMS_NAMES success: 200");
    assert_eq!(accepted(said, &[]).policy.json, JsonPolicy::default());
}

#[test]
fn json_options_are_declared_in_the_contract_and_in_overlays() {
    let declared = json("defaults: true names: JSON_NAMES_PROTO success: 201 ignored_parameters: \"key\"");
    let text = "[[rule]]\nselector = \"test.*\"\npolicy = { json = { enums = \"NUMBERS\", defaults = false, \
                ignored_parameters = [\"alt\", \"utm_*\"] } }\n";
    let method = accepted(declared, &[Overlay::parse("json.toml", text).unwrap()]);
    let expected = JsonPolicy {
        defaults: false,
        proto_names: true,
        enum_numbers: true,
        success: Some(201),
        ignored_parameters: ["alt", "utm_*"].map(Box::from).into(),
    };
    assert_eq!(method.policy.json, expected);
}

#[test]
fn success_that_is_none_is_refused() {
    for status in [0, 100, 206, 304, 404, 99_999] {
        refused(&findings(json(&format!("success: {status}"))), "json.success", "no status");
    }
}

#[test]
fn success_of_a_stream_is_refused() {
    let options = "option (accord.policy.v1.method) = { access: { public: true } json: { success: 202 } };";
    let stream = shop("", &format!("rpc Get(Request) returns (stream Response) {{ {options} }}"));
    refused(&findings(stream), "json.success", "begins before");
}

#[test]
fn ignored_parameters_that_name_nothing_are_refused() {
    for name in ["", "*", "a*b", "**"] {
        let option = format!("ignored_parameters: \"{name}\"");
        refused(&findings(json(&option)), "json.ignored_parameters", "names no parameters");
    }
    let many = (0..33).map(|number| format!("ignored_parameters: \"p{number}\"")).collect::<Vec<_>>().join(" ");
    refused(&findings(json(&many)), "json.ignored_parameters", "33 names, more than 32");
}
