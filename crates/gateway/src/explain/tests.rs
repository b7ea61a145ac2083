use super::*;
use crate::table::tests::{Sample, compiled, of_descriptors, undeclared_service};

async fn sample() -> Arc<MethodTable> {
    Sample::new(true).open().await.load()
}

/// The text about a method of the table.
fn text_of(table: &MethodTable, method: &str) -> String {
    Explanation::of(table.contract().method(method).unwrap(), table).to_string()
}

#[tokio::test]
async fn each_field_stands_with_its_value_and_its_source_in_columns() {
    let text = text_of(&*sample().await, "catalog.v1.ProductService/GetProduct");
    assert!(text.starts_with("catalog.v1.ProductService/GetProduct\n"), "{text}");
    assert!(text.contains("http      GET /v1/products/{id}\n"), "{text}");

    let table: Vec<_> = text.lines().skip_while(|line| !line.starts_with("FIELD")).collect();
    let column = table[0].find("SOURCE").unwrap();
    assert!(table.iter().all(|line| line.as_bytes()[column - 1] == b' ' && line.as_bytes()[column] != b' '), "{text}");

    let deadline = table.iter().find(|line| line.starts_with("deadline.max ")).unwrap();
    assert!(deadline.contains("10s") && deadline.contains("file catalog/v1/product_service.proto"), "{deadline}");
    let cache = table.iter().find(|line| line.starts_with("cache.ttl ")).unwrap();
    assert!(cache.contains("30s") && cache.contains("method "), "{cache}");
}

#[tokio::test]
async fn explain_response_carries_what_the_text_shows() {
    let table = sample().await;
    let answer = response(table.contract().method("catalog.v1.ProductService/GetProduct").unwrap(), &table);
    assert_eq!(answer.upstream, "catalog");
    assert_eq!(answer.kind, "UNARY");
    assert_eq!(answer.http, ["GET /v1/products/{id}"]);
    assert!(answer.policy.unwrap().cache.is_some());
    assert!(answer.sources.iter().any(|source| source.field == "access.permission"));
}

#[tokio::test]
async fn object_that_access_is_decided_about_is_shown_with_its_source() {
    let sample = Sample::new(true);
    sample.overlay(
        "[[rule]]\nselector = \"catalog.v1.ProductService/GetProduct\"\n\
         policy = { access = { permission = \"catalog.products.see\", resource = \"Product/{id}\" } }\n",
    );
    let table = sample.open().await.load();
    let method = table.contract().method("catalog.v1.ProductService/GetProduct").unwrap();
    let text = Explanation::of(method, &table).to_string();
    let line = text.lines().find(|line| line.starts_with("access.resource ")).unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains("\"Product/{id}\"") && line.contains("overlay "), "{line}");
    let answer = response(method, &table);
    assert_eq!(answer.policy.unwrap().access.unwrap().resource, "Product/{id}");
    assert!(answer.sources.iter().any(|source| source.field == "access.resource"));
}

#[tokio::test]
async fn method_that_is_open_to_nobody_is_shown_so() {
    let table = of_descriptors(&undeclared_service()).await;
    let text = text_of(&table, "echo.v1.EchoService/Say");
    let access = text.lines().find(|line| line.starts_with("access ")).unwrap_or_else(|| panic!("{text}"));
    assert!(access.contains("none: every call is denied"), "{text}");
}

#[tokio::test]
async fn method_written_with_a_dot_is_suggested_first() {
    let message = unknown(sample().await.contract(), &[], "catalog.v1.ProductService.UpdateProduct");
    assert!(message.contains("such as catalog.v1.ProductService/UpdateProduct"), "{message}");
}

#[tokio::test]
async fn unknown_method_is_answered_with_similar_names() {
    let table = sample().await;
    let message = unknown(table.contract(), &["shop".into()], "catalog.v1.ProductService.GetProduct");
    assert!(message.contains("such as catalog.v1.ProductService/"), "{message}");
    assert!(message.ends_with("; the descriptors of shop could not be read"), "{message}");
}

#[tokio::test]
async fn binding_without_a_plan_is_shown_as_not_served_with_what_is_in_its_way() {
    let sample = Sample::new(true);
    sample.overlay(
        "[[rule]]\nselector = \"catalog.v1.ProductService/UpdateProduct\"\n\
         http = { put = \"/v2/{product.id}\", body = \"*\", additional_bindings = [\
         { put = \"/v2/at/{product.update_time.seconds}\", body = \"*\" }] }\n",
    );
    let table = sample.open().await.load();
    let method = table.contract().method("catalog.v1.ProductService/UpdateProduct").unwrap();
    let answer = response(method, &table);
    assert_eq!(answer.http, ["PUT /v2/{product.id}"]);
    let [why] = &answer.http_not_served[..] else { panic!("{answer:?}") };
    assert!(why.starts_with("`PUT /v2/at/{product.update_time.seconds}`: path variable "), "{why}");
    let text = Explanation::of(method, &table).to_string();
    assert!(text.contains(&format!("\nhttp      PUT /v2/{{product.id}}\nhttp      not served: {why}\n")), "{text}");
}

#[tokio::test]
async fn binding_of_the_descriptors_that_was_left_out_is_shown_as_not_served() {
    let table = of_descriptors(&service_with_bindings()).await;
    let answer = response(table.contract().method("echo.v1.EchoService/Say").unwrap(), &table);
    assert_eq!(answer.http, ["GET /v1/words"]);
    assert!(matches!(&answer.http_not_served[..], [why] if why.contains("`/v1/{nothing}`")), "{answer:?}");
}

#[tokio::test]
async fn binding_without_a_body_of_a_method_that_takes_a_stream_is_shown_as_not_served() {
    let table = of_descriptors(&service_with_bindings()).await;
    let answer = response(table.contract().method("echo.v1.EchoService/Listen").unwrap(), &table);
    assert_eq!(answer.http, ["POST /v1/words"]);
    assert!(matches!(&answer.http_not_served[..], [why] if why.contains("`GET /v1/heard`: the method takes a stream")));
}

/// A service with a binding that is served and one whose path names no field, and a method that takes a stream.
fn service_with_bindings() -> Vec<u8> {
    let proto = "syntax = \"proto3\"; package echo.v1; import \"google/api/annotations.proto\";
        message Words {}
        service EchoService {
            rpc Say(Words) returns (Words) {
                option (google.api.http) = { get: \"/v1/words\" additional_bindings: { get: \"/v1/{nothing}\" } };
            }
            rpc Listen(stream Words) returns (Words) {
                option (google.api.http) = { post: \"/v1/words\" body: \"*\" additional_bindings: { get: \"/v1/heard\" } };
            }
        }";
    compiled(proto)
}

#[tokio::test]
async fn versions_of_the_upstream_are_shown_with_weight_and_match() {
    let table = Sample::new(true).with_version("v2", 5, ("x-canary", "1")).open().await.load();
    let text = text_of(&table, "catalog.v1.ProductService/GetProduct");
    assert!(
        text.contains("version   default  weight 100 of 105\nversion   v2  weight 5 of 105, and where x-canary: 1\n"),
        "{text}"
    );
    let answer = response(table.contract().method("catalog.v1.ProductService/GetProduct").unwrap(), &table);
    let versions: Vec<_> = answer.versions.iter().map(|it| (&*it.name, it.weight, it.r#match.len())).collect();
    assert_eq!(versions, [("default", 100, 0), ("v2", 5, 1)]);
}
