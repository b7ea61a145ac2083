//! Requests that are held against what their messages say of themselves.

use accord_contract::{Contract, Method, Source};

use crate::fixture::{Inline, findings, refused, source};

/// As much of it as tells that there are rules.
const RULES: &str = "syntax = \"proto3\"; package buf.validate; import \"google/protobuf/descriptor.proto\";
    extend google.protobuf.FieldOptions { FieldRules field = 1159; }
    message FieldRules { bool required = 25; }";

/// A method with this policy, whose request holds a message with a rule and one with a field that is REQUIRED.
fn shop(policy: &str, streaming: &str) -> Source {
    let text = format!(
        "syntax = \"proto3\"; package test.v1;
         import \"accord/policy/v1/policy.proto\"; import \"google/api/field_behavior.proto\";
         import \"buf/validate/validate.proto\";
         service Shop {{
           rpc Get({streaming} Order) returns (Order) {{
             option (accord.policy.v1.method) = {{ access: {{ public: true }} {policy} }};
           }}
         }}
         message Order {{ optional string id = 1 [(google.api.field_behavior) = REQUIRED]; Line line = 2; }}
         message Line {{ string sku = 1 [(buf.validate.field).required = true]; Order of = 2; }}"
    );
    source(Inline(vec![("test.proto", text), ("buf/validate/validate.proto", RULES.to_owned())]))
}

/// Whether requests are read, validated, and have to set a field.
fn checks(policy: &str) -> (bool, bool, bool) {
    let contract = Contract::load(&[shop(policy, "")], &[]).0;
    let method = contract.method("test.v1.Shop/Get").unwrap();
    (method.is_read, method.is_validated, method.missing(b"").unwrap().is_some())
}

fn explained(method: &Method) -> &str {
    &method.sources.iter().find(|source| source.field == "buf.validate").unwrap().value
}

#[test]
fn request_is_validated_where_it_is_read_anyway_or_where_validate_says_so() {
    assert_eq!(checks(""), (false, false, false));
    assert_eq!(checks("invalidates: \"orders\""), (true, true, true));
    assert_eq!(checks("validate: true"), (true, true, true));
    assert_eq!(checks("validate: false invalidates: \"orders\""), (true, false, false));
}

#[test]
fn rules_are_explained_with_why_they_are_not_checked() {
    for (policy, value) in [
        ("", "not checked, as no request is read"),
        ("validate: true", "checked"),
        ("validate: false", "not checked, as `validate` says"),
    ] {
        let contract = Contract::load(&[shop(policy, "")], &[]).0;
        assert_eq!(explained(contract.method("test.v1.Shop/Get").unwrap()), value);
    }
}

#[test]
fn validate_on_a_stream_is_refused() {
    refused(&findings(shop("validate: true", "stream")), "validate", "are not read");
}

#[test]
fn rules_that_nobody_checks_are_warned_of_once_a_service() {
    let warned = |policy: &str| {
        let found = findings(shop(policy, ""));
        found.iter().filter(|finding| finding.to_string().contains("that nobody checks")).count()
    };
    assert_eq!(warned(""), 1);
    for said in ["validate: true", "validate: false", "invalidates: \"orders\""] {
        assert_eq!(warned(said), 0, "{said}");
    }
    assert!(findings(shop("", "stream")).is_empty());
}
