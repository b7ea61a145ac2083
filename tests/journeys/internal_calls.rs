//! Services that call each other by the gateway's internal listener.

use crate::{
    relay::{Relay, claims, passport},
    scripted_upstream::{ReceivedCall, Reply, ScriptedUpstream},
    wire::{GrpcCall, GrpcResponse, word},
};
use accord_fabric::{EDITOR, Fabric, READER};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;
use tonic::Code;

/// How long a revocation may take to be in force.
const BOUND: Duration = Duration::from_secs(5);

/// A call of the relay by the public listener.
async fn from_outside(fabric: &Fabric, who: &str, method: &str) -> Result<GrpcCall> {
    let bearer = format!("Bearer {}", fabric.token(who).await?);
    Ok(GrpcCall::new(fabric, method, "hop")
        .path(&format!("/relay.v1.RelayService/{method}"))
        .header("authorization", &bearer))
}

/// A call of the echo by the internal listener, with this access token.
fn inside(fabric: &Fabric, method: &str, token: &str) -> GrpcCall {
    let call = GrpcCall::to(fabric.internal, &format!("/echo.v1.EchoService/{method}")).body(word("hop"));
    call.header("authorization", &format!("Bearer {token}"))
}

/// The passport with which the relay was called for the editor.
async fn passport_to_relay(relay: &Relay, echo: &ScriptedUpstream, fabric: &Fabric) -> Result<String> {
    from_outside(fabric, EDITOR, "Say").await?.send().await?.ok()?;
    echo.take_received();
    Ok(passport(&relay.take_received()[0]).to_owned())
}

fn only(received: Vec<ReceivedCall>) -> Result<ReceivedCall> {
    ensure!(received.len() == 1, "{received:?}");
    received.into_iter().next().context("none")
}

/// Asks again until it is refused for this reason: a revocation is in force within a bound.
pub(crate) async fn until_refused(call: impl Fn() -> GrpcCall, reason: &str) -> Result<GrpcResponse> {
    let end = Instant::now() + BOUND;
    loop {
        let answer = call().send().await?;
        if answer.refusal().1 == reason || Instant::now() > end {
            return Ok(answer);
        }
    }
}

#[tokio::test]
async fn passport_of_the_last_hop_names_the_person_and_every_actor() -> Result<()> {
    let (relay, echo, fabric) = Relay::before_scripted_upstream().await?;
    assert_eq!(from_outside(&fabric, EDITOR, "Say").await?.send().await?.ok()?, word("hop"));
    let (first, last) = (claims(&only(relay.take_received())?), claims(&only(echo.take_received())?));
    assert_eq!((&first["sub"], &first["aud"]), (&json!(EDITOR), &json!("relay")));
    assert_eq!((&last["sub"], &last["aud"]), (&json!(EDITOR), &json!("echo")));
    assert_eq!(last["act"], json!({ "sub": "relay", "act": { "sub": "gateway" } }));
    assert!(last["exp"].as_i64() <= first["exp"].as_i64(), "{last} {first}");
    fabric.stop().await
}

#[tokio::test]
async fn request_id_and_trace_are_the_same_at_every_hop() -> Result<()> {
    let (relay, echo, fabric) = Relay::before_scripted_upstream().await?;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let call = from_outside(&fabric, EDITOR, "Say").await?.header("x-request-id", "order-17");
    call.header("traceparent", &format!("00-{trace}-b7ad6b7169203331-01")).send().await?.ok()?;
    for hop in [only(relay.take_received())?, only(echo.take_received())?] {
        assert_eq!(hop.headers["x-request-id"], "order-17");
        let traceparent = hop.headers["traceparent"].to_str()?;
        assert!(traceparent.starts_with(&format!("00-{trace}-")), "{traceparent}");
    }
    fabric.stop().await
}

