//! Access that is decided about the object of a request (`access.resource`), with the relations that its callers stand in to it.

use crate::{create, desk, reason};
use accord_api::catalog::v1::GetProductRequest;
use accord_fabric::{EDITOR, Fabric, Part, STRANGER, http::HttpResponse};
use anyhow::{Result, ensure};
use http::Method;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;
use toml::toml;
use tonic::Code;

const DESK: &str = "/v1/products/oak-desk";
const BOUND: Duration = Duration::from_secs(30);

/// A fabric with a product, and the tokens of an editor and of a stranger, who stands in no relation to it.
async fn start() -> Result<(Fabric, String, String)> {
    let objects = toml! {
        [[policy.object]]
        name = "Product"
        relations = ["owner", "viewer"]
    };
    let builder = Fabric::builder()?.overlay("tests/journeys/object_access.toml");
    let builder = builder.policy("tests/journeys/object_access.cedar").settings(Part::Auth, objects);
    let fabric = builder.start().await?;
    ensure!(create(&fabric, "Oak desk").await?.status.is_success(), "no product");
    let (editor, stranger) = (fabric.token(EDITOR).await?, fabric.token(STRANGER).await?);
    Ok((fabric, editor, stranger))
}

async fn relate(fabric: &Fabric, change: &str, object: &str, relation: &str, person: &str) -> Result<()> {
    fabric.manage(&["relation", change, object, relation, &format!("User/{person}")]).await.map(drop)
}

fn refusal(answer: &HttpResponse) -> (u16, String) {
    (answer.status.as_u16(), reason(answer))
}

/// Until a read is answered so: relations count a moment after they were written.
async fn until(fabric: &Fabric, token: &str, status: u16) -> Result<()> {
    let end = Instant::now() + BOUND;
    while fabric.get(DESK).token(token).send().await?.status.as_u16() != status {
        ensure!(Instant::now() < end, "never {status}");
    }
    Ok(())
}

fn missing() -> (u16, String) {
    (403, "PERMISSION_MISSING".to_owned())
}

#[tokio::test]
async fn object_is_seen_by_whom_policies_let_see_that_object_alone() -> Result<()> {
    let (fabric, _, stranger) = start().await?;
    relate(&fabric, "add", "Product/oak-desk", "viewer", STRANGER).await?;
    until(&fabric, &stranger, 200).await?;
    let of_grpc = |id: &str| GetProductRequest { id: id.to_owned() };
    assert!(fabric.products(&stranger)?.get_product(of_grpc("oak-desk")).await.is_ok());
    let other = fabric.get("/v1/products/elm-desk").token(&stranger).send().await?;
    assert_eq!(refusal(&other), missing());
    assert!(other.text().contains("on this `Product`") && !other.text().contains("elm-desk"), "{}", other.text());
    let status = fabric.products(&stranger)?.get_product(of_grpc("elm-desk")).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    let open = fabric.get("/v1/products/open-shelf").token(&stranger).send().await?;
    assert_eq!(open.status, 404, "a policy names it: {}", open.text());
    fabric.stop().await
}

#[tokio::test]
async fn relation_that_is_removed_ends_access_even_to_what_is_cached() -> Result<()> {
    let (fabric, _, stranger) = start().await?;
    relate(&fabric, "add", "Product/oak-desk", "viewer", STRANGER).await?;
    until(&fabric, &stranger, 200).await?;
    relate(&fabric, "remove", "Product/oak-desk", "viewer", STRANGER).await?;
    until(&fabric, &stranger, 403).await?;
    fabric.stop().await
}

#[tokio::test]
async fn object_in_a_body_is_decided_about_before_the_call_goes_inward() -> Result<()> {
    let (fabric, editor, stranger) = start().await?;
    let put = |token: &str, product: &Value| fabric.call(Method::PUT, DESK).token(token).json(product);
    assert_eq!(refusal(&put(&editor, &desk("Elm desk")).send().await?), missing(), "an editor is no owner");
    relate(&fabric, "add", "Product/oak-desk", "owner", STRANGER).await?;
    until(&fabric, &stranger, 200).await?;
    assert_eq!(put(&stranger, &desk("Elm desk")).send().await?.status, 200);
    let mut other = desk("Elm desk");
    other["id"] = json!("elm-desk");
    let by_name = fabric.call(Method::POST, "/catalog.v1.ProductService/UpdateProduct").token(&stranger);
    assert_eq!(refusal(&by_name.json(&json!({ "product": other })).send().await?), missing(), "of another");
    fabric.stop().await
}

#[tokio::test]
async fn request_that_names_no_object_or_none_that_can_be_is_denied_with_the_reason() -> Result<()> {
    let (fabric, editor, _) = start().await?;
    let expected = (403, "RESOURCE_MISSING".to_owned());
    for id in [String::new(), "a b".to_owned(), "a#owner".to_owned(), "a".repeat(257)] {
        let call = fabric.call(Method::POST, "/catalog.v1.ProductService/GetProduct").token(&editor);
        let answer = call.json(&json!({ "id": id })).send().await?;
        assert_eq!(refusal(&answer), expected, "{id}: {}", answer.text());
    }
    fabric.stop().await
}

#[tokio::test]
async fn explained_call_is_told_about_which_object_it_was_decided() -> Result<()> {
    let (fabric, ..) = start().await?;
    fabric.manage(&["principal", "add", "operator", "--role", "accord-admin"]).await?;
    relate(&fabric, "add", "Product/oak-desk", "viewer", "operator").await?;
    let operator = fabric.token("operator").await?;
    until(&fabric, &operator, 200).await?;
    let answer = fabric.get(DESK).token(&operator).header("x-accord-explain", "dry-run").send().await?;
    let told: Value = serde_json::from_str(answer.header("x-accord-explained").unwrap_or_default())?;
    assert_eq!((&told["resource"], &told["access"]["decision"]), (&json!("Product/oak-desk"), &json!("allowed")));
    let denied = fabric.get("/v1/products/elm-desk").token(&operator).header("x-accord-explain", "1").send().await?;
    let told: Value = serde_json::from_str(denied.header("x-accord-explained").unwrap_or_default())?;
    assert_eq!((&told["resource"], &told["access"]["decision"]), (&json!("Product/elm-desk"), &Value::Null));
    fabric.stop().await
}
