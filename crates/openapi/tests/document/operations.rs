//! Operations: paths, parameters, bodies, answers, who may call.

use serde_json::{Value, json};

use crate::fixture::{parameter, rule, shop, shop_over_mutual_tls};

fn names(operation: &Value, place: &str) -> Vec<String> {
    let parameters = operation["parameters"].as_array().unwrap().iter().filter(|it| it["in"] == place);
    parameters.map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn each_binding_is_an_operation_with_an_id_of_its_own() {
    let document = shop("");
    let (first, second) =
        (&document["paths"]["/v1/shops/{name.1}/items/{name.2}"], &document["paths"]["/v1/items/{name}"]);
    assert_eq!(first["get"]["operationId"], "shop.v1.Shop.GetItem");
    assert_eq!(second["get"]["operationId"], "shop.v1.Shop.GetItem-2");
}

#[test]
fn comment_of_a_method_is_its_summary_and_description() {
    let document = shop("");
    let get = &document["paths"]["/v1/items/{name}"]["get"];
    assert_eq!((&get["summary"], &get["description"]), (&json!("One item"), &json!("One item. It is there.")));
    assert_eq!(document["tags"][0]["description"], "Things for sale.");
}

#[test]
fn variable_of_several_segments_has_a_parameter_for_each() {
    let document = shop("");
    let get = &document["paths"]["/v1/shops/{name.1}/items/{name.2}"]["get"];
    assert_eq!(names(get, "path"), ["name.1", "name.2"]);
    let description = parameter(get, "name.2")["description"].as_str().unwrap();
    assert!(description.contains("`shops/*/items/*`"), "{description}");
}

#[test]
fn methods_on_paths_that_differ_in_names_share_a_path_with_the_field_beside() {
    let document = shop("");
    let put = &document["paths"]["/v1/items/{name}"]["put"];
    assert_eq!(parameter(put, "name")["x-accord-field"], "item.name");
}

#[test]
fn query_has_what_neither_path_nor_body_gives() {
    let document = shop("");
    assert_eq!(names(&document["paths"]["/v1/items/{name}"]["put"], "query"), ["isForced"]);
    assert_eq!(names(&document["paths"]["/v1/items/{name}"]["get"], "query"), Vec::<String>::new());
    let list = &document["paths"]["/v1/items"]["get"];
    let query = ["pageSize", "kinds", "labels", "filter.word", "extra", "least", "readMask"];
    assert_eq!(names(list, "query"), query, "no `any`, which can't be given, and no `filter.not.…` without an end");
}

#[test]
fn query_parameters_are_given_as_the_gateway_reads_them() {
    let document = shop("");
    let list = &document["paths"]["/v1/items"]["get"];
    assert_eq!(parameter(list, "pageSize")["required"], true);
    assert_eq!(parameter(list, "labels")["style"], "deepObject");
    assert_eq!(
        (&parameter(list, "kinds")["style"], &parameter(list, "kinds")["explode"]),
        (&json!("form"), &json!(true))
    );
    assert!(parameter(list, "extra")["content"]["application/json"].is_object());
    assert_eq!(parameter(list, "least")["schema"]["format"], "int64");
}

#[test]
fn body_of_a_field_is_that_field_without_what_the_path_gives() {
    let document = shop("");
    let body = &document["paths"]["/v1/items/{name}"]["put"]["requestBody"];
    let schema = &body["content"]["application/json"]["schema"];
    assert_eq!((&body["required"], &schema["required"]), (&json!(true), &json!(["priceCents"])));
    assert!(schema["properties"]["name"].is_null(), "{schema}");
    assert_eq!(schema["properties"]["partOf"]["$ref"], "#/components/schemas/shop.v1.Item-request");
}

#[test]
fn nothing_is_required_where_a_mask_says_what_counts() {
    let document = shop("");
    let schema =
        &document["paths"]["/v1/items/{name}"]["patch"]["requestBody"]["content"]["application/json"]["schema"];
    assert!(schema["required"].is_null() && schema["properties"]["priceCents"].is_object(), "{schema}");
}

#[test]
fn answer_of_a_field_that_may_be_unset_may_be_null() {
    let document = shop("");
    let answer = &document["paths"]["/v1/items/{name}"]["put"]["responses"]["200"]["content"]["application/json"];
    assert_eq!(answer["schema"]["anyOf"], json!([{"$ref": "#/components/schemas/shop.v1.Item"}, {"type": "null"}]));
}

#[test]
fn server_stream_is_lines_or_events() {
    let document = shop("");
    let content = &document["paths"]["/v1/items:watch"]["get"]["responses"]["200"]["content"];
    let line = &content["application/x-ndjson"]["schema"]["contentSchema"]["anyOf"];
    assert_eq!(line[0]["$ref"], "#/components/schemas/shop.v1.Item");
    assert_eq!(line[1]["$ref"], "#/components/schemas/accord-stream-failure");
    assert_eq!(content["text/event-stream"]["schema"]["contentSchema"]["$ref"], "#/components/schemas/shop.v1.Item");
}

#[test]
fn client_stream_is_uploaded_as_lines() {
    let document = shop("");
    let content = &document["paths"]["/v1/items:upload"]["post"]["requestBody"]["content"];
    let line = &content["application/x-ndjson"]["schema"]["contentSchema"];
    assert_eq!(line["$ref"], "#/components/schemas/shop.v1.Item-request");
}

#[test]
fn http_body_is_content_of_any_type() {
    let document = shop("");
    let get = &document["paths"]["/v1/pictures/{name}"]["get"];
    assert_eq!(get["responses"]["200"]["content"], json!({"*/*": {}}));
    assert!(parameter(get, "name")["description"].as_str().unwrap().contains("Any number of segments"));
}

#[test]
fn method_without_a_binding_is_described_by_its_own_path() {
    let document = shop("");
    let own = &document["paths"]["/shop.v1.Shop/Own"]["post"];
    assert_eq!(own["responses"]["default"]["$ref"], "#/components/responses/ConnectError", "one message: Connect");
    let stream = &document["paths"]["/shop.v1.Shop/OwnStream"]["post"];
    assert_eq!(stream["responses"]["default"]["$ref"], "#/components/responses/Error");
    assert!(stream["requestBody"]["content"]["application/json"].is_object(), "{stream}");
}

#[test]
fn binding_that_openapi_has_no_place_for_is_named() {
    let left_out = &shop("")["x-accord-left-out"];
    let purge = left_out.as_array().unwrap().iter().find(|it| it["binding"] == "PURGE /v1/items/{name}");
    assert_eq!(purge.unwrap()["method"], "shop.v1.Shop/Purge");
}

#[test]
fn method_that_nobody_may_call_is_left_out_with_its_messages() {
    let document = shop("");
    assert!(document["paths"]["/shop.v1.Closed/Get"].is_null());
    assert!(document["components"]["schemas"]["shop.v1.OnlyClosed"].is_null());
}

#[test]
fn certificate_is_security_of_the_operation_where_it_may_stand_for_a_token() {
    let document = shop_over_mutual_tls(&rule("GetItem", "{ access = { authenticated = true } }"));
    let (get, list) = (&document["paths"]["/v1/items/{name}"]["get"], &document["paths"]["/v1/items"]["get"]);
    assert_eq!(get["security"], json!([{"bearer": []}, {"apiKey": []}, {"mutualTLS": []}]));
    assert_eq!(list["security"], json!([]));
    assert_eq!(document["components"]["securitySchemes"]["mutualTLS"]["type"], "mutualTLS");
    assert!(shop("")["components"]["securitySchemes"]["mutualTLS"].is_null());
}

#[test]
fn access_is_security_of_the_operation() {
    let permission =
        rule("GetItem", "{ access = { permission = \"items.read\", principal_kinds = [\"PRINCIPAL_KIND_USER\"] } }");
    let document = shop(&permission);
    let (get, list) = (&document["paths"]["/v1/items/{name}"]["get"], &document["paths"]["/v1/items"]["get"]);
    assert_eq!((&get["security"], &list["security"]), (&json!([{"bearer": []}, {"apiKey": []}]), &json!([])));
    assert_eq!(
        (&get["x-accord-permission"], &get["x-accord-principal-kinds"]),
        (&json!("items.read"), &json!(["user"]))
    );
    assert!(get["responses"]["403"].is_object() && list["responses"]["401"].is_null());
}

#[test]
fn policy_is_told_without_what_is_of_no_concern_to_callers() {
    let cached = "{ deadline = { default = \"2s\", max = \"9s\" }, cache = { ttl = \"5s\", tags = [\"secret/{name}\"] }, rate_limit = [{ requests = 7 }] }";
    let document = shop(&rule("GetItem", cached));
    let get = &document["paths"]["/v1/items/{name}"]["get"];
    let policy = &get["x-accord-policy"];
    assert_eq!((&policy["deadline"]["max"], &policy["cache"]["ttl"]), (&json!("9s"), &json!("5s")));
    assert_eq!(policy["rateLimit"][0]["requests"], 7);
    assert!(!document.to_string().contains("secret/"), "tags are the cache's");
    assert!(
        get["responses"]["200"]["headers"]["Age"].is_object()
            && get["responses"]["200"]["headers"]["RateLimit"].is_object()
    );
}

#[test]
fn cached_read_has_an_entity_tag_and_is_told_that_it_holds() {
    let document = shop(&rule("GetItem", "{ cache = { ttl = \"5s\" } }"));
    let get = &document["paths"]["/v1/items/{name}"]["get"];
    for status in ["200", "304"] {
        assert_eq!(get["responses"][status]["headers"]["ETag"], json!({"$ref": "#/components/headers/ETag"}));
    }
    assert!(get["responses"]["304"]["content"].is_null());
    let condition = json!({"$ref": "#/components/parameters/IfNoneMatch"});
    assert!(get["parameters"].as_array().unwrap().contains(&condition));
    let list = &document["paths"]["/v1/items"]["get"];
    assert!(list["responses"]["304"].is_null() && !list["parameters"].as_array().unwrap().contains(&condition));
}

#[test]
fn idempotency_key_is_a_header_of_the_request() {
    let document = shop(&rule("PutItem", "{ idempotency = { required = true } }"));
    let put = &document["paths"]["/v1/items/{name}"]["put"];
    let has_key = put["parameters"]
        .as_array()
        .unwrap()
        .contains(&json!({"$ref": "#/components/parameters/IdempotencyKeyRequired"}));
    assert!(has_key && put["responses"]["422"].is_object(), "{put}");
    assert_eq!(put["deprecated"], true);
}

#[test]
fn json_options_show_in_names_enums_and_status() {
    let policy = "{ json = { names = \"JSON_NAMES_PROTO\", enums = \"JSON_ENUMS_NUMBERS\", success = 201 } }";
    let document = shop(&rule("ListItems", policy));
    let list = &document["paths"]["/v1/items"]["get"];
    assert!(!parameter(list, "page_size").is_null());
    let answer = &list["responses"]["201"]["content"]["application/json"]["schema"];
    assert_eq!(answer["$ref"], "#/components/schemas/shop.v1.ListItemsResponse-proto-numbers");
    let schemas = &document["components"]["schemas"];
    let item = &schemas["shop.v1.Item-proto-numbers"]["properties"];
    assert_eq!(item["kind"]["$ref"], "#/components/schemas/shop.v1.Kind-numbers");
    assert!(item["price_cents"].is_object(), "{item}");
    assert_eq!(schemas["shop.v1.Kind-numbers"]["enum"], json!([0, 1]));
}

#[test]
fn answer_without_content_has_none() {
    let document = shop(&rule("PutItem", "{ json = { success = 204 } }"));
    let answer = &document["paths"]["/v1/items/{name}"]["put"]["responses"]["204"];
    assert!(answer.is_object() && answer["content"].is_null(), "{answer}");
}

#[test]
fn same_contract_makes_the_same_document() {
    assert_eq!(shop("").to_string(), shop("").to_string());
}
