//! Cache invalidation: a write is seen by the next read.

use crate::{
    create, desk,
    scripted_upstream::{Reply, ScriptedUpstream},
    wire::GrpcCall,
};
use accord_fabric::{EDITOR, Fabric, READER};
use anyhow::Result;
use http::Method;
use std::time::Duration;
use tonic::Code;

/// How long the gateway may take to say what it does.
const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn read_after_write_sees_the_write_by_invalidation() -> Result<()> {
    let fabric = Fabric::start().await?;
    create(&fabric, "Oak desk").await?;
    let (reader, editor) = (fabric.token(READER).await?, fabric.token(EDITOR).await?);
    let title = async || -> Result<String> {
        let answer = fabric.get("/v1/products/oak-desk").token(&reader).send().await?;
        Ok(answer.json()?["title"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(title().await?, "Oak desk");
    assert_eq!(title().await?, "Oak desk");
    for round in 0..20 {
        let new = format!("Oak desk {round}");
        let put = fabric.call(Method::PUT, "/v1/products/oak-desk").token(&editor).json(&desk(&new)).send().await?;
        assert_eq!(put.status, 200, "{}", put.text());
        assert_eq!(put.header("x-accord-invalidation"), None);
        assert_eq!(title().await?, new);
    }
    fabric.stop().await
}

#[tokio::test]
async fn retried_write_invalidates_whatever_its_last_attempt_says() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    // The first attempt may have committed: then the second finds the work done, or in its way.
    for (text, code) in [
        ("a", Code::NotFound),
        ("b", Code::AlreadyExists),
        ("c", Code::FailedPrecondition),
        ("d", Code::Aborted),
        ("e", Code::InvalidArgument),
    ] {
        for _ in 0..2 {
            GrpcCall::new(&fabric, "Recall", text).send().await?.ok()?;
        }
        assert_eq!(echo.take_received().len(), 1, "it is cached");
        echo.script([Reply::error(Code::Unavailable), Reply::error(code)]);
        let answer = GrpcCall::new(&fabric, "Keep", text).key(text).send().await?;
        assert_eq!((answer.code(), echo.take_received().len()), (code, 2));
        GrpcCall::new(&fabric, "Recall", text).send().await?.ok()?;
        assert_eq!(echo.take_received().len(), 1, "{code:?}: the answer from before is served no more");
    }
    fabric.stop().await
}

#[tokio::test]
async fn deferred_invalidation_is_logged_with_a_stable_reason() -> Result<()> {
    let (_echo, mut fabric) = ScriptedUpstream::behind_gateway().await?;
    // Until the cache knows of this gateway, what is deferred is that.
    for _ in 0..100 {
        if !GrpcCall::new(&fabric, "Change", "0").send().await?.head.contains_key("x-accord-invalidation") {
            break;
        }
    }
    fabric.cache.process.kill()?;
    let written = GrpcCall::new(&fabric, "Change", "1").send().await?;
    assert_eq!(written.head["x-accord-invalidation"], "DEFERRED");
    let deferred = |line: &str| line.contains("invalidation deferred") && has_stable_reason(line);
    fabric.gateway.process.await_log(SOON, |log| log.lines().any(deferred)).await?;
    fabric.stop().await
}

/// Whether the field `reason` of a line of the log is a name that never changes.
fn has_stable_reason(line: &str) -> bool {
    let reason = line.split("reason=\"").nth(1).and_then(|rest| rest.split('"').next());
    reason.is_some_and(|reason| reason.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'))
}
