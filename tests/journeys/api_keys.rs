//! API keys that calls are made with: whose they are, how soon they end, and that nobody sees them.

use crate::{create, load::under_load, reason};
use accord_fabric::{EDITOR, Fabric, READER, http::HttpResponse};
use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::json;
use std::{fs, time::Duration};
use tokio::time::Instant;

/// Within this a change of auth is in force everywhere: the usual `auth.staleness_bound`.
const BOUND: Duration = Duration::from_secs(5);

/// Somewhat more than a gateway remembers that a key was refused.
const REFUSED: Duration = Duration::from_secs(10);

const EXCHANGES: &str = "accord_credentials_exchanges_total";

/// A key that auth has made.
pub(crate) struct ApiKey {
    /// Its public part.
    pub(crate) id: String,
    /// The whole of it.
    pub(crate) text: String,
}

impl ApiKey {
    /// A key of somebody's.
    pub(crate) async fn add(fabric: &Fabric, subject: &str) -> Result<Self> {
        Self::made(fabric, &["add", subject]).await
    }

    /// The key that a command of auth's makes.
    async fn made(fabric: &Fabric, arguments: &[&str]) -> Result<Self> {
        let file = fabric.directory().join("made.key");
        let path = file.display().to_string();
        let arguments = [&["api-key"], arguments, &["--key-file", &path]].concat();
        fabric.manage(&arguments).await?;
        let text = fs::read_to_string(&file)?.trim().to_owned();
        // The next one is written into a new file as well.
        fs::remove_file(file)?;
        let id = text.get(..19).context("a key has a public part")?.to_owned();
        Ok(Self { id, text })
    }
}

async fn read(fabric: &Fabric, key: &str) -> Result<HttpResponse> {
    fabric.get("/v1/products/oak-desk").header("x-api-key", key).send().await
}

async fn start() -> Result<Fabric> {
    let fabric = Fabric::start().await?;
    ensure!(create(&fabric, "Oak desk").await?.status.is_success(), "no product");
    Ok(fabric)
}

/// The status and reason of calls with a key, once they are no more what they were. In between auth may know already that the token in
/// its place is revoked, and the gateway not yet.
async fn changed(fabric: &Fabric, key: &str, was: u16, within: Duration) -> Result<(u16, String)> {
    let end = Instant::now() + within;
    loop {
        let answer = read(fabric, key).await?;
        if answer.status != was && reason(&answer) != "TOKEN_REVOKED" {
            return Ok((answer.status.as_u16(), reason(&answer)));
        }
        ensure!(Instant::now() < end, "calls with the key still end with {was}");
    }
}

#[tokio::test]
async fn key_may_what_its_subject_may_and_auth_is_asked_once() -> Result<()> {
    let fabric = start().await?;
    let (editor, reader) = (ApiKey::add(&fabric, EDITOR).await?, ApiKey::add(&fabric, READER).await?);
    for key in [&editor, &reader] {
        for _ in 0..5 {
            assert_eq!(read(&fabric, &key.text).await?.status, 200);
        }
    }
    let rename = |key: &ApiKey| {
        let call = fabric.call(Method::PUT, "/v1/products/oak-desk").token(&key.text);
        call.json(&crate::desk("Old oak desk")).send()
    };
    assert_eq!(rename(&editor).await?.status, 200);
    let refused = rename(&reader).await?;
    assert_eq!((refused.status.as_u16(), reason(&refused).as_str()), (403, "PERMISSION_MISSING"));
    let asked = fabric.gateway.metric(EXCHANGES, &[("kind", "api_key"), ("outcome", "accepted")]).await?;
    assert!((asked - 2.0).abs() < 0.5, "{asked}");
    fabric.stop().await
}

