//! HTTP bindings against the messages of their methods.

use accord_contract::{Severity, http::Body};

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
             additional_bindings: { custom: { kind: \"HEAD\" path: \"/v1/{id=a/*/**}\" } body: \"*\" }",
        ),
        &[],
    );
    let texts: Vec<_> = method.http.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["POST /v1/items/{item.id}:buy", "HEAD /v1/{id=a/*/**}"]);
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

#[test]
fn http_rule_of_an_unusable_field_is_refused() {
    let http = |rule: &str| findings(bound(rule));
    refused(&http("get: \"/v1/{nothing}\""), "google.api.http", "has no field `nothing`");
    refused(&http("get: \"/v1/{items}\""), "google.api.http", "repeated");
    refused(&http("get: \"/v1/{item}\""), "google.api.http", "is a message");
    refused(&http("post: \"/v1\" body: \"nothing\""), "google.api.http", "body: `test.v1.Request` has no field");
    refused(&http("get: \"/v1\" response_body: \"id\""), "google.api.http", "`test.v1.Response` has no field");
}

#[test]
fn http_rule_outside_the_grammar_is_refused() {
    refused(&findings(bound("get: \"v1\"")), "google.api.http", "starts with `/`");
    refused(&findings(bound("body: \"*\"")), "google.api.http", "no path");
    refused(&findings(bound("custom: { kind: \"a b\" path: \"/v1\" }")), "google.api.http", "no HTTP method");
}

#[test]
fn http_binding_of_a_client_stream_is_a_warning() {
    let rpc = |stream: &str| {
        let options = format!("{OPEN} option (google.api.http) = {{ post: \"/v1\" body: \"*\" }};");
        findings(shop("", &format!("rpc Get({stream} Request) returns (stream Response) {{ {options} }}")))
    };
    let found = rpc("stream");
    assert_eq!((found.len(), found[0].severity, found[0].option.as_str()), (1, Severity::Warning, "google.api.http"));
    assert!(found[0].problem.contains("stream of requests") && found[0].remedy.contains("gRPC"), "{}", found[0]);
    assert_eq!(rpc(""), []);
}

#[test]
fn http_binding_of_two_methods_is_refused() {
    let rpc = |name: &str, path: &str| {
        format!("rpc {name}(Request) returns (Response) {{ {OPEN} option (google.api.http) = {{ get: \"{path}\" }}; }}")
    };
    let two = |one: &str, other: &str| findings(shop("", &(rpc("Get", one) + &rpc("Find", other))));
    refused(&two("/v1/{id}", "/v1/{other=*}"), "google.api.http", "is a binding of test.v1.Shop/Get already");
    assert_eq!(two("/v1/{id}", "/v1/{id}:find"), []);
}
