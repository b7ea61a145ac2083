//! Fair shares: one caller that holds all it can get leaves room for its neighbours, in slots and in bytes.

use crate::{
    create,
    scripted_upstream::{Reply, ScriptedUpstream},
    wire::{GrpcCall, frame},
};
use accord_fabric::{EDITOR, Fabric, Part, raw_http2::RawConnection};
use anyhow::{Context, Result};
use bytes::Bytes;
use std::net::{IpAddr, Ipv4Addr};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use tonic::Code;

const ATTACKER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// Half of the least memory that can be configured.
const SHARE: f64 = 524_288.0;

const HELD: &str = "accord_gateway_memory_held_bytes";

/// An upstream behind a gateway with few slots and little memory.
async fn narrow() -> Result<(ScriptedUpstream, Fabric)> {
    let echo = ScriptedUpstream::start().await?;
    let narrow = toml::toml! { limits = { max_in_flight = 64, max_memory = 1_048_576 } };
    let overlay = "tests/journeys/few_policies.toml";
    let builder = Fabric::builder()?.upstream("echo", echo.url()).overlay(overlay);
    let fabric = builder.settings(Part::Gateway, narrow).start().await?;
    Ok((echo, fabric))
}

/// A word of so many bytes.
fn body(bytes: usize) -> Bytes {
    let text = vec![b'x'; bytes];
    let mut message = vec![0x0a];
    prost::encoding::encode_varint(bytes as u64, &mut message);
    frame(0, &[message, text].concat())
}

/// Every call of somebody at another address succeeds.
async fn neighbour_succeeds(fabric: &Fabric) -> Result<()> {
    for method in ["Say", "Change"] {
        for _ in 0..5 {
            GrpcCall::new(fabric, method, "").body(body(40_000)).send().await?.ok()?;
        }
    }
    Ok(())
}

/// As many calls as get in of somebody who reads no answer, on connections of a hundred streams each.
async fn stall(fabric: &Fabric, method: &str, body: &[u8], connections: usize) -> Result<(usize, Vec<RawConnection>)> {
    let path = format!("/echo.v1.EchoService/{method}");
    let (mut stalled, mut held) = (0, Vec::new());
    for _ in 0..connections {
        let mut connection = RawConnection::open(fabric.gateway.listen, ATTACKER, 0).await?;
        for _ in 0..100 {
            connection.call(&path, &[], body, true).await?;
        }
        stalled += connection.answers(100).await?;
        held.push(connection);
    }
    Ok((stalled, held))
}

#[tokio::test]
async fn stalled_streams_of_one_address_leave_in_flight_slots_to_others() -> Result<()> {
    let (_echo, fabric) = narrow().await?;
    let (stalled, held) = stall(&fabric, "Change", &body(1), 6).await?;
    neighbour_succeeds(&fabric).await?;
    assert!((8..=32).contains(&stalled), "{stalled} of 64 slots");
    let shed = fabric.gateway.metric("accord_budget_shed_total", &[("budget", "calls"), ("reason", "share")]).await?;
    assert!(shed >= 500.0, "{shed}");
    drop(held);
    fabric.stop().await
}

#[tokio::test]
async fn stalled_streams_of_one_address_leave_in_flight_slots_to_a_principal_there() -> Result<()> {
    let (_echo, fabric) = narrow().await?;
    create(&fabric, "Oak desk").await?;
    let token = fabric.token(EDITOR).await?;
    let (_, held) = stall(&fabric, "Change", &body(1), 6).await?;
    let read = fabric.get("/v1/products/oak-desk").token(&token).from(ATTACKER).send().await?;
    assert_eq!(read.status, 200, "{}", read.text());
    drop(held);
    fabric.stop().await
}

#[tokio::test]
async fn unread_answers_of_one_address_hold_no_more_than_its_share_of_memory() -> Result<()> {
    let (echo, fabric) = narrow().await?;
    echo.script(vec![Reply::ok(&body(40_000)); 200]);
    let (unread, held) = stall(&fabric, "Change", &body(1), 2).await?;
    echo.take_received();
    let bytes = fabric.gateway.metric(HELD, &[("kind", "response")]).await?;
    neighbour_succeeds(&fabric).await?;
    assert!((200_000.0..=SHARE).contains(&bytes), "{bytes} bytes of {unread} answers");
    drop(held);
    fabric.stop().await
}