#[tokio::test]
async fn key_that_is_not_accepted_is_unauthenticated() -> Result<()> {
    let fabric = start().await?;
    let key = ApiKey::add(&fabric, READER).await?;
    let wrong = format!("{}_{}", key.id, "A".repeat(43));
    for text in ["", "secret", "ak_", &key.id, &wrong, "ak_0123456789abcdef_secret"] {
        let answer = read(&fabric, text).await?;
        assert_eq!((answer.status.as_u16(), reason(&answer).as_str()), (401, "CREDENTIAL_INVALID"), "{text}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    let token = fabric.token(READER).await?;
    let both = fabric.get("/v1/products/oak-desk").token(&token).header("x-api-key", &key.text).send().await?;
    assert_eq!((both.status.as_u16(), reason(&both).as_str()), (400, "HEADER_REFUSED"));
    fabric.stop().await
}

#[tokio::test]
async fn key_that_is_disabled_or_removed_is_refused_within_the_bound() -> Result<()> {
    let fabric = start().await?;
    let (disabled, removed) = (ApiKey::add(&fabric, READER).await?, ApiKey::add(&fabric, READER).await?);
    let refused = (401, "CREDENTIAL_INVALID".to_owned());
    for (command, key) in [("disable", &disabled), ("remove", &removed)] {
        assert_eq!(read(&fabric, &key.text).await?.status, 200);
        fabric.manage(&["api-key", command, &key.id]).await?;
        assert_eq!(changed(&fabric, &key.text, 200, BOUND).await?, refused, "{command}");
    }
    fabric.manage(&["api-key", "enable", &disabled.id]).await?;
    assert_eq!(changed(&fabric, &disabled.text, 401, REFUSED).await?.0, 200);
    assert_eq!(read(&fabric, &removed.text).await?.status, 401);
    fabric.stop().await
}

#[tokio::test]
async fn key_of_a_subject_that_is_disabled_is_refused_within_the_bound() -> Result<()> {
    let fabric = start().await?;
    let key = ApiKey::add(&fabric, READER).await?;
    assert_eq!(read(&fabric, &key.text).await?.status, 200);
    fabric.manage(&["principal", "disable", READER]).await?;
    assert_eq!(changed(&fabric, &key.text, 200, BOUND).await?, (401, "CREDENTIAL_INVALID".to_owned()));
    fabric.stop().await
}

#[tokio::test]
async fn key_that_is_rotated_under_load_loses_no_call_of_its_successor() -> Result<()> {
    let fabric = start().await?;
    let earlier = ApiKey::add(&fabric, READER).await?;
    let call = async || {
        let answer = read(&fabric, &earlier.text).await?;
        ensure!(answer.status == 200, "{answer:?}");
        Ok(())
    };
    let rotated = async {
        let successor = ApiKey::made(&fabric, &["rotate", &earlier.id]).await?;
        for _ in 0..20 {
            ensure!(read(&fabric, &successor.text).await?.status == 200, "the successor is refused");
        }
        Ok(())
    };
    under_load(call, rotated).await?;
    ApiKey::made(&fabric, &["rotate", &earlier.id, "--overlap", "0s"]).await?;
    assert_eq!(changed(&fabric, &earlier.text, 200, BOUND).await?.0, 401);
    fabric.stop().await
}

#[tokio::test]
async fn key_is_unavailable_while_auth_is_away_and_public_methods_answer() -> Result<()> {
    let mut fabric = start().await?;
    let key = ApiKey::add(&fabric, READER).await?;
    fabric.auth.process.kill()?;
    let answer = read(&fabric, &key.text).await?;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(["AUTH_UNAVAILABLE", "REVOCATIONS_STALE"].contains(&&*reason(&answer)), "{answer:?}");
    Ok(())
}

#[tokio::test]
async fn guesses_from_one_address_are_throttled_and_others_log_in() -> Result<()> {
    let fabric = start().await?;
    let key = ApiKey::add(&fabric, READER).await?;
    let mut seen = Vec::new();
    for number in 0..60 {
        let answer = read(&fabric, &format!("ak_{number:016x}_secret")).await?;
        seen.push((answer.status.as_u16(), reason(&answer)));
        if answer.status == 429 {
            assert!(answer.header("retry-after").is_some(), "{answer:?}");
            break;
        }
    }
    assert_eq!(seen.last(), Some(&(429, "LOGIN_THROTTLED".to_owned())), "after {} guesses", seen.len());
    let elsewhere = fabric.get("/v1/products/oak-desk").from([127, 0, 0, 9].into()).header("x-api-key", &key.text);
    assert_eq!(elsewhere.send().await?.status, 200);
    fabric.stop().await
}

#[tokio::test]
async fn key_stands_in_no_log_metric_or_answer_and_its_use_is_written_down() -> Result<()> {
    let mut fabric = start().await?;
    let key = ApiKey::add(&fabric, READER).await?;
    let answer = fabric.get("/v1/products/oak-desk").header("x-api-key", &key.text).header("x-request-id", "keyed");
    let answer = answer.send().await?;
    assert_eq!(answer.status, 200);
    let line = fabric.gateway.await_access_log("keyed", 1).await?.remove(0);
    assert_eq!(line["principal_kind"], json!("user"));
    let secret = &key.text[key.id.len()..];
    let metrics = [fabric.gateway.metrics().await?, fabric.auth.metrics().await?];
    let logs = [fabric.gateway.process.log(), fabric.auth.process.log(), fabric.cache.process.log()];
    for text in metrics.iter().chain(&logs).chain(&[format!("{answer:?}"), line.to_string()]) {
        assert!(!text.contains(secret), "{text}");
    }
    let end = Instant::now() + BOUND;
    while fabric.manage(&["api-key", "show", &key.id]).await?.contains("used     never") {
        ensure!(Instant::now() < end, "the use of the key is not written down");
    }
    fabric.stop().await
}
