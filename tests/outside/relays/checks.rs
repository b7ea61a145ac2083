//! What every language has to carry on.

use super::{BOUND, Language, Relay};
use crate::{journal, number};
use accord_fabric::EDITOR;
use anyhow::{Context, Result, ensure};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::{
    FutureExt,
    future::{BoxFuture, try_join_all},
};
use http::Method;
use serde_json::{Value, json};
use std::time::Instant;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

type Check = for<'a> fn(&'a Relay) -> BoxFuture<'a, Result<()>>;

const CHECKS: [(&str, Check); 9] = [
    // First, before there is a token that would do without a login.
    ("login that auth refuses is the service's fault, not its caller's", |relay| refused_login(relay).boxed()),
    ("access token is shared by all calls and renewed before it ends", |relay| token_renewal(relay).boxed()),
    ("request id is the same at the last hop", |relay| request_id(relay).boxed()),
    ("trace is the same at the last hop", |relay| trace(relay).boxed()),
    ("deadline shrinks to what is left of it", |relay| deadline(relay).boxed()),
    ("passport names the person and every actor", |relay| passport(relay).boxed()),
    ("call without an answer is cancelled at the last hop", |relay| cancelled_call(relay).boxed()),
    ("stream is cancelled at the last hop", |relay| cancelled_stream(relay).boxed()),
    ("retries in vain are not repeated by outer hops", |relay| pushback(relay).boxed()),
];

/// Fails with every check that does not hold.
pub(super) async fn hold(language: Language) -> Result<()> {
    let relay = Relay::start(language).await?;
    let mut broken = Vec::new();
    for (claim, check) in CHECKS {
        if let Err(problem) = check(&relay).await {
            broken.push(format!("{claim}: {problem:#}"));
        }
    }
    ensure!(broken.is_empty(), "{language:?}:\n{}", broken.join("\n"));
    relay.fabric.stop().await
}

/// What the last hop has seen of a call with these headers.
async fn seen(relay: &Relay, headers: &[(&str, &str)]) -> Result<Value> {
    let call = relay.get("metadata");
    let answer = headers.iter().fold(call, |call, (name, value)| call.header(name, value)).send().await?;
    ensure!(answer.status == 200, "{}: {}", answer.status, answer.text());
    answer.json()
}

async fn refused_login(relay: &Relay) -> Result<()> {
    let answer = relay.get("metadata").send().await?;
    let message = answer.json()?["message"].as_str().unwrap_or_default().to_ascii_lowercase();
    let expected = "this service could not log in to auth as `relay`: unauthenticated";
    relay.logins.accept();
    ensure!((answer.status.as_u16(), &*message) == (503, expected), "{}: {message}", answer.status);
    Ok(())
}

async fn token_renewal(relay: &Relay) -> Result<()> {
    let several = || try_join_all((0..4).map(|_| seen(relay, &[])));
    let end = Instant::now() + BOUND;
    while relay.logins.count() < 2 {
        several().await?;
        ensure!(Instant::now() < end, "{} logins", relay.logins.count());
    }
    several().await?;
    ensure!(relay.logins.count() == 2, "{} logins", relay.logins.count());
    Ok(())
}

async fn request_id(relay: &Relay) -> Result<()> {
    let seen = seen(relay, &[("x-request-id", "order-17")]).await?;
    ensure!(seen["metadata"]["x-request-id"] == "order-17", "{seen}");
    Ok(())
}

async fn trace(relay: &Relay) -> Result<()> {
    let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
    let seen = seen(relay, &[("traceparent", &parent), ("tracestate", "shop=17")]).await?;
    let of_last_hop = seen["metadata"]["traceparent"].as_str().context("no traceparent")?;
    ensure!(of_last_hop.starts_with(&format!("00-{TRACE}-")), "{seen}");
    ensure!(seen["metadata"]["tracestate"] == "shop=17", "{seen}");
    Ok(())
}

async fn deadline(relay: &Relay) -> Result<()> {
    let seen = seen(relay, &[("request-timeout", "2")]).await?;
    let left = number(&seen, "remainingMilliseconds");
    ensure!((1..2000).contains(&left), "{left} ms");
    Ok(())
}

async fn passport(relay: &Relay) -> Result<()> {
    let seen = seen(relay, &[]).await?;
    let passport = seen["metadata"]["x-accord-passport"].as_str().context("no passport")?;
    let claims = URL_SAFE_NO_PAD.decode(passport.split('.').nth(1).context("three segments")?)?;
    let claims: Value = serde_json::from_slice(&claims)?;
    ensure!((&claims["sub"], &claims["aud"]) == (&json!(EDITOR), &json!("echo")), "{claims}");
    ensure!(claims["act"] == json!({ "sub": "relay", "act": { "sub": "gateway" } }), "{claims}");
    ensure!(seen["metadata"]["authorization"].is_null(), "a token came along: {seen}");
    Ok(())
}

/// Leaves a call once the last hop has it, and waits until it is cancelled there.
async fn leave(relay: &Relay, path: &str, method: &str) -> Result<()> {
    let call = tokio::spawn(relay.get(path).send());
    relay.echo_saw(method, |entry| entry["ended"].is_null()).await?;
    call.abort();
    relay.echo_saw(method, |entry| entry["cancelled"] == true).await.map(drop)
}

async fn cancelled_call(relay: &Relay) -> Result<()> {
    leave(relay, "slow/20000", "Slow").await
}

async fn cancelled_stream(relay: &Relay) -> Result<()> {
    // So far that it is not there before it is left.
    leave(relay, "count/1000000000", "Count").await
}

async fn pushback(relay: &Relay) -> Result<()> {
    let call = relay.fabric.call(Method::POST, "/v1/relay/fail").token(&relay.token);
    let answer = call.json(&json!({ "code": 14 })).send().await?;
    ensure!((answer.status.as_u16(), &answer.json()?["message"]) == (503, &json!("as asked")), "{}", answer.text());
    let attempts = journal(&relay.fabric).await?.iter().filter(|entry| entry["method"] == "Fail").count();
    ensure!(attempts == 3, "{attempts} attempts");
    Ok(())
}
