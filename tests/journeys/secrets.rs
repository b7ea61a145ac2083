//! Secrets and policies that are replaced while calls are under way.

use crate::{create, desk, load::under_load};
use accord_api::catalog::v1::GetProductRequest;
use accord_fabric::{EDITOR, Fabric, Part, STRANGER, certificates::replace};
use anyhow::{Result, ensure};
use http::Method;
use std::{fs, path::Path, time::Duration};
use tokio::time::Instant;
use toml::toml;
use tonic::Code;

const BOUND: Duration = Duration::from_secs(30);
const LOGINS: &str = "accord_auth_logins_total";
const RELOADS: &str = "accord_files_reloads_total";

async fn start() -> Result<Fabric> {
    let fabric = Fabric::start().await?;
    ensure!(create(&fabric, "Oak desk").await?.status.is_success(), "no product");
    Ok(fabric)
}

/// A read that goes through the cache, and a write past it; both ask auth what their caller may.
async fn call(fabric: &Fabric, token: &str) -> Result<()> {
    let read = fabric.get("/v1/products/oak-desk").token(token).send().await?;
    ensure!(read.status.is_success(), "{read:?}");
    let write = fabric.call(Method::PUT, "/v1/products/oak-desk").token(token);
    let written = write.json(&desk("Oak desk")).send().await?;
    ensure!(written.status.is_success(), "{written:?}");
    Ok(())
}

/// Gives a binary another secret as the guide says: auth takes both for an hour, and then the file is replaced. Afterwards the
/// earlier one is taken no more.
async fn rotate(fabric: &Fabric, part: Part) -> Result<()> {
    let (file, next) = (fabric.secret(part), fabric.directory().join(format!("{}.next", part.name())));
    let path = next.display().to_string();
    for overlap in ["1h", "0s"] {
        let logins = fabric.auth.metric(LOGINS, &[("outcome", "succeeded")]).await?;
        fabric.manage(&["client", "rotate", part.name(), "--secret-file", &path, "--overlap", overlap]).await?;
        fs::rename(&next, &file)?;
        let end = Instant::now() + BOUND;
        while fabric.auth.metric(LOGINS, &[("outcome", "succeeded")]).await? <= logins {
            ensure!(Instant::now() < end, "{} does not log in with its new secret", part.name());
        }
    }
    Ok(())
}

async fn rotates_under_load(part: Part) -> Result<()> {
    let fabric = start().await?;
    let token = fabric.token(EDITOR).await?;
    under_load(|| call(&fabric, &token), rotate(&fabric, part)).await?;
    assert!(fabric.auth.metric(LOGINS, &[("outcome", "refused")]).await? < 0.5);
    fabric.stop().await
}

#[tokio::test]
async fn secret_of_the_gateway_that_is_rotated_under_load_loses_no_call() -> Result<()> {
    rotates_under_load(Part::Gateway).await
}

#[tokio::test]
async fn secret_of_the_cache_that_is_rotated_under_load_loses_no_call() -> Result<()> {
    rotates_under_load(Part::Cache).await
}

/// Gives a binary another secret as a kubelet does: in its own file and in that of auth, in one order or the other. Each time it logs in
/// with it.
async fn replace_both(fabric: &mut Fabric, of_auth: &Path) -> Result<()> {
    let of_gateway = fabric.secret(Part::Gateway);
    let secrets = ["a".repeat(43), "b".repeat(43)];
    for (number, (secret, files)) in secrets.iter().zip([[of_auth, &of_gateway], [&of_gateway, of_auth]]).enumerate() {
        let before = fabric.auth.metric(LOGINS, &[("outcome", "succeeded")]).await?;
        for file in files {
            replace(file, secret)?;
        }
        let labels = [("kind", "client_secrets"), ("outcome", "replaced")];
        let taken = f64::from(u32::try_from(number)?) + 0.5;
        fabric.auth.await_metric(RELOADS, &labels, |count| count > taken).await?;
        fabric.auth.await_metric(LOGINS, &[("outcome", "succeeded")], |count| count > before).await?;
    }
    Ok(())
}

