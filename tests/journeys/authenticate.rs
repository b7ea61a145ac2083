//! Authentication: tokens that are missing, changed or revoked.

use crate::{create, reason};
use accord_api::{
    accord::auth::v1::{RevokeRequest, revoke_request::Target, token_service_client::TokenServiceClient},
    catalog::v1::{GetProductRequest, WatchProductsRequest, WatchProductsResponse},
};
use accord_fabric::{EDITOR, Fabric, READER};
use anyhow::{Context, Result};
use futures_util::{StreamExt, stream};
use std::time::Duration;
use tokio::time::timeout;
use tonic::{Code, Request, Streaming};
use tonic_types::StatusExt;

#[tokio::test]
async fn call_without_a_token_is_unauthenticated() -> Result<()> {
    let fabric = Fabric::start().await?;
    let answer = fabric.get("/v1/products/oak-desk").send().await?;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    assert_eq!(reason(&answer), "CREDENTIAL_MISSING");
    let counted = [("component", "gateway"), ("reason", "CREDENTIAL_MISSING")];
    assert!(fabric.gateway.metric("accord_gateway_faults_total", &counted).await? >= 1.0);

    let channel = fabric.gateway.channel()?;
    let mut products = accord_api::catalog::v1::product_service_client::ProductServiceClient::new(channel);
    let status = products.get_product(GetProductRequest { id: "oak-desk".into() }).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    fabric.stop().await
}

#[tokio::test]
async fn token_with_a_changed_signature_is_unauthenticated() -> Result<()> {
    let fabric = Fabric::start().await?;
    let token = fabric.token(READER).await?;
    let (head, signature) = token.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { "B" } else { "A" };
    let forged = format!("{head}.{first}{}", &signature[1..]);
    let answer = fabric.get("/v1/products/oak-desk").token(&forged).send().await?;
    assert_eq!((answer.status.as_u16(), reason(&answer).as_str()), (401, "CREDENTIAL_INVALID"));
    fabric.stop().await
}

#[tokio::test]
async fn revoked_token_is_refused_in_every_binary_within_the_bound() -> Result<()> {
    let fabric = Fabric::start().await?;
    create(&fabric, "Oak desk").await?;
    let (token, other) = (fabric.token(READER).await?, fabric.token(EDITOR).await?);
    assert_eq!(fabric.get("/v1/products/oak-desk").token(&token).send().await?.status, 200);

    let revoke = RevokeRequest { target: Some(Target::Token(token.clone())) };
    TokenServiceClient::new(fabric.auth.channel()?).revoke(revoke).await?;

    // The bound is five seconds; asking again until then is what a client would see.
    let bound = tokio::time::Instant::now() + std::time::Duration::from_secs(5);
    let refused = loop {
        let answer = fabric.get("/v1/products/oak-desk").token(&token).send().await?;
        if answer.status == 401 || tokio::time::Instant::now() > bound {
            break answer;
        }
    };
    assert_eq!((refused.status.as_u16(), reason(&refused).as_str()), (401, "TOKEN_REVOKED"));
    assert_eq!(fabric.get("/v1/products/oak-desk").token(&other).send().await?.status, 200);
    fabric.stop().await
}

/// A stream of products that was let in, once its first message has come.
async fn watch(fabric: &Fabric, token: &str) -> Result<Streaming<WatchProductsResponse>> {
    create(fabric, "Oak desk").await?;
    let mut request = Request::new(WatchProductsRequest::default());
    request.set_timeout(Duration::from_secs(30));
    let mut watch = fabric.products(token)?.watch_products(request).await?.into_inner();
    assert!(watch.message().await?.is_some());
    Ok(watch)
}

/// How a stream ends by itself, within some more than the bound of five seconds.
async fn end_of(mut watch: Streaming<WatchProductsResponse>) -> Result<(Code, String)> {
    let status = timeout(Duration::from_secs(8), watch.message()).await?.expect_err("the stream ends with a status");
    Ok((status.code(), status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()))
}

#[tokio::test]
async fn stream_ends_when_its_token_is_revoked() -> Result<()> {
    let fabric = Fabric::start().await?;
    let token = fabric.token(READER).await?;
    let watch = watch(&fabric, &token).await?;
    let revoke = RevokeRequest { target: Some(Target::Token(token)) };
    TokenServiceClient::new(fabric.auth.channel()?).revoke(revoke).await?;
    assert_eq!(end_of(watch).await?, (Code::Unauthenticated, "TOKEN_REVOKED".to_owned()));
    fabric.stop().await
}

#[tokio::test]
async fn stream_ends_when_revocations_are_stale() -> Result<()> {
    let fabric = Fabric::start().await?;
    let token = fabric.token(READER).await?;
    let watch = watch(&fabric, &token).await?;
    fabric.auth.process.pause()?;
    let ended = end_of(watch).await;
    fabric.auth.process.resume()?;
    assert_eq!(ended?, (Code::Unavailable, "REVOCATIONS_STALE".to_owned()));
    fabric.stop().await
}

#[tokio::test]
async fn forged_tokens_from_one_address_are_throttled_and_a_known_token_and_others_are_not() -> Result<()> {
    let fabric = Fabric::start().await?;
    let (known, new) = (fabric.token(EDITOR).await?, fabric.token(READER).await?);
    let read = |token: &str| fabric.get("/v1/products/none").token(token);
    assert_eq!(read(&known).send().await?.status, 404);
    let (signed, signature) = new.rsplit_once('.').context("a token has a signature")?;
    // Many at once: a slow machine would look at all of them within the rate, one after the other.
    let forged = (0..4_000).map(|number| read(&format!("{signed}.{number:06}{}", &signature[6..])).send());
    let mut answers = stream::iter(forged).buffer_unordered(64);
    let throttled = loop {
        let answer = answers.next().await.context("none is throttled")??;
        if answer.status == 429 {
            break answer;
        }
    };
    drop(answers);
    assert_eq!(crate::reason(&throttled), "LOGIN_THROTTLED");
    assert!(throttled.header("retry-after").is_some(), "{throttled:?}");
    assert_eq!(read(&known).send().await?.status, 404, "its signature is known");
    assert_eq!(read(&new).from([127, 0, 0, 9].into()).send().await?.status, 404, "it comes from elsewhere");
    fabric.stop().await
}
