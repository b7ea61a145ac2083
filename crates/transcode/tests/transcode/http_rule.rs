//! The comment of `google.api.HttpRule`, sentence by sentence:
//! <https://github.com/googleapis/googleapis/blob/master/google/api/http.proto>. What is quoted stands there.

use std::{
    path::Path,
    sync::{Arc, LazyLock},
};

use accord_contract::{Contract, Source, http::Binding};
use accord_transcode::{Limits, NoMatch, Plan, Routes, Schema, ViolationKind};
use http::Method;
use prost_reflect::{DynamicMessage, MessageDescriptor};

struct Route {
    method: String,
    input: MessageDescriptor,
    plan: Plan,
}

static ROUTES: LazyLock<Routes<Route>> = LazyLock::new(|| {
    let source = source(&std::fs::read_to_string(directory().join("messaging.proto")).unwrap());
    let (contract, _) = Contract::load(std::slice::from_ref(&source), &[]);
    let schema = Arc::new(Schema::compile(&source.pool));
    let methods = contract.methods();
    let bound = methods.iter().flat_map(|method| method.http.iter().map(move |binding| (method, binding)));
    let routes: Vec<_> = bound.map(|(method, binding)| route(&schema, method, binding)).collect();
    Routes::build(routes.iter().map(|(binding, make)| (&*binding.method, &binding.template, make()))).unwrap()
});

type Made<'a> = (&'a Binding, Box<dyn Fn() -> Route + 'a>);

fn route<'a>(schema: &'a Arc<Schema>, method: &'a accord_contract::Method, binding: &'a Binding) -> Made<'a> {
    let make = move || Route {
        method: method.name.rsplit_once('/').unwrap().1.to_owned(),
        input: method.descriptor.input(),
        plan: Plan::compile(schema, &method.descriptor, Some(binding), Limits::default()).unwrap(),
    };
    (binding, Box::new(make))
}

fn directory() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcode"))
}

/// A proto as a source of its own.
fn source(text: &str) -> Source {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("under_test.proto"), text).unwrap();
    let mut compiler = protox::Compiler::new([home.path(), &directory().join("../../../../proto")]).unwrap();
    compiler.include_imports(true).open_file("under_test.proto").unwrap();
    Source::descriptor_set("messaging", "messaging.proto", &compiler.encode_file_descriptor_set()).unwrap()
}

/// What a request is refused for.
#[derive(Debug, PartialEq)]
enum Refusal {
    Route(NoMatch),
    Field(String, ViolationKind),
}

/// The method and its request, as JSON, that `GET /path?query` and a body stand for.
fn mapped(request: &str, body: &str) -> Result<(String, String), Refusal> {
    let (http_method, target) = request.split_once(' ').unwrap();
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let found = ROUTES.find(&Method::from_bytes(http_method.as_bytes()).unwrap(), path).map_err(Refusal::Route)?;
    let Route { method, input, plan } = found.value;
    let wire = plan.request(&found.variables, query, None, body.as_bytes());
    let wire = wire.map_err(|violation| Refusal::Field(violation.field.clone(), violation.kind))?;
    let message = DynamicMessage::decode(input.clone(), wire).unwrap();
    Ok((method.clone(), serde_json::to_string(&message).unwrap()))
}

#[track_caller]
fn maps(request: &str, body: &str, method: &str, message: &str) {
    assert_eq!(mapped(request, body), Ok((method.to_owned(), message.to_owned())), "{request} {body}");
}

#[track_caller]
fn refuses_field(request: &str, body: &str, field: &str, kind: ViolationKind) {
    assert_eq!(mapped(request, body), Err(Refusal::Field(field.to_owned(), kind)), "{request} {body}");
}

#[track_caller]
fn has_no_route(request: &str) {
    assert_eq!(mapped(request, ""), Err(Refusal::Route(NoMatch::NotFound)), "{request}");
}