fn microseconds(call: &ReceivedCall) -> Result<u64> {
    let timeout = call.headers["grpc-timeout"].to_str()?;
    Ok(timeout.strip_suffix('u').context("in microseconds")?.parse()?)
}

#[tokio::test]
async fn deadline_shrinks_at_each_hop() -> Result<()> {
    let (relay, echo, fabric) = Relay::before_scripted_upstream().await?;
    from_outside(&fabric, EDITOR, "Say").await?.header("grpc-timeout", "4S").send().await?.ok()?;
    let (first, last) = (microseconds(&only(relay.take_received())?)?, microseconds(&only(echo.take_received())?)?);
    assert!(last < first && first < 4_000_000, "{first} {last}");
    fabric.stop().await
}

#[tokio::test]
async fn call_for_a_sheddable_one_is_sheddable_at_every_hop() -> Result<()> {
    let (relay, echo, fabric) = Relay::before_scripted_upstream().await?;
    for (method, criticality) in [("Repeat", Some("sheddable")), ("Say", None)] {
        let call = from_outside(&fabric, EDITOR, method).await?;
        call.header("x-accord-criticality", "sheddable_plus").send().await?.ok()?;
        for hop in [only(relay.take_received())?, only(echo.take_received())?] {
            let carried = hop.headers.get("x-accord-criticality").map(|value| value.to_str()).transpose()?;
            assert_eq!(carried, criticality, "{method}");
        }
    }
    fabric.stop().await
}

#[tokio::test]
async fn cancelled_call_is_cancelled_at_the_last_hop() -> Result<()> {
    let (_relay, echo, fabric) = Relay::before_scripted_upstream().await?;
    for reply in [Reply::unfinished(), Reply::unfinished().message(&word("one"))] {
        for method in ["Say", "Recite"] {
            let (received, cancelled) = (echo.calls_received(), echo.calls_cancelled());
            echo.script([reply.clone()]);
            from_outside(&fabric, EDITOR, method).await?.leave_after(echo.wait_received(received + 1)).await?;
            echo.wait_cancelled(cancelled + 1).await?;
        }
    }
    fabric.stop().await
}

#[tokio::test]
async fn outer_hop_does_not_retry_what_the_inner_hop_retried_in_vain() -> Result<()> {
    let (relay, echo, fabric) = Relay::before_scripted_upstream().await?;
    echo.script(vec![Reply::error(Code::Unavailable); 9]);
    let answer = from_outside(&fabric, EDITOR, "Repeat").await?.send().await?;
    assert_eq!((answer.code(), &answer.trailers["grpc-retry-pushback-ms"]), (Code::Unavailable, &"-1".parse()?));
    assert_eq!((relay.take_received().len(), echo.take_received().len()), (1, 3));
    fabric.stop().await
}

#[tokio::test]
async fn retries_of_a_load_in_vain_answer_with_negative_pushback_as_well() -> Result<()> {
    let (_relay, echo, fabric) = Relay::before_scripted_upstream().await?;
    echo.script(vec![Reply::error(Code::Unavailable); 9]);
    let answer = from_outside(&fabric, EDITOR, "Recall").await?.send().await?;
    assert_eq!((answer.code(), &answer.trailers["grpc-retry-pushback-ms"]), (Code::Unavailable, &"-1".parse()?));
    assert_eq!(echo.take_received().len(), 2);
    fabric.stop().await
}

#[tokio::test]
async fn passport_of_another_service_is_refused() -> Result<()> {
    let (relay, echo, fabric) = Relay::before_scripted_upstream().await?;
    let passport = passport_to_relay(&relay, &echo, &fabric).await?;
    // The catalog is a service as well, but not the one that the passport was made for.
    let call = inside(&fabric, "Say", &fabric.token("catalog").await?).header("x-accord-passport", &passport);
    let refused = call.send().await?;
    assert_eq!(refused.refusal(), (Code::Unauthenticated, "PASSPORT_INVALID".into()));
    assert!(
        refused.status().message().contains("was made for `relay`, and the access token is that of `catalog`"),
        "{refused:?}"
    );
    assert!(echo.take_received().is_empty());
    fabric.stop().await
}

