//! Configuration files beside those of the fabric, as `cargo xtask up --config` gives them.

use accord_fabric::{Fabric, Part, READER};
use anyhow::Result;
use std::fs;

#[tokio::test]
async fn configuration_file_given_later_is_stronger() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut builder = Fabric::builder()?;
    for (name, calls) in [("weak.toml", 70), ("strong.toml", 90)] {
        let file = directory.path().join(name);
        fs::write(&file, format!("[limits]\nmax_in_flight = {calls}\n"))?;
        builder = builder.config(Part::Gateway, file);
    }
    let fabric = builder.start().await?;
    let calls = fabric.gateway.metric("accord_budget_limit", &[("budget", "calls")]).await?;
    assert!((calls - 90.0).abs() < 0.5, "{calls}");
    fabric.stop().await
}

#[tokio::test]
async fn store_of_a_configuration_file_is_that_of_the_command_line_as_well() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (file, store) = (directory.path().join("auth.toml"), directory.path().join("other.db"));
    fs::write(&file, format!("[store]\nurl = \"sqlite://{}\"\n", store.display()))?;
    let fabric = Fabric::builder()?.config(Part::Auth, file).start().await?;
    assert!(store.exists());
    let answer = fabric.get("/v1/products").token(&fabric.token(READER).await?).send().await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    fabric.stop().await
}
