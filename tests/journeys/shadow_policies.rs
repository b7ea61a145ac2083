//! Policies that are only tried: what they would change is counted, and nothing of it happens.

use crate::{create, desk};
use accord_fabric::{Fabric, Part, READER};
use anyhow::Result;
use http::Method;
use toml::toml;

const SHADOW_DECISIONS: &str = "accord_auth_shadow_decisions_total";

/// Takes reading away from readers, and gives them writing.
const TRIED: &str = r#"
forbid (
  principal == Accord::User::"reader",
  action == Accord::Action::"catalog.products.read",
  resource
);

permit (
  principal in Accord::Role::"catalog-reader",
  action == Accord::Action::"catalog.products.write",
  resource
);
"#;

#[tokio::test]
async fn decisions_that_policies_in_shadow_would_change_are_counted_and_stay_as_they_are() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("tried.cedar");
    std::fs::write(&file, TRIED)?;
    let file = file.display().to_string();
    let settings = toml! {
        policy = { shadow_files = [file] }
    };
    let fabric = Fabric::builder()?.settings(Part::Auth, settings).start().await?;
    create(&fabric, "Oak desk").await?;
    let counted = async |difference| fabric.auth.metric(SHADOW_DECISIONS, &[("difference", difference)]).await;
    assert_eq!((counted("would_deny").await?, counted("would_allow").await?), (0.0, 0.0), "what the editor does");
    assert!(counted("none").await? > 0.0);

    let reader = fabric.token(READER).await?;
    assert_eq!(fabric.get("/v1/products/oak-desk").token(&reader).send().await?.status, 200);
    assert_eq!((counted("would_deny").await?, counted("would_allow").await?), (1.0, 0.0));
    let write = fabric.call(Method::PUT, "/v1/products/oak-desk").token(&reader).json(&desk("Mine")).send().await?;
    assert_eq!(write.status, 403);
    assert_eq!((counted("would_deny").await?, counted("would_allow").await?), (1.0, 1.0));
    fabric.stop().await
}