#[tokio::test]
async fn chain_of_services_that_is_too_long_is_named_to_the_caller() -> Result<()> {
    let (relay, echo, fabric) = Relay::before_scripted_upstream().await?;
    let mut passport = passport_to_relay(&relay, &echo, &fabric).await?;
    let token = format!("Bearer {}", fabric.token("relay").await?);
    let call = GrpcCall::to(fabric.internal, "/relay.v1.RelayService/Say").body(word("hop"));
    let itself = |passport: &str| call.clone().header("authorization", &token).header("x-accord-passport", passport);
    // The service calls itself again and again, until it can't call its neighbour any more.
    for _ in 0..6 {
        itself(&passport).send().await?.ok()?;
        passport = crate::relay::passport(&only(relay.take_received())?).to_owned();
    }
    let refused = itself(&passport).send().await?;
    assert_eq!(refused.refusal(), (Code::FailedPrecondition, "ACTOR_CHAIN_TOO_LONG".into()));
    let chain = format!(": the caller -> gateway{} -> echo; ", " -> relay".repeat(8));
    assert!(refused.status().message().contains(&chain), "{refused:?}");
    fabric.stop().await
}

/// A call by the public listener, with a passport that was made for the relay.
async fn with_passport_from_outside(fabric: &Fabric, who: &str, passport: &str) -> Result<GrpcResponse> {
    let bearer = format!("Bearer {}", fabric.token(who).await?);
    let call = GrpcCall::new(fabric, "Say", "hop").header("x-accord-passport", passport);
    call.header("authorization", &bearer).send().await
}

#[tokio::test]
async fn passport_that_a_person_sends_from_outside_is_ignored() -> Result<()> {
    let (relay, echo, fabric) = Relay::before_scripted_upstream().await?;
    let passport = passport_to_relay(&relay, &echo, &fabric).await?;
    with_passport_from_outside(&fabric, READER, &passport).await?.ok()?;
    let received = claims(&only(echo.take_received())?);
    assert_eq!((&received["sub"], &received["act"]), (&json!(READER), &json!({ "sub": "gateway" })));
    fabric.stop().await
}

#[tokio::test]
async fn passport_that_a_service_sends_to_the_public_listener_is_refused() -> Result<()> {
    let (relay, echo, fabric) = Relay::before_scripted_upstream().await?;
    let passport = passport_to_relay(&relay, &echo, &fabric).await?;
    let refused = with_passport_from_outside(&fabric, "relay", &passport).await?;
    assert_eq!(refused.refusal(), (Code::Unauthenticated, "PASSPORT_INVALID".into()));
    assert!(refused.status().message().contains("internal listener"), "{refused:?}");
    assert!(echo.take_received().is_empty());
    fabric.stop().await
}

#[tokio::test]
async fn passport_that_comes_by_the_admin_port_is_ignored() -> Result<()> {
    let (relay, _echo, fabric) = Relay::before_scripted_upstream().await?;
    fabric.manage(&["principal", "add", "operator", "--role", "accord-admin"]).await?;
    let bearer = format!("Bearer {}", fabric.token("operator").await?);
    from_outside(&fabric, "operator", "Say").await?.send().await?.ok()?;
    let passport = passport(&relay.take_received()[0]).to_owned();
    let explain = GrpcCall::to(fabric.gateway.admin, "/accord.gateway.v1.ExplainService/ListMethods").body(word(""));
    let explain = |bearer: &str| explain.clone().header("authorization", bearer).header("x-accord-passport", &passport);
    explain(&bearer).send().await?.ok()?;
    let service = format!("Bearer {}", fabric.token("relay").await?);
    assert_eq!(explain(&service).send().await?.refusal(), (Code::PermissionDenied, "PERMISSION_MISSING".into()));
    fabric.stop().await
}

