//! HTTP bindings against the messages of their methods.

use accord_contract::{Contract, Overlay, Severity, http::Body};

use crate::fixture::{accepted, findings, get, refused, shop};

const OPEN: &str = "option (accord.policy.v1.method) = { access: { public: true } };";

fn bound(rule: &str) -> accord_contract::Source {
    get(&format!("{OPEN} option (google.api.http) = {{ {rule} }};"))
}

#[test]
fn every_field_of_an_http_rule_is_read() {
    let method = accepted(
        bound(
            "post: \"/v1/items/{item.id}:buy\" body: \"item\" response_body: \"item\"
             additional_bindings: { custom: { kind: \"REPORT\" path: \"/v1/{id=a/*/**}\" } body: \"*\" }",
        ),
        &[],
    );
    let texts: Vec<_> = method.http.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["POST /v1/items/{item.id}:buy", "REPORT /v1/{id=a/*/**}"]);
    assert!(matches!(&method.http[0].body, Body::Field(field) if field.name() == "item"));
    assert_eq!(method.http[0].response_body.as_ref().unwrap().name(), "item");
    assert!(matches!(method.http[1].body, Body::Whole));
}

#[test]
fn repeated_field_can_be_the_http_body() {
    let method = accepted(bound("post: \"/v1\" body: \"items\" response_body: \"items\""), &[]);
    assert!(matches!(&method.http[0].body, Body::Field(field) if field.is_list()));
    assert!(method.http[0].response_body.as_ref().unwrap().is_list());
}

/// Asserts that a binding of the descriptors is left out with these words, and of an overlay refused.
#[track_caller]
fn left_out(rule: &str, words: &str) {
    let found = findings(bound(rule));
    let [finding] = &found[..] else { panic!("not one finding: {found:#?}") };
    assert_eq!((finding.severity, &*finding.option), (Severity::Warning, "google.api.http"));
    assert!(finding.problem.contains(words) && finding.problem.contains("not served"), "{finding}");
}

#[test]
fn http_rule_of_an_unusable_field_is_left_out() {
    left_out("get: \"/v1/{nothing}\"", "has no field `nothing`");
    left_out("get: \"/v1/{items}\"", "repeated");
    left_out("get: \"/v1/{item}\"", "is a message");
    left_out("post: \"/v1\" body: \"nothing\"", "`/v1`: body: `test.v1.Request` has no field");
    left_out("get: \"/v1\" response_body: \"id\"", "`test.v1.Response` has no field");
}

#[test]
fn http_rule_outside_the_grammar_is_left_out() {
    left_out("get: \"v1\"", "starts with `/`");
    left_out("body: \"*\"", "no path");
    left_out("custom: { kind: \"a b\" path: \"/v1\" }", "no HTTP method");
}

#[test]
fn http_binding_of_a_client_stream_without_a_body_is_a_warning() {
    let rpc = |stream: &str, rule: &str| {
        let options = format!("{OPEN} option (google.api.http) = {{ {rule} }};");
        findings(shop("", &format!("rpc Get({stream} Request) returns (stream Response) {{ {options} }}")))
    };
    let found = rpc("stream", "post: \"/v1\"");
    assert_eq!((found.len(), found[0].severity, found[0].option.as_str()), (1, Severity::Warning, "google.api.http"));
    assert!(found[0].problem.contains("stream of requests") && found[0].remedy.contains("body"), "{}", found[0]);
    assert_eq!(rpc("stream", "post: \"/v1\" body: \"*\""), []);
    assert_eq!(rpc("", "post: \"/v1\""), []);
}

#[test]
fn http_get_with_a_body_is_left_out() {
    left_out("get: \"/v1\" body: \"*\"", "carries none");
    left_out("custom: { kind: \"HEAD\" path: \"/v1\" } body: \"item\"", "carries none");
}

#[test]
fn binding_that_is_left_out_takes_no_other_with_it() {
    let rule = "get: \"/v1/{nothing}\" additional_bindings: { get: \"/v1/{id}\" }";
    let (contract, findings) = Contract::load(&[bound(rule)], &[]);
    assert!(!accord_contract::refused(&findings));
    let http: Vec<_> = contract.method("test.v1.Shop/Get").unwrap().http.iter().map(ToString::to_string).collect();
    assert_eq!(http, ["GET /v1/{id}"]);
}

#[test]
fn binding_of_an_overlay_that_can_not_be_served_is_refused() {
    let text = "[[rule]]\nselector = \"test.v1.Shop/Get\"\nhttp = { get = \"/v1\", body = \"*\" }\n";
    let (_, found) = Contract::load(&[bound("get: \"/v1\"")], &[Overlay::parse("mine.toml", text).unwrap()]);
    refused(&found, "google.api.http", "carries none");
}

#[test]
fn overlay_drops_the_bindings_of_a_method() {
    let text = "[[rule]]\nselector = \"test.v1.*\"\nhttp = false\n";
    let method = accepted(bound("get: \"/v1/{nothing}\""), &[Overlay::parse("mine.toml", text).unwrap()]);
    assert!(method.http.is_empty());
}

#[test]
fn second_of_two_methods_with_one_binding_goes_without() {
    let rpc = |name: &str, path: &str| {
        format!("rpc {name}(Request) returns (Response) {{ {OPEN} option (google.api.http) = {{ get: \"{path}\" }}; }}")
    };
    let two = |one: &str, other: &str| Contract::load(&[shop("", &(rpc("Get", one) + &rpc("Find", other)))], &[]);
    let (contract, findings) = two("/v1/{id}", "/v1/{other=*}");
    assert_eq!(findings[0].severity, Severity::Warning);
    assert!(findings[0].problem.contains("is a binding of test.v1.Shop/Get already"), "{}", findings[0]);
    assert_eq!(contract.method("test.v1.Shop/Get").unwrap().http.len(), 1);
    assert!(contract.method("test.v1.Shop/Find").unwrap().http.is_empty());
    assert_eq!(two("/v1/{id}", "/v1/{id}:find").1, []);
}

#[test]
fn stream_whose_messages_can_look_like_a_failure_is_a_warning() {
    let found = |output: &str, rule: &str| {
        let options = format!("{OPEN} option (google.api.http) = {{ get: \"/v1\" {rule} }};");
        let file = "import \"google/protobuf/struct.proto\"; message Event { string id = 1 [json_name = \"@error\"]; }
                    message Free { map<string, string> names = 1; }";
        findings(shop(file, &format!("rpc Get(Request) returns (stream {output}) {{ {options} }}")))
    };
    for (output, rule) in [("google.protobuf.Struct", ""), ("Event", ""), ("Free", "response_body: \"names\"")] {
        assert!(found(output, rule)[0].problem.contains("`@error`"), "{output}");
    }
    assert_eq!(found("Response", ""), []);
    assert_eq!(found("Free", ""), []);
}
