//! The near cache: answers from a gateway's own memory, and what writes wait for.

use crate::{create, desk};
use accord_fabric::{EDITOR, Fabric, Part, READER, Server, http::HttpCall, http::HttpResponse};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use std::net::SocketAddr;
use toml::toml;

pub(crate) const PRODUCT: &str = "/v1/products/oak-desk";
/// What mutations waited for.
const INVALIDATIONS: &str = "accord_gateway_invalidation_duration_seconds_count";
/// Reads until one is answered near: a tag that was invalidated a moment ago is leased to nobody for a second.
pub(crate) const MOST_READS: usize = 5_000;

/// Two gateways before one cache, and a product.
pub(crate) struct Mesh {
    pub(crate) fabric: Fabric,
    pub(crate) other: Server,
    pub(crate) token: String,
}

impl Mesh {
    pub(crate) async fn start(overlay: &str) -> Result<Self> {
        let leases = toml! {
            [leases]
            max = "400ms"
        };
        let mut fabric = Fabric::builder()?.overlay(overlay).settings(Part::Cache, leases).start().await?;
        let mut other = fabric.another(Part::Gateway)?;
        other.wait_serving().await?;
        let token = fabric.token(EDITOR).await?;
        create(&fabric, "Oak desk").await?;
        Ok(Self { fabric, other, token })
    }

    fn gateways(&self) -> [SocketAddr; 2] {
        [self.fabric.gateway.listen, self.other.listen]
    }

    async fn read(&self, gateway: SocketAddr) -> Result<HttpResponse> {
        HttpCall::new(gateway, Method::GET, PRODUCT).token(&self.token).send().await
    }

    pub(crate) async fn write(&self, gateway: SocketAddr, title: &str) -> Result<HttpResponse> {
        let put = HttpCall::new(gateway, Method::PUT, PRODUCT).token(&self.token).json(&desk(title)).send().await?;
        anyhow::ensure!(put.status == 200, "{}: {}", put.status, put.text());
        Ok(put)
    }

    /// How many invalidations had to wait so far, those of gateways that start included.
    async fn waits(&self) -> Result<f64> {
        self.fabric.cache.metric("accord_cache_invalidation_wait_duration_seconds_count", &[]).await
    }

    async fn read_near(&self, gateway: SocketAddr) -> Result<HttpResponse> {
        until_near(|| self.read(gateway)).await
    }
}

/// Reads until an answer comes from the gateway's memory.
async fn until_near<F: Future<Output = Result<HttpResponse>>>(read: impl Fn() -> F) -> Result<HttpResponse> {
    for _ in 0..MOST_READS {
        let answer = read().await?;
        if is_near(&answer) {
            return Ok(answer);
        }
    }
    bail!("no read of {MOST_READS} was answered near")
}

fn is_near(answer: &HttpResponse) -> bool {
    answer.header("cache-status").is_some_and(|status| status.starts_with("accord-near; hit; ttl="))
}

#[tokio::test]
async fn read_is_answered_near_as_the_cache_answered_it() -> Result<()> {
    let mesh = Mesh::start("tests/journeys/near.toml").await?;
    let [gateway, _] = mesh.gateways();
    let first = mesh.read(gateway).await?;
    let status = first.header("cache-status").context("a status")?;
    assert!(status.starts_with("accord; fwd=uri-miss") && status.ends_with(", accord-near; fwd=uri-miss"), "{status}");
    let near = mesh.read_near(gateway).await?;
    assert_eq!((first.status, &first.body), (near.status, &near.body));
    assert_eq!(first.header("content-type"), near.header("content-type"));
    assert!(near.header("age").is_some() && near.header("x-request-id").is_some());
    assert!(mesh.fabric.gateway.metric("accord_gateway_near_reads_total", &[("outcome", "hit")]).await? >= 1.0);
    assert!(mesh.fabric.cache.metric("accord_cache_leases_granted_total", &[]).await? >= 1.0);
    Ok(())
}