#[tokio::test]
async fn person_is_refused_by_the_internal_listener() -> Result<()> {
    let (_relay, echo, fabric) = Relay::before_scripted_upstream().await?;
    let answer = inside(&fabric, "Say", &fabric.token(EDITOR).await?).send().await?;
    assert_eq!(answer.refusal(), (Code::PermissionDenied, "PRINCIPAL_KIND_REFUSED".into()));
    assert!(echo.take_received().is_empty());
    fabric.stop().await
}

#[tokio::test]
async fn anonymous_call_of_a_public_method_is_refused_by_the_internal_listener() -> Result<()> {
    let (_relay, echo, fabric) = Relay::before_scripted_upstream().await?;
    let call = GrpcCall::to(fabric.internal, "/echo.v1.EchoService/Say").body(word("hop"));
    assert_eq!(call.send().await?.refusal(), (Code::Unauthenticated, "CREDENTIAL_MISSING".into()));
    assert!(echo.take_received().is_empty());
    fabric.stop().await
}

#[tokio::test]
async fn service_without_a_passport_acts_for_itself() -> Result<()> {
    let (_relay, echo, fabric) = Relay::before_scripted_upstream().await?;
    inside(&fabric, "Compute", &fabric.token("relay").await?).send().await?.ok()?;
    let received = claims(&only(echo.take_received())?);
    assert_eq!((&received["sub"], &received["act"]), (&json!("relay"), &json!({ "sub": "gateway" })));
    fabric.stop().await
}

#[tokio::test]
async fn principal_kind_is_that_of_the_passport() -> Result<()> {
    let (relay, echo, fabric) = Relay::before_scripted_upstream().await?;
    let passport = passport_to_relay(&relay, &echo, &fabric).await?;
    let call = inside(&fabric, "Compute", &fabric.token("relay").await?).header("x-accord-passport", &passport);
    assert_eq!(call.send().await?.refusal(), (Code::PermissionDenied, "PRINCIPAL_KIND_REFUSED".into()));
    fabric.stop().await
}

#[tokio::test]
async fn revoked_person_is_refused_at_the_inner_hop() -> Result<()> {
    let (relay, echo, fabric) = Relay::before_scripted_upstream().await?;
    let (passport, token) = (passport_to_relay(&relay, &echo, &fabric).await?, fabric.token("relay").await?);
    let call = || inside(&fabric, "Say", &token).header("x-accord-passport", &passport);
    call().send().await?.ok()?;
    fabric.manage(&["token", "revoke", "--subject", EDITOR]).await?;
    let refused = until_refused(call, "TOKEN_REVOKED").await?.refusal();
    assert_eq!(refused, (Code::Unauthenticated, "TOKEN_REVOKED".into()));
    inside(&fabric, "Say", &token).send().await?.ok()?;
    fabric.stop().await
}

#[tokio::test]
async fn revoked_service_is_refused_at_the_inner_hop() -> Result<()> {
    let (relay, echo, fabric) = Relay::before_scripted_upstream().await?;
    let (passport, token) = (passport_to_relay(&relay, &echo, &fabric).await?, fabric.token("relay").await?);
    let call = || inside(&fabric, "Say", &token).header("x-accord-passport", &passport);
    call().send().await?.ok()?;
    fabric.manage(&["token", "revoke", "--subject", "relay"]).await?;
    let refused = until_refused(call, "TOKEN_REVOKED").await?.refusal();
    assert_eq!(refused, (Code::Unauthenticated, "TOKEN_REVOKED".into()));
    fabric.stop().await
}