/// The finding about a rule for a request with the fields of `GetByQueryRequest`, and a map.
fn finding(rule: &str) -> Option<String> {
    let text = format!(
        "syntax = \"proto3\"; package test.v1; import \"google/api/annotations.proto\";
         message Sub {{ string a = 1; }}
         message Request {{ string name = 1; repeated string names = 2; map<string, string> labels = 3; Sub sub = 4; }}
         service S {{ rpc Do(Request) returns (Request) {{ option (google.api.http) = {{ {rule} }}; }} }}"
    );
    let (_, findings) = Contract::load(&[source(&text)], &[]);
    let found = findings.into_iter().find(|finding| finding.option == "google.api.http");
    found.map(|finding| finding.problem)
}

#[track_caller]
fn is_not_served(rule: &str, words: &str) {
    let problem = finding(rule).unwrap_or_else(|| panic!("{rule} is taken"));
    assert!(problem.contains(words), "{rule}: {problem}");
}

// The examples.

/// "`GET /v1/messages/123456` … `GetMessage(name: "messages/123456")`"
#[test]
fn variable_with_a_template_holds_what_the_template_matches() {
    maps("GET /v1/messages/123456", "", "GetByName", r#"{"name":"messages/123456"}"#);
}

/// "`GET /v1/messages/123456?revision=2&sub.subfield=foo`"
#[test]
fn fields_not_in_the_path_are_query_parameters() {
    let expected = r#"{"messageId":"123456","revision":"2","sub":{"subfield":"foo"}}"#;
    maps("GET /v2/messages/123456?revision=2&sub.subfield=foo", "", "GetByQuery", expected);
}

/// "In the case of a repeated type, the parameter can be repeated in the URL as `...?param=A&param=B`."
#[test]
fn repeated_query_parameter_is_a_list() {
    let expected = r#"{"messageId":"1","sub":{"many":["x","y"]},"numbers":[3,1,2]}"#;
    maps("GET /v2/messages/1?numbers=3&sub.many=x&numbers=1&numbers=2&sub.many=y", "", "GetByQuery", expected);
}

/// "`PATCH /v1/messages/123456 { "text": "Hi!" }` … `UpdateMessage(message_id: "123456" message { text: "Hi!" })`"
#[test]
fn body_of_one_field_fills_that_field() {
    let expected = r#"{"messageId":"123456","message":{"text":"Hi!"}}"#;
    maps("PATCH /v3/messages/123456", r#"{ "text": "Hi!" }"#, "UpdateField", expected);
}

/// "`PATCH /v1/messages/123456 { "text": "Hi!" }` … `UpdateMessage(message_id: "123456" text: "Hi!")`"
#[test]
fn body_of_everything_fills_what_the_path_does_not() {
    let expected = r#"{"messageId":"123456","text":"Hi!"}"#;
    maps("PATCH /v4/messages/123456", r#"{ "text": "Hi!" }"#, "UpdateWhole", expected);
}

/// "This enables the following two alternative HTTP JSON to RPC mappings"
#[test]
fn additional_binding_is_another_way_to_the_same_method() {
    maps("GET /v5/messages/123456", "", "GetTwice", r#"{"messageId":"123456"}"#);
    maps("GET /v5/users/me/messages/123456", "", "GetTwice", r#"{"messageId":"123456","userId":"me"}"#);
}

// "Rules for HTTP mapping"

/// "1. Leaf request fields … Fields referred by the path template. They are passed via the URL path."
#[test]
fn field_in_the_path_is_no_query_parameter() {
    refuses_field("GET /v2/messages/1?message_id=2", "", "message_id", ViolationKind::UnknownField);
}

/// "Fields referred by the HttpRule.body. They are passed via the HTTP request body."
#[test]
fn field_in_the_body_is_no_query_parameter() {
    let unknown = ViolationKind::UnknownField;
    refuses_field("PATCH /v3/messages/1?message.text=x", "{}", "message.text", unknown);
}

/// "All other fields are passed via the URL query parameters, and the parameter name is the field path in the request message."
#[test]
fn field_in_neither_path_nor_body_is_a_query_parameter() {
    let expected = r#"{"messageId":"1","message":{"text":"x"},"silent":true}"#;
    maps("PATCH /v3/messages/1?silent=true", r#"{"text":"x"}"#, "UpdateField", expected);
}

/// "2. If HttpRule.body is "*", there is no URL query parameter, all fields are passed via URL path and HTTP request body."
#[test]
fn body_of_everything_leaves_no_query_parameters() {
    refuses_field("PATCH /v4/messages/1?text=x", "{}", "text", ViolationKind::UnknownField);
}

/// "3. If HttpRule.body is omitted, there is no HTTP request body"
#[test]
fn rule_without_a_body_takes_none() {
    let refused = mapped("GET /v2/messages/1", r#"{"revision":"2"}"#);
    assert!(matches!(refused, Err(Refusal::Field(..))), "{refused:?}");
}

// "Path template syntax"

/// "The syntax `*` matches a single URL path segment."
#[test]
fn star_matches_exactly_one_segment() {
    maps("GET /v7/x/any/y", "", "Unbound", "{}");
    has_no_route("GET /v7/x/y/any");
    has_no_route("GET /v1/messages/1/2");
    has_no_route("GET /v1/messages");
}

/// "The syntax `**` matches zero or more URL path segments, which must be the last part of the URL path except the `Verb`."
#[test]
fn two_stars_match_zero_or_more_segments_before_the_verb() {
    maps("GET /v7/files:read", "", "Rest", "{}");
    maps("GET /v7/files/a:read", "", "Rest", r#"{"name":"a"}"#);
    maps("GET /v7/files/a/b/c:read", "", "Rest", r#"{"name":"a/b/c"}"#);
    maps("GET /v7/x/any", "", "Unbound", "{}");
}

/// "A variable template must not contain other variables."
#[test]
fn variable_in_a_variable_is_not_served() {
    is_not_served("get: \"/v1/{name=a/{names}}\"", "another variable");
}

/// "`{var}` is equivalent to `{var=*}`"
#[test]
fn variable_without_a_template_is_one_segment() {
    maps("GET /v2/messages/1", "", "GetByQuery", r#"{"messageId":"1"}"#);
    has_no_route("GET /v2/messages/1/2");
}

/// "`FieldPath = IDENT { "." IDENT }`"
#[test]
fn variable_may_be_a_field_of_a_field() {
    maps("GET /v6/1/x", "", "Nested", r#"{"messageId":"1","sub":{"subfield":"x"}}"#);
}

/// "If the `LITERAL` contains any reserved character, such characters should be percent-encoded before the matching."
#[test]
fn literal_is_compared_as_it_is_encoded() {
    maps("GET /v7/%7Bname%7D/a%20b?name=x", "", "Literal", r#"{"name":"x"}"#);
    has_no_route("GET /v7/%7Bname%7D/a+b");
}

/// "all characters except `[-_.~0-9a-zA-Z]` are percent-encoded. The server side does the reverse decoding."
#[test]
fn variable_of_one_segment_is_decoded_in_full() {
    maps("GET /v2/messages/a%2Fb%3F%23%C3%A9-_.~", "", "GetByQuery", r#"{"messageId":"a/b?#é-_.~"}"#);
}

/// "The server side does the reverse decoding, except "%2F" and "%2f" are left unchanged."
#[test]
fn variable_of_several_segments_keeps_escaped_slashes() {
    maps("GET /v1/messages/a%2Fb%2fc%3F%20", "", "GetByName", r#"{"name":"messages/a%2Fb%2fc? "}"#);
    maps("GET /v7/files/a%2Fb/c%20d:read", "", "Rest", r#"{"name":"a%2Fb/c d"}"#);
}

// "Special notes"

/// "The path template may refer to one or more fields … as long as each field is a non-repeated field with a primitive
/// (non-message) type." "The path variables **must not** refer to any repeated or mapped field"
#[test]
fn variable_of_a_list_a_map_or_a_message_is_not_served() {
    is_not_served("get: \"/v1/{names}\"", "repeated");
    is_not_served("get: \"/v1/{labels}\"", "`labels`");
    is_not_served("get: \"/v1/{sub}\"", "is a message");
}

/// Beyond the comment, as other gateways do it: what is one text in JSON, or wraps one.
#[test]
fn variable_may_be_a_timestamp_a_duration_or_a_wrapper() {
    let expected = r#"{"at":"2026-01-31T12:00:00Z","within":"1.500s","number":"-7","name":"a/b"}"#;
    maps("GET /v9/2026-01-31T13:00:00+01:00/1.5s/-7/a%2Fb", "", "GetKnown", expected);
    let invalid = ViolationKind::InvalidValue;
    refuses_field("GET /v9/2026-01-31/1s/1/a", "", "at", invalid);
    refuses_field("GET /v9/2026-01-31T12:00:00Z/1/1/a", "", "within", invalid);
    refuses_field("GET /v9/2026-01-31T12:00:00Z/1s/1.5/a", "", "number", invalid);
}

/// "The path variables **must not** capture the leading "/" character."
#[test]
fn variable_does_not_hold_the_slash_before_it() {
    maps("GET /v7/files/a:read", "", "Rest", r#"{"name":"a"}"#);
    let doubled = mapped("GET /v7/files//a:read", "");
    assert!(matches!(doubled, Err(Refusal::Route(NoMatch::NotCanonical(_)))), "{doubled:?}");
}

/// "Repeated message fields must not be mapped to URL query parameters"
#[test]
fn repeated_message_is_no_query_parameter() {
    refuses_field("GET /v2/messages/1?subs.subfield=x", "", "subs.subfield", ViolationKind::UnknownField);
}

/// "If an API needs to use a JSON array for request or response body, it can map the request or response body to a repeated
/// field."
#[test]
fn body_may_be_a_list() {
    maps("PUT /v8/lists", r#"[{"text":"a"},{"text":"b"}]"#, "Put", r#"{"items":[{"text":"a"},{"text":"b"}]}"#);
    let found = ROUTES.find(&Method::PUT, "/v8/lists").unwrap();
    let mut out = Vec::new();
    found.value.plan.response(b"\x0a\x03\x12\x01a\x0a\x03\x12\x01b", &mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), r#"[{"text":"a"},{"text":"b"}]"#);
}

// The fields of the rule.

/// "This pattern can be used with any of the {get|put|post|delete|patch} methods."
#[test]
fn http_method_of_the_rule_is_the_only_one() {
    maps("DELETE /v8/lists/1", "", "Delete", r#"{"name":"lists/1"}"#);
    let refused = mapped("POST /v8/lists/1", "");
    assert_eq!(refused, Err(Refusal::Route(NoMatch::MethodNotAllowed { allowed: vec![Method::DELETE] })));
}

/// "The custom pattern is used for specifying an HTTP method that is not included in the `pattern` field, such as HEAD, or "*"
/// to leave the HTTP method unspecified for this rule."
#[test]
fn custom_method_is_that_method_or_any() {
    maps("HEAD /v8/heads/1", "", "Head", r#"{"name":"heads/1"}"#);
    for method in ["GET", "POST", "PROPFIND"] {
        maps(&format!("{method} /v8/any/1"), "", "Any", r#"{"name":"any/1"}"#);
    }
}

/// "NOTE: the referred field must be present at the top-level of the request message type." And so of the response's.
#[test]
fn body_of_a_field_that_is_not_at_the_top_is_not_served() {
    is_not_served("post: \"/v1\" body: \"sub.a\"", "body: ");
    is_not_served("get: \"/v1\" response_body: \"sub.a\"", "response_body: ");
}

/// "Nested bindings must not contain an `additional_bindings` field themselves"
#[test]
fn additional_binding_of_an_additional_binding_is_not_served() {
    let nested = "additional_bindings { get: \"/v1/b\" additional_bindings { get: \"/v1/c\" } }";
    is_not_served(&format!("get: \"/v1/a\" {nested}"), "additional bindings of its own");
}