#[tokio::test]
async fn secret_that_changes_in_the_files_of_both_sides_is_taken_over_without_a_restart() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let of_auth = directory.path().join("gateway-secret");
    fs::write(&of_auth, "not yet")?;
    let path = of_auth.display().to_string();
    let mut fabric = Fabric::builder()?
        .settings(Part::Auth, toml! { clients = { secret_files = { gateway = path } } })
        .start()
        .await?;
    let token = fabric.token(EDITOR).await?;
    ensure!(create(&fabric, "Oak desk").await?.status.is_success(), "no product");
    replace_both(&mut fabric, &of_auth).await?;
    call(&fabric, &token).await?;
    let log = fabric.auth.process.log();
    assert!(log.contains("a client keeps its secret") && log.contains("a client has another secret"), "{log}");
    assert!(!log.contains(&"a".repeat(43)), "a secret is in the log");
    fabric.stop().await
}

#[tokio::test]
async fn secret_file_that_is_emptied_is_refused_and_the_old_secret_goes_on() -> Result<()> {
    let mut fabric = start().await?;
    replace(&fabric.secret(Part::Gateway), "\n")?;
    let labels = [("kind", "client_secret"), ("outcome", "refused")];
    fabric.gateway.await_metric(RELOADS, &labels, |refused| refused > 0.5).await?;
    let log = fabric.gateway.process.log();
    assert!(log.contains("reload refused: the old files stay in use") && log.contains("is empty"), "{log}");
    call(&fabric, &fabric.token(EDITOR).await?).await?;
    fabric.stop().await
}

const READ_BY_ALL: &str = r#"
permit (principal, action == Accord::Action::"catalog.products.read", resource == Accord::Upstream::"catalog");
"#;

/// What somebody gets who may do nothing by the fabric's own policies.
async fn stranger(fabric: &Fabric, token: &str) -> Result<Code> {
    let mut products = fabric.products(token)?;
    let product = products.get_product(GetProductRequest { id: "oak-desk".to_owned() }).await;
    Ok(product.map_or_else(|status| status.code(), |_| Code::Ok))
}

async fn until(fabric: &Fabric, token: &str, wanted: Code) -> Result<()> {
    let end = Instant::now() + BOUND;
    while stranger(fabric, token).await? != wanted {
        ensure!(Instant::now() < end, "the stranger's calls never become {wanted:?}");
    }
    Ok(())
}

#[tokio::test]
async fn policies_that_change_under_load_hold_for_the_next_call_and_lose_none() -> Result<()> {
    let fabric = start().await?;
    let (editor, known) = (fabric.token(EDITOR).await?, fabric.token(STRANGER).await?);
    let before = fs::read_to_string(fabric.policies())?;
    assert_eq!(stranger(&fabric, &known).await?, Code::PermissionDenied);
    under_load(|| call(&fabric, &editor), async {
        for _ in 0..2 {
            replace(&fabric.policies(), &format!("{before}{READ_BY_ALL}"))?;
            until(&fabric, &known, Code::Ok).await?;
            replace(&fabric.policies(), &before)?;
            until(&fabric, &known, Code::PermissionDenied).await?;
        }
        Ok(())
    })
    .await?;
    fabric.stop().await
}

#[tokio::test]
async fn policies_that_cannot_be_enforced_are_refused_and_those_in_force_stay() -> Result<()> {
    let mut fabric = start().await?;
    // The command line reads the file as well.
    let token = fabric.token(EDITOR).await?;
    replace(&fabric.policies(), "permit (principal, action")?;
    let labels = [("kind", "policies"), ("outcome", "refused")];
    fabric.auth.await_metric(RELOADS, &labels, |refused| refused > 0.5).await?;
    let log = fabric.auth.process.log();
    assert!(log.contains("reload refused: the old files stay in use") && log.contains("policies.cedar"), "{log}");
    call(&fabric, &token).await?;
    fabric.stop().await
}
