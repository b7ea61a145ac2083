//! OAuth over HTTP, by the libraries that programs use for it: Authlib and requests-oauthlib in Python, jose in Node, go-jose and golang-jwt in Go.

use crate::{output, tool};
use accord_api::accord::auth::v1::{
    IssueRequest, PasswordGrant, issue_request::Grant, token_service_client::TokenServiceClient,
};
use accord_fabric::{EDITOR, Fabric, Part, binaries::workspace};
use anyhow::Result;
use serde_json::{Value, json};

const PASSWORD: &str = "correct horse";

/// A fabric whose metadata names the address where auth really is.
async fn with_oauth() -> Result<(Fabric, String)> {
    let builder = Fabric::builder()?.devices("shop-cli");
    let url = format!("http://{}", builder.address(Part::Auth));
    Ok((builder.start().await?, url))
}

fn file(fabric: &Fabric, name: &str) -> String {
    fabric.directory().join(name).display().to_string()
}

/// A person with a password.
async fn add_lea(fabric: &Fabric) -> Result<()> {
    let password = file(fabric, "lea.password");
    std::fs::write(&password, PASSWORD)?;
    fabric.manage(&["principal", "add", "lea", "--role", "catalog-reader", "--password-file", &password]).await?;
    Ok(())
}

/// The refresh token of a person who logged in.
async fn refresh_token(fabric: &Fabric) -> Result<String> {
    add_lea(fabric).await?;
    let grant = Grant::Password(PasswordGrant {
        name: "lea".to_owned(),
        password: PASSWORD.to_owned(),
        ..PasswordGrant::default()
    });
    let mut tokens = TokenServiceClient::new(fabric.auth.channel()?);
    Ok(tokens.issue(IssueRequest { grant: Some(grant) }).await?.into_inner().refresh_token)
}

#[tokio::test]
async fn authlib_and_requests_oauthlib_get_refresh_introspect_and_revoke_tokens() -> Result<()> {
    let (fabric, url) = with_oauth().await?;
    let secret = file(&fabric, "shop.secret");
    fabric.manage(&["client", "add", "shop", "--role", "catalog-reader", "--secret-file", &secret]).await?;
    let (secret, refresh) = (std::fs::read_to_string(secret)?, refresh_token(&fabric).await?);
    let script = workspace().join("tests/clients/oauth/main.py").display().to_string();
    // Either may begin with a dash.
    let (secret, refresh) = (format!("--client-secret={}", secret.trim()), format!("--refresh-token={refresh}"));
    let flags = ["--auth", &url, "--client-id", "shop", &secret, &refresh];
    let printed = output(&tool("ACCORD_TEST_PYTHON")?, &[&[&*script][..], &flags].concat()).await?;
    let seen: Value = serde_json::from_str(&printed)?;
    let shop = json!({"sub": "shop", "type": "at+jwt"});
    for method in ["client_secret_basic", "client_secret_post"] {
        let wanted = json!({
            "verified": shop, "scope": "catalog.products.read", "active": true, "revoked": 200, "active_after": false,
        });
        assert_eq!(seen[method], wanted, "{method}");
    }
    assert_eq!((&seen["wrong_secret"], &seen["requests_oauthlib"]), (&json!("invalid_client"), &shop));
    let lea = json!({"verified": {"sub": "lea", "type": "at+jwt"}, "reused": "invalid_grant"});
    assert_eq!(seen["refresh"], lea);
    fabric.stop().await
}

#[tokio::test]
async fn oauthlib_gets_tokens_for_a_device_that_its_person_allows() -> Result<()> {
    let (fabric, url) = with_oauth().await?;
    add_lea(&fabric).await?;
    let script = workspace().join("tests/clients/oauth/device.py").display().to_string();
    let flags = [&*script, "--auth", &url, "--client-id", "shop-cli", "--name", "lea", "--password", PASSWORD];
    let seen: Value = serde_json::from_str(&output(&tool("ACCORD_TEST_PYTHON")?, &flags).await?)?;
    let told = ["authorization_pending", "slow_down"];
    assert_eq!(seen, json!({"told": told, "token_type": "Bearer", "refresh": true}));
    fabric.stop().await
}

#[tokio::test]
async fn authlib_gets_a_token_with_each_key_and_none_with_an_assertion_that_was_used() -> Result<()> {
    let (fabric, url) = with_oauth().await?;
    let (python, directory) = (tool("ACCORD_TEST_PYTHON")?, fabric.directory().display().to_string());
    let script = workspace().join("tests/clients/oauth/private_key_jwt.py").display().to_string();
    output(&python, &[&script, "--directory", &directory]).await?;
    let keys = file(&fabric, "keys.jwks");
    fabric.manage(&["client", "add", "mill", "--role", "catalog-reader", "--jwks", &keys]).await?;
    let flags = [&*script, "--directory", &directory, "--auth", &url, "--client-id", "mill"];
    let seen: Value = serde_json::from_str(&output(&python, &flags).await?)?;
    for key in ["ed25519", "p256"] {
        assert_eq!(seen[key], json!({"token_type": "Bearer", "again": "invalid_client"}), "{key}");
    }
    fabric.stop().await
}

#[tokio::test]
async fn jose_verifies_a_token_with_the_published_keys() -> Result<()> {
    let (fabric, url) = with_oauth().await?;
    let token = fabric.token(EDITOR).await?;
    let script = workspace().join("tests/clients/oauth/verify.cjs").display().to_string();
    let printed = output("node", &[&script, "--auth", &url, "--token", &token]).await?;
    assert_eq!(serde_json::from_str::<Value>(&printed)?, json!({"sub": EDITOR, "type": "at+jwt"}));
    fabric.stop().await
}

#[tokio::test]
async fn go_jose_and_golang_jwt_verify_a_token_with_the_published_keys() -> Result<()> {
    for algorithm in ["EdDSA", "ES256"] {
        let builder = Fabric::builder()?;
        let url = format!("http://{}", builder.address(Part::Auth));
        let (at, keys) = (url.clone(), algorithm.to_owned());
        let settings = toml::toml! {
            oauth = { url = at }
            keys = { algorithm = keys }
        };
        let fabric = builder.settings(Part::Auth, settings).start().await?;
        let token = fabric.token(EDITOR).await?;
        let script = workspace().join("tests/clients/oauth/verify.go").display().to_string();
        let seen: Value = serde_json::from_str(&output("go", &["run", &script, &url, &token]).await?)?;
        let editor = json!({"sub": EDITOR, "type": "at+jwt"});
        assert_eq!(seen, json!({"go-jose": editor, "golang-jwt": editor}), "{algorithm}");
        fabric.stop().await?;
    }
    Ok(())
}
