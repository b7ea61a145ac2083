//! Schemas of messages, in the form in which `ProtoJSON` has them.

use serde_json::{Value, json};

use crate::fixture::shop;

fn schemas() -> Value {
    shop("")["components"]["schemas"].take()
}

#[test]
fn scalars_have_their_json_form() {
    let item = schemas()["shop.v1.Item"]["properties"].take();
    assert_eq!(item["priceCents"], json!({"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"}));
    assert_eq!(item["picture"], json!({"type": "string", "contentEncoding": "base64"}));
    assert_eq!(item["weight"]["anyOf"][1]["enum"], json!(["NaN", "Infinity", "-Infinity"]));
    assert_eq!(item["kind"]["$ref"], "#/components/schemas/shop.v1.Kind");
}

#[test]
fn well_known_types_have_their_own_form() {
    let item = schemas()["shop.v1.Item"]["properties"].take();
    assert_eq!(item["soldAt"]["format"], "date-time");
    assert_eq!(item["readyIn"]["type"], "string");
    assert_eq!(item["anything"]["type"], Value::Null, "any JSON value");
}

#[test]
fn enum_is_given_by_name_with_what_each_value_means() {
    let kind = schemas()["shop.v1.Kind"].take();
    assert_eq!(kind["enum"], json!(["KIND_UNSPECIFIED", "KIND_TABLE"]));
    assert_eq!(kind["description"], "What it is.\n- KIND_UNSPECIFIED: Not said.\n- KIND_TABLE: A table.");
}

#[test]
fn required_fields_are_required_of_requests_and_not_of_answers() {
    let schemas = schemas();
    assert_eq!(schemas["shop.v1.Item-request"]["required"], json!(["name", "priceCents"]));
    assert_eq!(schemas["shop.v1.Item"]["required"], Value::Null, "an answer leaves out what is at its default");
    assert_eq!(schemas["shop.v1.GetItemRequest-request"], Value::Null, "where nothing is required it is one schema");
}

#[test]
fn behavior_of_fields_shows() {
    let item = schemas()["shop.v1.Item"]["properties"].take();
    assert_eq!((&item["soldAt"]["readOnly"], &item["password"]["writeOnly"]), (&json!(true), &json!(true)));
    assert_eq!((&item["old"]["deprecated"], &item["name"]["description"]), (&json!(true), &json!("Its name.")));
}

#[test]
fn oneof_is_told_in_words_and_by_its_name() {
    let item = schemas()["shop.v1.Item"].take();
    assert_eq!(item["x-accord-oneofs"], json!({"size": ["letter", "number"]}));
    assert!(item["description"].as_str().unwrap().ends_with("At most one of `letter`, `number`."));
}

#[test]
fn message_that_holds_itself_refers_to_itself() {
    assert_eq!(schemas()["shop.v1.Item"]["properties"]["partOf"]["$ref"], "#/components/schemas/shop.v1.Item");
}

#[test]
fn only_what_operations_reach_is_there() {
    let schemas = schemas();
    assert!(schemas["shop.v1.Unreached.Reached"].is_object());
    assert!(schemas["shop.v1.Unreached"].is_null());
}

#[test]
fn example_has_what_is_required_and_nothing_that_only_answers_have() {
    let document = shop("");
    let body = &document["paths"]["/v1/items/{name}"]["put"]["requestBody"]["content"]["application/json"]["example"];
    assert_eq!(
        (&body["priceCents"], &body["kind"], &body["letter"]),
        (&json!("1"), &json!("KIND_TABLE"), &json!("letter"))
    );
    for absent in ["soldAt", "name", "number", "partOf"] {
        assert!(body[absent].is_null(), "{absent}: {body}");
    }
}