#[tokio::test]
async fn policy_over_act_permits_the_way_through_the_relay_alone() -> Result<()> {
    let (_relay, echo, fabric) = Relay::before_scripted_upstream().await?;
    let bearer = format!("Bearer {}", fabric.token(EDITOR).await?);
    let straight = GrpcCall::new(&fabric, "Change", "hop").header("authorization", &bearer).send().await?;
    assert_eq!(straight.refusal(), (Code::PermissionDenied, "PERMISSION_MISSING".into()));
    from_outside(&fabric, EDITOR, "Change").await?.send().await?.ok()?;
    assert_eq!(claims(&only(echo.take_received())?)["sub"], EDITOR);
    fabric.stop().await
}

#[tokio::test]
async fn cached_answer_is_kept_for_the_person_and_not_for_the_service() -> Result<()> {
    let (_relay, echo, fabric) = Relay::before_scripted_upstream().await?;
    for who in [EDITOR, EDITOR, READER] {
        from_outside(&fabric, who, "Recall").await?.send().await?.ok()?;
    }
    let owners: Vec<_> = echo.take_received().iter().map(|call| claims(call)["sub"].clone()).collect();
    assert_eq!(owners, [EDITOR, READER]);
    fabric.stop().await
}

#[tokio::test]
async fn calls_are_counted_by_listener() -> Result<()> {
    let (_relay, _echo, mut fabric) = Relay::before_scripted_upstream().await?;
    from_outside(&fabric, EDITOR, "Say").await?.send().await?.ok()?;
    for (listener, method) in [("public", "relay.v1.RelayService/Say"), ("internal", "echo.v1.EchoService/Say")] {
        let labels = [("accord_listener", listener), ("rpc_method", method)];
        fabric.gateway.await_metric("rpc_server_call_duration_seconds_count", &labels, |calls| calls > 0.0).await?;
    }
    fabric.stop().await
}

#[tokio::test]
async fn internal_listener_drains_after_the_public_one() -> Result<()> {
    let bound = Duration::from_millis(600);
    let (relay, echo, mut fabric) = Relay::with(|builder| builder.staleness_bound(bound)).await?;
    let (barrier, token) = (relay.hold(), fabric.token("relay").await?);
    let (call, public) = (from_outside(&fabric, EDITOR, "Say").await?, fabric.gateway.listen);
    let call = tokio::spawn(call.send());
    while relay.take_received().is_empty() {
        ensure!(!call.is_finished(), "refused before it came to the relay: {:?}", call.await);
        tokio::task::yield_now().await;
    }
    let neighbour = inside(&fabric, "Compute", &token);
    let ending = async {
        // A closed listener shows that the drain has begun.
        while tokio::net::TcpStream::connect(public).await.is_ok() {}
        let begun = Instant::now();
        // What is known of revocations stays fresh as well.
        while begun.elapsed() < 3 * bound {
            neighbour.clone().send().await?.ok()?;
        }
        echo.take_received();
        barrier.notify_one();
        call.await?
    };
    let (status, answer) = tokio::join!(fabric.gateway.process.terminate(Duration::from_secs(20)), ending);
    assert!(status?.success());
    assert_eq!((answer?.ok()?, echo.take_received().len()), (word("hop"), 1));
    Ok(())
}

#[tokio::test]
async fn missing_permission_is_said_of_whom_the_call_is_decided_for() -> Result<()> {
    let (_relay, _echo, fabric) = Relay::before_scripted_upstream().await?;
    let bearer = format!("Bearer {}", fabric.token(EDITOR).await?);
    for (call, who) in [
        (GrpcCall::new(&fabric, "Change", "hop").header("authorization", &bearer), "the caller does"),
        (
            inside(&fabric, "Change", &fabric.token("relay").await?),
            "the service `relay`, which acts for itself since no passport came along, does",
        ),
    ] {
        let refused = call.send().await?;
        assert_eq!(refused.refusal().1, "PERMISSION_MISSING");
        let message = refused.status().message().to_owned();
        assert!(message.contains(who) && message.contains("on the upstream `echo`; a policy"), "{message}");
    }
    fabric.stop().await
}