#[tokio::test]
async fn stalled_streams_that_pass_through_hold_their_windows_of_memory() -> Result<()> {
    let (_echo, fabric) = narrow().await?;
    let (stalled, held) = stall(&fabric, "Say", &body(1), 6).await?;
    let bytes = fabric.gateway.metric(HELD, &[("kind", "response")]).await?;
    neighbour_succeeds(&fabric).await?;
    assert!((3..=8).contains(&stalled) && bytes <= SHARE, "{bytes} bytes of {stalled} streams");
    drop(held);
    fabric.stop().await
}

/// A request whose last byte never comes.
async fn half_sent(fabric: &Fabric, bytes: usize) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((ATTACKER, 0).into())?;
    let mut socket = socket.connect(fabric.gateway.listen).await?;
    let head = "POST /v1/words/w:change HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n";
    let mut request = format!("{head}content-length: {bytes}\r\n\r\n").into_bytes();
    request.resize(request.len() + bytes - 1, b' ');
    // Whoever is refused in the middle need not read the rest.
    let _ = socket.write_all(&request).await;
    Ok(socket)
}

#[tokio::test]
async fn half_sent_bodies_of_one_address_hold_no_more_than_its_share_of_memory() -> Result<()> {
    let (_echo, mut fabric) = narrow().await?;
    let mut held = Vec::new();
    for _ in 0..12 {
        held.push(half_sent(&fabric, 100_000).await?);
    }
    let shed = [("budget", "memory"), ("reason", "share")];
    fabric.gateway.await_metric("accord_budget_shed_total", &shed, |shed| shed >= 6.0).await?;
    let bytes = fabric.gateway.metric(HELD, &[("kind", "request")]).await?;
    neighbour_succeeds(&fabric).await?;
    assert!((100_000.0..=SHARE).contains(&bytes), "{bytes} bytes");
    drop(held);
    fabric.stop().await
}

#[tokio::test]
async fn body_over_the_share_of_memory_is_resource_exhausted_with_retry_info() -> Result<()> {
    let (_echo, mut fabric) = narrow().await?;
    let held = half_sent(&fabric, 250_000).await?;
    // Else the bytes of the other could come before its own, and it be refused in the other's place.
    fabric.gateway.await_metric(HELD, &[("kind", "request")], |bytes| bytes >= 249_999.0).await?;
    let mut refused = half_sent(&fabric, 250_000).await?;
    let mut answer = vec![0; 1000];
    let read = refused.read(&mut answer).await.context("an answer")?;
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 429") && answer.contains("retry-after: 1"), "{answer}");
    drop(held);
    fabric.stop().await
}

#[tokio::test]
async fn upstream_bulkhead_leaves_places_to_others() -> Result<()> {
    let echo = ScriptedUpstream::start().await?;
    let few = toml::toml! { max_in_flight = 16 };
    let overlay = "tests/journeys/few_policies.toml";
    let builder = Fabric::builder()?.upstream("echo", echo.url()).overlay(overlay).upstream_settings("echo", few);
    let fabric = builder.start().await?;
    let (stalled, held) = stall(&fabric, "Say", &body(1), 4).await?;
    assert!((2..=8).contains(&stalled), "{stalled} of 16 places");
    let call = GrpcCall::new(&fabric, "Say", "more").send().await?;
    assert_eq!(call.code(), Code::Ok, "{:?}", call.status());
    drop(held);
    fabric.stop().await
}

#[tokio::test]
async fn health_watches_of_one_address_at_auth_and_the_cache_leave_room_to_others() -> Result<()> {
    let mut fabric = Fabric::start().await?;
    let mut held = Vec::new();
    for part in [&mut fabric.auth, &mut fabric.cache] {
        let mut watches = 0;
        for _ in 0..6 {
            let mut connection = RawConnection::open(part.listen, ATTACKER, 0).await?;
            for _ in 0..100 {
                connection.call("/grpc.health.v1.Health/Watch", &[], &frame(0, b""), true).await?;
            }
            watches += connection.answers(100).await?;
            held.push(connection);
        }
        assert_eq!(watches, 512, "half of what there is");
        let shed = [("budget", "inspection"), ("reason", "share")];
        part.await_metric("accord_budget_shed_total", &shed, |shed| shed >= 88.0).await?;
        let mut neighbour = RawConnection::open(part.listen, Ipv4Addr::LOCALHOST.into(), 0).await?;
        neighbour.call("/grpc.health.v1.Health/Watch", &[], &frame(0, b""), true).await?;
        assert_eq!(neighbour.answers(1).await?, 1);
    }
    drop(held);
    fabric.stop().await
}
