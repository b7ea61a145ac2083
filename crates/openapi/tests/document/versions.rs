//! Two upstreams with messages of one name.

use serde_json::Value;

use crate::fixture::{document, source};

const OPEN: &str = "[[rule]]\nselector = \"a.v1.*\"\npolicy = { access = { public = true } }\n";

fn proto(service: &str, field: &str) -> String {
    format!(
        "syntax = \"proto3\"; package a.v1; message A {{ string {field} = 1; }}\n\
         service {service} {{ rpc Get(A) returns (A) {{}} }}"
    )
}

fn of(fields: [&str; 2]) -> Value {
    let sources = [source("one", &proto("One", fields[0])), source("two", &proto("Two", fields[1]))];
    document(&sources, OPEN)["components"]["schemas"].take()
}

#[test]
fn message_that_is_the_same_at_two_upstreams_is_one_schema() {
    let schemas = of(["id", "id"]);
    assert!(schemas["a.v1.A"].is_object() && schemas["a.v1.A-2"].is_null());
}

#[test]
fn messages_of_one_name_that_differ_are_two_schemas() {
    let schemas = of(["id", "name"]);
    assert!(schemas["a.v1.A"]["properties"]["id"].is_object());
    assert!(schemas["a.v1.A-2"]["properties"]["name"].is_object());
}