#[tokio::test]
async fn near_answer_stands_in_the_access_log_as_near() -> Result<()> {
    let mut mesh = Mesh::start("tests/journeys/near.toml").await?;
    let near = mesh.read_near(mesh.fabric.gateway.listen).await?;
    let id = near.header("x-request-id").context("an id")?.to_owned();
    let line = mesh.fabric.gateway.await_access_log(&id, 1).await?;
    assert_eq!((&line[0]["cache"], &line[0]["request_bytes"]), (&json!("near"), &Value::Null));
    Ok(())
}

#[tokio::test]
async fn grpc_read_is_answered_near_as_the_cache_answered_it() -> Result<()> {
    let mesh = Mesh::start("tests/journeys/near.toml").await?;
    let mut products = mesh.fabric.products(&mesh.token)?;
    let mut read = async || {
        let request = accord_api::catalog::v1::GetProductRequest { id: "oak-desk".to_owned() };
        Ok::<_, anyhow::Error>(products.get_product(request).await?)
    };
    let first = read().await?;
    for _ in 0..MOST_READS {
        let again = read().await?;
        let is_near =
            again.metadata().get("cache-status").is_some_and(|it| it.as_bytes().starts_with(b"accord-near; hit"));
        if is_near {
            assert_eq!(first.get_ref(), again.get_ref());
            return Ok(());
        }
    }
    bail!("no read of {MOST_READS} was answered near")
}

#[tokio::test]
async fn write_at_either_gateway_is_seen_at_both_once_it_is_acknowledged() -> Result<()> {
    let mut mesh = Mesh::start("tests/journeys/near.toml").await?;
    let (gateways, before) = (mesh.gateways(), mesh.waits().await?);
    for (round, writer) in [gateways[0], gateways[1], gateways[0]].into_iter().enumerate() {
        tokio::try_join!(mesh.read_near(gateways[0]), mesh.read_near(gateways[1]))?;
        let title = format!("Oak desk {round}");
        let put = mesh.write(writer, &title).await?;
        assert_eq!(put.header("x-accord-invalidation"), None);
        for reader in gateways {
            assert_eq!(mesh.read(reader).await?.json()?["title"], *title, "written at {writer}, read at {reader}");
        }
    }
    assert!(mesh.waits().await? > before, "some writer waited for the other's lease");
    mesh.fabric.gateway.await_metric(INVALIDATIONS, &[("outcome", "acknowledged")], |count| count >= 2.0).await?;
    Ok(())
}

#[tokio::test]
async fn write_waits_for_no_lease_of_its_own_gateway() -> Result<()> {
    let mesh = Mesh::start("tests/journeys/near.toml").await?;
    let [gateway, _] = mesh.gateways();
    mesh.read_near(gateway).await?;
    let before = mesh.waits().await?;
    mesh.write(gateway, "Oak desk again").await?;
    assert_eq!(mesh.read(gateway).await?.json()?["title"], "Oak desk again");
    assert_eq!((before, mesh.waits().await?), (before, before));
    Ok(())
}

#[tokio::test]
async fn write_that_is_acknowledged_locally_says_so_and_its_token_is_met_at_the_other_gateway() -> Result<()> {
    let mut mesh = Mesh::start("tests/journeys/near_local.toml").await?;
    let [one, other] = mesh.gateways();
    mesh.read_near(other).await?;
    let put = mesh.write(one, "Oak desk again").await?;
    assert_eq!(put.header("x-accord-invalidation"), Some("LOCAL"));
    mesh.fabric.gateway.await_metric(INVALIDATIONS, &[("outcome", "local")], |count| count >= 1.0).await?;
    assert_eq!(mesh.read(one).await?.json()?["title"], "Oak desk again", "its own gateway sees it at once");
    let token = put.header("x-accord-consistency-token").expect("a token");
    let read = HttpCall::new(other, Method::GET, PRODUCT).token(&mesh.token);
    let seen = read.header("x-accord-at-least-as-fresh", token).send().await?;
    assert_eq!(seen.json()?["title"], "Oak desk again");
    Ok(())
}

