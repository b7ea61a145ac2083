//! Passports, verified by services in languages of their own with the keys that auth publishes, as the guide shows.

use crate::{output, tool};
use accord_api::accord::auth::v1::{
    ClientCredentialsGrant, ExchangeRequest, IssueRequest, issue_request::Grant,
    token_service_client::TokenServiceClient,
};
use accord_fabric::{EDITOR, Fabric, Part, binaries::workspace};
use anyhow::Result;
use tonic::Request;

/// The issuer that auth's tokens name where nothing else is configured.
const ISSUER: &str = "https://accord.local";

/// A passport of the editor for the catalog, as the gateway gets it, and the editor's access token.
async fn passport(fabric: &Fabric) -> Result<(String, String)> {
    let token = fabric.token(EDITOR).await?;
    let mut tokens = TokenServiceClient::new(fabric.auth.channel()?);
    let grant = Grant::ClientCredentials(ClientCredentialsGrant {
        client_id: "gateway".to_owned(),
        client_secret: std::fs::read_to_string(fabric.secret(Part::Gateway))?.trim().to_owned(),
        ..ClientCredentialsGrant::default()
    });
    let gateway = tokens.issue(IssueRequest { grant: Some(grant) }).await?.into_inner().access_token;
    let mut exchange = Request::new(ExchangeRequest {
        subject_token: token.clone(),
        audience: "catalog".to_owned(),
        ..ExchangeRequest::default()
    });
    exchange.metadata_mut().insert("authorization", format!("Bearer {gateway}").parse()?);
    Ok((tokens.exchange(exchange).await?.into_inner().passport, token))
}

/// Holds a program to what it has to accept and to refuse.
async fn hold(program: &str, arguments: &[&str]) -> Result<()> {
    let fabric = Fabric::start().await?;
    let (passport, token) = passport(&fabric).await?;
    let jwks = format!("{}/.well-known/jwks.json", fabric.auth.url());
    let run = async |issuer: &str, service: &str, token: &str| {
        output(program, &[arguments, &[&jwks, issuer, service, token]].concat()).await
    };
    assert_eq!(run(ISSUER, "catalog", &passport).await?.trim(), format!("{EDITOR} gateway"));
    let (head, signature) = passport.rsplit_once('.').unwrap_or_default();
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    let forged = format!("{head}.{flipped}{}", &signature[1..]);
    for (case, issuer, service, refused) in [
        ("for another service", ISSUER, "orders", &passport),
        ("of another issuer", "https://elsewhere", "catalog", &passport),
        ("an access token", ISSUER, "accord", &token),
        ("a forged signature", ISSUER, "catalog", &forged),
    ] {
        assert!(run(issuer, service, refused).await.is_err(), "{case}");
    }
    fabric.stop().await
}

fn file(name: &str) -> String {
    workspace().join("tests/clients/passports").join(name).display().to_string()
}

#[tokio::test]
async fn passport_is_verified_in_python() -> Result<()> {
    hold(&tool("ACCORD_TEST_PYTHON")?, &[&file("verify.py")]).await
}

#[tokio::test]
async fn passport_is_verified_in_node() -> Result<()> {
    hold("node", &[&file("verify.cjs")]).await
}

#[tokio::test]
async fn passport_is_verified_in_go() -> Result<()> {
    hold("go", &["run", &file("verify.go")]).await
}
