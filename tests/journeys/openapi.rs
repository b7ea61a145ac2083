//! What may be called, as one document of the public listener.

use accord_fabric::{EDITOR, Fabric, Part};
use anyhow::Result;
use http::Method;
use toml::toml;

const PATH: &str = "/openapi.json";

#[tokio::test]
async fn openapi_document_is_answered_to_everybody_at_the_public_listener() -> Result<()> {
    let fabric = Fabric::start().await?;
    let answer = fabric.get(PATH).send().await?;
    let document = answer.json()?;
    assert_eq!((answer.status.as_u16(), &document["openapi"]), (200, &"3.1.1".into()));
    assert_eq!(answer.headers["content-type"], "application/json");
    assert!(document["paths"]["/v1/products/{id}"]["get"].is_object(), "{document}");
    fabric.stop().await
}

#[tokio::test]
async fn openapi_document_that_the_caller_has_is_not_sent_again() -> Result<()> {
    let fabric = Fabric::start().await?;
    let first = fabric.get(PATH).send().await?;
    let tag = first.headers["etag"].to_str()?;
    let again = fabric.get(PATH).header("if-none-match", tag).send().await?;
    assert_eq!((again.status.as_u16(), again.body.len(), &again.headers["etag"]), (304, 0, &first.headers["etag"]));
    fabric.stop().await
}

#[tokio::test]
async fn head_of_the_openapi_document_tells_its_length() -> Result<()> {
    let fabric = Fabric::start().await?;
    let get = fabric.get(PATH).send().await?;
    let head = fabric.call(Method::HEAD, PATH).send().await?;
    assert_eq!(head.headers["content-length"].to_str()?, get.body.len().to_string());
    fabric.stop().await
}

#[tokio::test]
async fn openapi_document_that_is_switched_off_is_not_found() -> Result<()> {
    let off = toml! {
        [openapi]
        enabled = false
    };
    let fabric = Fabric::builder()?.settings(Part::Gateway, off).start().await?;
    let answer = fabric.get(PATH).token(&fabric.token(EDITOR).await?).send().await?;
    assert_eq!(answer.status, 404);
    fabric.stop().await
}
