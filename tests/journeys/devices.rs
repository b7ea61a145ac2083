//! Devices that ask to act for somebody: counted, and decided about on the command line.

use accord_fabric::{
    Fabric, Part,
    http::{HttpCall, HttpResponse},
};
use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::Value;
use std::{fs, time::Duration};
use tokio::time::Instant;
use toml::toml;

const BOUND: Duration = Duration::from_secs(30);
const FORM: &str = "application/x-www-form-urlencoded";
const GRANT: &str = "grant_type=urn:ietf:params:oauth:grant-type:device_code&client_id=shop-cli";

struct Device {
    user_code: String,
    device_code: String,
}

async fn start() -> Result<Fabric> {
    let soon = toml! {
        [oauth.device]
        interval = "1s"
    };
    Fabric::builder()?.devices("shop-cli").settings(Part::Auth, soon).start().await
}

async fn post(fabric: &Fabric, path: &str, form: &str) -> Result<HttpResponse> {
    HttpCall::new(fabric.auth.listen, Method::POST, path).body(FORM, form.to_owned()).send().await
}

async fn ask(fabric: &Fabric) -> Result<Device> {
    let answer = post(fabric, "/oauth2/device_authorization", "client_id=shop-cli").await?.json()?;
    let text = |name: &str| answer[name].as_str().map(str::to_owned).context("no code");
    Ok(Device { user_code: text("user_code")?, device_code: text("device_code")? })
}

async fn poll(fabric: &Fabric, device: &Device) -> Result<Value> {
    post(fabric, "/oauth2/token", &format!("{GRANT}&device_code={}", device.device_code)).await?.json()
}

/// Until auth counts so many.
async fn counted(fabric: &Fabric, pending: f64) -> Result<()> {
    let end = Instant::now() + BOUND;
    while (fabric.auth.metric("accord_auth_devices_pending", &[]).await? - pending).abs() > 0.5 {
        ensure!(Instant::now() < end, "there are never {pending}");
    }
    Ok(())
}

#[tokio::test]
async fn device_that_the_command_line_denies_gets_nothing_and_is_counted_no_more() -> Result<()> {
    let fabric = start().await?;
    let device = ask(&fabric).await?;
    counted(&fabric, 1.0).await?;
    let listed = fabric.manage(&["device", "list"]).await?;
    assert!(listed.starts_with(&format!("{}\tshop-cli\t127.0.0.1\t", device.user_code)), "{listed}");
    fabric.manage(&["device", "deny", &device.user_code]).await?;
    assert_eq!(poll(&fabric, &device).await?["error"], "access_denied");
    assert_eq!(fabric.manage(&["device", "list"]).await?, "");
    counted(&fabric, 0.0).await?;
    fabric.stop().await
}

#[tokio::test]
async fn command_line_approves_a_device_for_whoever_proves_to_be_that_person_alone() -> Result<()> {
    let fabric = start().await?;
    let [password, wrong] = ["lea.password", "wrong.password"].map(|name| fabric.directory().join(name));
    fs::write(&password, "correct horse")?;
    fs::write(&wrong, "another horse")?;
    let [password, wrong] = [password, wrong].map(|path| path.display().to_string());
    fabric.manage(&["principal", "add", "lea", "--password-file", &password]).await?;
    let device = ask(&fabric).await?;
    let approve = ["device", "approve", &device.user_code, "--name", "lea", "--password-file"];
    let refused = fabric.manage(&[&approve[..], &[&wrong]].concat()).await.unwrap_err().to_string();
    assert!(refused.contains("the credential is wrong"), "{refused}");
    assert_eq!(poll(&fabric, &device).await?["error"], "authorization_pending");
    let approved = fabric.manage(&[&approve[..], &[&password]].concat()).await?;
    assert_eq!(approved, "`shop-cli`, which asked from 127.0.0.1, may act for `lea`");
    assert!(poll(&fabric, &device).await?["access_token"].is_string());
    fabric.stop().await
}
