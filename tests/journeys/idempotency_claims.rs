//! Idempotency keys: whose they are, and what became of their calls.

use crate::{
    scripted_upstream::{Reply, ScriptedUpstream},
    wire::{GrpcCall, GrpcResponse, word},
};
use accord_fabric::{EDITOR, Fabric, READER};
use anyhow::Result;
use bytes::Bytes;
use tonic::Code;

fn keep(fabric: &Fabric, text: &str, key: &str) -> GrpcCall {
    GrpcCall::new(fabric, "Keep", text).key(key)
}

#[tokio::test]
async fn idempotency_key_belongs_to_its_principal() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    for subject in [EDITOR, READER] {
        let token = fabric.token(subject).await?;
        let call = keep(&fabric, "mine", "key").header("authorization", &format!("Bearer {token}"));
        assert!(!call.clone().send().await?.head.contains_key("idempotency-replayed"), "{subject} comes first");
        assert_eq!(call.send().await?.head["idempotency-replayed"], "true", "{subject} comes again");
    }
    assert!(!keep(&fabric, "mine", "key").send().await?.head.contains_key("idempotency-replayed"), "nobody known");
    assert_eq!(echo.take_received().len(), 3);
    fabric.stop().await
}

#[tokio::test]
async fn idempotent_request_is_compared_in_canonical_form() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    keep(&fabric, "same", "form").send().await?.ok()?;
    // The field twice: the last one counts.
    let (first, last) = (word("x"), word("same"));
    let message = [&first[5..], &last[5..]].concat();
    let length = u32::try_from(message.len())?.to_be_bytes();
    let twice: Bytes = [&[0], &length[..], &message].concat().into();
    let again = keep(&fabric, "", "form").body(twice).send().await?;
    assert_eq!(again.head["idempotency-replayed"], "true", "{again:?}");
    assert_eq!(echo.take_received().len(), 1);
    fabric.stop().await
}

#[tokio::test]
async fn idempotency_key_is_released_after_a_transient_error() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    echo.script([Reply::error(Code::Aborted)]);
    assert_eq!(keep(&fabric, "later", "now").send().await?.code(), Code::Aborted);
    assert_eq!(keep(&fabric, "later", "now").send().await?.ok()?, word("later"));
    assert_eq!(echo.take_received().len(), 2);
    fabric.stop().await
}

#[tokio::test]
async fn final_error_is_replayed_under_its_idempotency_key() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    echo.script([Reply::error(Code::AlreadyExists)]);
    for _ in 0..2 {
        assert_eq!(keep(&fabric, "taken", "final").send().await?.code(), Code::AlreadyExists);
    }
    assert_eq!(echo.take_received().len(), 1, "an answer like any other");
    fabric.stop().await
}

#[tokio::test]
async fn idempotency_key_stays_claimed_after_deadline_exceeded() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    echo.script([Reply::unfinished()]);
    let slow = keep(&fabric, "slow", "open").header("grpc-timeout", "500m").send().await?;
    assert_eq!(slow.code(), Code::DeadlineExceeded);
    let again = keep(&fabric, "slow", "open").send().await?;
    assert_eq!(again.refusal(), (Code::Aborted, "IDEMPOTENCY_IN_FLIGHT".into()));
    assert_eq!(echo.take_received().len(), 1);
    fabric.stop().await
}

/// Runs a call whose reply leaves open whether it was done, and repeats it.
async fn repeated_after(reply: Reply) -> Result<(GrpcResponse, GrpcResponse, usize)> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    echo.script([reply]);
    // A caller that retries itself (gRFC A6) gets one attempt, without the contract's own retries.
    let call = || keep(&fabric, "open", "open").header("grpc-previous-rpc-attempts", "1").send();
    let (first, again) = (call().await?, call().await?);
    let received = echo.calls_received();
    fabric.stop().await?;
    Ok((first, again, received))
}

#[tokio::test]
async fn idempotency_key_stays_claimed_after_a_connection_was_cut() -> Result<()> {
    let (first, again, received) = repeated_after(Reply::closes_connection()).await?;
    assert_eq!(first.code(), Code::Unavailable);
    assert_eq!(again.refusal(), (Code::Aborted, "IDEMPOTENCY_IN_FLIGHT".into()));
    assert_eq!(received, 1);
    Ok(())
}

#[tokio::test]
async fn idempotency_key_stays_claimed_after_a_code_that_says_nothing_of_what_was_done() -> Result<()> {
    for code in [Code::DeadlineExceeded, Code::Cancelled, Code::Unavailable] {
        let (first, again, received) = repeated_after(Reply::error(code)).await?;
        assert_eq!(first.code(), code);
        assert_eq!(again.refusal(), (Code::Aborted, "IDEMPOTENCY_IN_FLIGHT".into()), "{code:?}");
        assert_eq!(received, 1, "{code:?}");
    }
    Ok(())
}
