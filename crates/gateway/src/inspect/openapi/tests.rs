use super::*;
use crate::table::tests::{Sample, compiled};

async fn open(config: &OpenApiConfig) -> OpenApi {
    OpenApi::new(&Sample::new(true).open().await, config, false)
}

fn get(path: &str) -> Request<()> {
    Request::get(path).body(()).unwrap()
}

fn knowing(tag: &str) -> HeaderMap {
    HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_str(tag).unwrap())])
}

#[tokio::test]
async fn document_is_asked_for_by_its_path_alone() {
    let openapi = open(&OpenApiConfig::default()).await;
    assert!(openapi.is_asked_for(&get("/openapi.json")));
    assert!(!openapi.is_asked_for(&get("/openapi.json/")));
    assert!(!openapi.is_asked_for(&Request::post("/openapi.json").body(()).unwrap()));
}

#[tokio::test]
async fn document_that_is_switched_off_is_not_there() {
    let off = OpenApiConfig { enabled: false, ..OpenApiConfig::default() };
    assert!(!open(&off).await.is_asked_for(&get(PATH)));
}

#[tokio::test]
async fn document_is_made_once_for_a_contract() {
    let openapi = open(&OpenApiConfig::default()).await;
    let (first, second) = (openapi.written().await.unwrap(), openapi.written().await.unwrap());
    assert_eq!(first.text.as_ptr(), second.text.as_ptr());
}

#[tokio::test]
async fn document_follows_a_changed_contract() {
    let sample = Sample::new(true);
    let tables = sample.open().await;
    let openapi = OpenApi::new(&tables, &OpenApiConfig::default(), false);
    let first = openapi.written().await.unwrap();
    sample.overlay(
        "[[rule]]\nselector = \"catalog.v1.ProductService/GetProduct\"\npolicy = { deadline = { max = \"9s\" } }\n",
    );
    tables.reload_files();
    let second = openapi.written().await.unwrap();
    assert_ne!(first.tag, second.tag);
}

#[tokio::test]
async fn document_follows_a_changed_configuration() {
    let openapi = open(&OpenApiConfig::default()).await;
    let first = openapi.written().await.unwrap();
    openapi.take_over(&OpenApiConfig { title: "Another".to_owned(), ..OpenApiConfig::default() });
    assert_ne!(first.tag, openapi.written().await.unwrap().tag);
    openapi.take_over(&OpenApiConfig { enabled: false, ..OpenApiConfig::default() });
    assert!(!openapi.is_asked_for(&get(PATH)));
}

#[tokio::test]
async fn caller_that_has_the_document_is_told_that_it_is_the_same() {
    let written = open(&OpenApiConfig::default()).await.written().await.unwrap();
    let tag = written.tag.to_str().unwrap().to_owned();
    for known in [&*tag, &format!("\"x\", {tag}"), &format!("W/{tag}"), "*"] {
        let answer = answer(&written, None, &knowing(known));
        assert_eq!((answer.status().as_u16(), &answer.headers()[header::ETAG]), (304, &written.tag), "{known}");
    }
    assert_eq!(answer(&written, None, &knowing("\"x\"")).status(), 200);
}

#[tokio::test]
async fn binding_of_the_same_path_wins_over_the_document() {
    let proto = "syntax = \"proto3\"; package a.v1; import \"google/api/annotations.proto\";\n\
                 message A {}\n\
                 service S { rpc Get(A) returns (A) { option (google.api.http) = {get: \"/openapi.json\"}; } }";
    let sample = Sample::new(true);
    sample.descriptors(&compiled(proto));
    let openapi = OpenApi::new(&sample.open().await, &OpenApiConfig::default(), false);
    assert!(!openapi.is_asked_for(&get(PATH)));
}
