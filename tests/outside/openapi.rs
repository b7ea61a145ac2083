//! The `OpenAPI` document, held against its specification and against the answers of the sample's services.

use crate::{output, tool};
use accord_fabric::{EDITOR, Fabric, binaries};
use anyhow::Result;
use serde_json::{Value, json};

#[tokio::test]
async fn openapi_document_is_valid_and_each_of_its_examples_is_answered_as_it_says() -> Result<()> {
    let fabric = Fabric::builder()?.orders().start().await?;
    let token = fabric.token(EDITOR).await?;
    let script = binaries::workspace().join("tests/clients/openapi_client.py").display().to_string();
    let target = fabric.gateway.listen.to_string();
    let seen = output(&tool("ACCORD_TEST_PYTHON")?, &[&script, "--target", &target, "--token", &token]).await?;
    let seen: Value = serde_json::from_str(&seen)?;
    assert_eq!(seen, json!({ "document": [], "calls": [], "not_called": [] }));
    fabric.stop().await
}