#[tokio::test]
async fn write_under_bounded_does_not_wait_and_says_so() -> Result<()> {
    let mesh = Mesh::start("tests/journeys/near_bounded.toml").await?;
    let [one, other] = mesh.gateways();
    mesh.read_near(other).await?;
    let before = mesh.waits().await?;
    let put = mesh.write(one, "Oak desk again").await?;
    assert_eq!(put.header("x-accord-invalidation"), Some("BOUNDED"));
    assert_eq!(mesh.read(one).await?.json()?["title"], "Oak desk again", "its own gateway sees it at once");
    assert_eq!((before, mesh.waits().await?), (before, before));
    Ok(())
}

#[tokio::test]
async fn caller_that_requires_a_load_is_not_answered_near() -> Result<()> {
    let mesh = Mesh::start("tests/journeys/near.toml").await?;
    let [gateway, _] = mesh.gateways();
    for (wish, told) in [
        ("no-cache", Some("accord; fwd=request")),
        ("no-store", Some("accord; fwd=request")),
        ("max-age=0", Some("accord; fwd=")),
    ] {
        mesh.read_near(gateway).await?;
        let call = HttpCall::new(gateway, Method::GET, PRODUCT).token(&mesh.token).header("cache-control", wish);
        let answer = call.send().await?;
        let status = answer.header("cache-status").unwrap_or_default().to_owned();
        assert!(told.is_some_and(|told| status.starts_with(told)), "{wish}: {status}");
    }
    Ok(())
}

#[tokio::test]
async fn near_answer_is_given_to_nobody_who_may_not_call() -> Result<()> {
    let mesh = Mesh::start("tests/journeys/near.toml").await?;
    let [gateway, _] = mesh.gateways();
    let stranger = mesh.fabric.token(accord_fabric::STRANGER).await?;
    let reader = mesh.fabric.token(READER).await?;
    mesh.read_near(gateway).await?;
    let refused = HttpCall::new(gateway, Method::GET, PRODUCT).token(&stranger).send().await?;
    assert_eq!(refused.status, 403, "{}", refused.text());
    let let_in = HttpCall::new(gateway, Method::GET, PRODUCT).token(&reader).send().await?;
    assert_eq!(let_in.status, 200, "{}", let_in.text());
    Ok(())
}

#[tokio::test]
async fn near_answer_is_written_as_its_caller_reads_it_in_every_protocol() -> Result<()> {
    let mesh = Mesh::start("tests/journeys/near.toml").await?;
    let [gateway, _] = mesh.gateways();
    let path = "/catalog.v1.ProductService/GetProduct";
    // `{"id": "oak-desk"}` in a frame, as it stands, in base64, and in the query of a GET.
    let message = b"\n\x08oak-desk";
    let framed = [&b"\0\0\0\0\x0a"[..], message].concat();
    let text = "AAAAAAoKCG9hay1kZXNr";
    let calls: [(&str, Bytes); 4] = [
        ("application/grpc-web+proto", framed.into()),
        ("application/grpc-web-text+proto", text.into()),
        ("application/proto", message[..].into()),
        ("application/json", r#"{"id":"oak-desk"}"#.into()),
    ];
    for (content_type, body) in &calls {
        let read = || {
            let call = HttpCall::new(gateway, Method::POST, path).token(&mesh.token);
            call.body(content_type, body.clone()).send()
        };
        let first = read().await?;
        let near = until_near(read).await?;
        assert_eq!(near.header("content-type"), Some(*content_type));
        assert_eq!((first.status, &first.body), (near.status, &near.body), "{content_type}");
    }
    mesh.read_near(gateway).await?;
    mesh.fabric.stop().await
}
