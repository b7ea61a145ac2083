//! Malformed requests.

use crate::{desk, reason};
use accord_fabric::{EDITOR, Fabric};
use anyhow::Result;
use http::Method;
use serde_json::json;

#[tokio::test]
async fn malformed_json_request_names_its_field() -> Result<()> {
    let fabric = Fabric::start().await?;
    let token = fabric.token(EDITOR).await?;
    let put = |body: String| {
        fabric.call(Method::PUT, "/v1/products/oak-desk").token(&token).body("application/json", body).send()
    };
    let mut wrong = desk("Oak desk");
    wrong["price"]["minorUnits"] = json!("many");
    let mut unknown = desk("Oak desk");
    unknown["colour"] = json!("brown");
    let cases = [
        (wrong.to_string(), "FIELD_INVALID", "price.minorUnits"),
        (unknown.to_string(), "FIELD_UNKNOWN", "colour"),
        ("{\"title\": ".to_owned(), "REQUEST_MALFORMED", ""),
        (r#"{"title":"a","title":"b"}"#.to_owned(), "REQUEST_MALFORMED", "title"),
    ];
    for (body, expected, field) in cases {
        let answer = put(body.clone()).await?;
        assert_eq!((answer.status.as_u16(), reason(&answer).as_str()), (400, expected), "{body}: {}", answer.text());
        assert!(answer.text().contains(field), "{body}: {}", answer.text());
    }
    fabric.stop().await
}

#[tokio::test]
async fn required_field_that_is_missing_is_invalid_argument() -> Result<()> {
    let fabric = Fabric::start().await?;
    let token = fabric.token(EDITOR).await?;
    let post = fabric.call(Method::POST, "/v1/products").token(&token).header("idempotency-key", "a");
    let answer = post.send().await?;
    assert_eq!((answer.status.as_u16(), reason(&answer).as_str()), (400, "FIELD_INVALID"), "{}", answer.text());
    assert_eq!(answer.header("x-accord-fault"), Some("gateway"));
    assert!(answer.text().contains("`product`: is required"), "{}", answer.text());
    fabric.stop().await
}

#[tokio::test]
async fn unknown_query_parameter_is_invalid_argument() -> Result<()> {
    let fabric = Fabric::start().await?;
    let token = fabric.token(EDITOR).await?;
    let query = fabric.get("/v1/products?page_size=2&colour=brown").token(&token).send().await?;
    assert_eq!((query.status.as_u16(), reason(&query).as_str()), (400, "FIELD_UNKNOWN"));
    assert!(query.text().contains("colour"), "{}", query.text());
    fabric.stop().await
}

#[tokio::test]
async fn malformed_timeout_is_invalid_argument() -> Result<()> {
    let fabric = Fabric::start().await?;
    let token = fabric.token(EDITOR).await?;
    let answer = fabric.get("/v1/products").token(&token).header("request-timeout", "soon").send().await?;
    assert_eq!((answer.status.as_u16(), reason(&answer).as_str()), (400, "TIMEOUT_MALFORMED"));
    fabric.stop().await
}

#[tokio::test]
async fn zero_timeout_is_deadline_exceeded() -> Result<()> {
    let fabric = Fabric::start().await?;
    let token = fabric.token(EDITOR).await?;
    let late = fabric.get("/v1/products").token(&token).header("request-timeout", "0").send().await?;
    assert_eq!((late.status.as_u16(), reason(&late).as_str()), (504, "DEADLINE_EXCEEDED"));
    fabric.stop().await
}

#[tokio::test]
async fn error_is_problem_json_for_callers_that_accept_it() -> Result<()> {
    let fabric = Fabric::start().await?;
    let answer = fabric.get("/v1/products").header("accept", "application/problem+json").send().await?;
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(answer.json()?["reason"], "CREDENTIAL_MISSING");
    assert_eq!(answer.json()?["status"], 401);
    fabric.stop().await
}
