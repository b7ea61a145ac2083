//! A namespace of the cache before a method of an upstream, through the gateway.

use crate::{
    reason,
    relay::claims,
    scripted_upstream::{Reply, ScriptedUpstream},
    wire::word,
};
use accord_api::accord::cache::v1::{GetRequest, cache_service_client::CacheServiceClient};
use accord_fabric::{Bearer, Fabric, Part, http::HttpResponse};
use anyhow::Result;
use http::Method;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{sync::Notify, task::JoinSet};
use toml::toml;

/// `hop` and `bread` as JSON has bytes.
const HOP: &str = "aG9w";
const BREAD: &str = "YnJlYWQ=";

/// A namespace whose keys the scripted upstream knows, one whose keys the catalog knows, and who may write both.
struct Words {
    echo: ScriptedUpstream,
    fabric: Fabric,
    token: String,
}

impl Words {
    async fn start() -> Result<Self> {
        let echo = ScriptedUpstream::start().await?;
        let settings = toml! {
            [[namespace]]
            name = "words"
            read_permission = "carts.read"
            write_permission = "carts.write"
            [namespace.origin]
            upstream = "echo"
            method = "echo.v1.EchoService/Say"
            permission = "authenticated"
            value_field = 1

            [[namespace]]
            name = "products"
            read_permission = "carts.read"
            write_permission = "carts.write"
            [namespace.origin]
            upstream = "catalog"
            method = "catalog.v1.ProductService/GetProduct"
            permission = "catalog.products.read"
        };
        let fabric = echo.behind()?.cache_fronted().settings(Part::Cache, settings).start().await?;
        let nora =
            ["principal", "add", "nora", "--tenant", "north", "--role", "cart-writer", "--role", "catalog-reader"];
        fabric.manage(&nora).await?;
        let token = fabric.token("nora").await?;
        Ok(Self { echo, fabric, token })
    }

    async fn get(&self, path: &str) -> Result<HttpResponse> {
        self.fabric.get(&format!("/v1/cache/{path}")).token(&self.token).send().await
    }

    async fn send(&self, method: Method, path: &str, body: Value) -> Result<HttpResponse> {
        self.fabric.call(method, &format!("/v1/cache/{path}")).token(&self.token).json(&body).send().await
    }

    /// A read that goes on beside the test, once the upstream has it and until the barrier is told.
    async fn slow_read(&self) -> Result<(JoinSet<Result<HttpResponse>>, Arc<Notify>)> {
        let barrier = Arc::new(Notify::new());
        self.echo.script([Reply::ok(&word("hop")).after(&barrier)]);
        let (mut reads, call) = (JoinSet::new(), self.fabric.get("/v1/cache/words/hop").token(&self.token));
        reads.spawn(async move { call.send().await });
        self.echo.wait_received(self.echo.calls_received() + 1).await?;
        Ok((reads, barrier))
    }
}

async fn only(mut reads: JoinSet<Result<HttpResponse>>) -> Result<Value> {
    let answer = reads.join_next().await.expect("one")??;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn key_is_loaded_through_its_origin_and_the_next_read_hits() -> Result<()> {
    let words = Words::start().await?;
    for outcome in ["OUTCOME_URI_MISS", "OUTCOME_HIT"] {
        let entry = words.get("words/hop").await?.json()?;
        assert_eq!((&entry["value"], &entry["freshness"]["outcome"]), (&json!(HOP), &json!(outcome)));
    }
    assert_eq!(words.echo.take_received().len(), 1);
    words.fabric.stop().await
}

#[tokio::test]
async fn passport_at_the_origin_names_the_person_and_the_cache_as_newest_actor() -> Result<()> {
    let words = Words::start().await?;
    words.get("words/hop").await?;
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", words.fabric.cache.listen))?;
    let bearer = Bearer::new(&words.token)?;
    let mut cache = CacheServiceClient::with_interceptor(channel.connect_lazy(), bearer);
    cache.get(GetRequest { namespace: "words".to_owned(), key: "direct".to_owned(), consistency: None }).await?;
    let received = words.echo.take_received();
    let (fronted, direct) = (claims(&received[0]), claims(&received[1]));
    for claims in [&fronted, &direct] {
        assert_eq!((&claims["sub"], &claims["aud"]), (&json!("nora"), &json!("echo")));
    }
    assert_eq!(fronted["act"], json!({ "sub": "cache", "act": { "sub": "gateway" } }));
    assert_eq!(direct["act"], json!({ "sub": "cache" }));
    words.fabric.stop().await
}

#[tokio::test]
async fn fifty_concurrent_reads_are_one_call() -> Result<()> {
    let mut words = Words::start().await?;
    let (mut reads, barrier) = words.slow_read().await?;
    for _ in 1..50 {
        let call = words.fabric.get("/v1/cache/words/hop").token(&words.token);
        reads.spawn(async move { call.send().await });
    }
    words.fabric.cache.await_metric("accord_cache_waiters", &[], |waiters| waiters >= 50.0).await?;
    barrier.notify_one();
    let mut collapsed = 0;
    while let Some(answer) = reads.join_next().await {
        let entry = answer??.json()?;
        assert_eq!(entry["value"], HOP, "{entry}");
        collapsed += u32::from(entry["freshness"]["collapsed"] == true);
    }
    assert_eq!((collapsed, words.echo.take_received().len()), (49, 1));
    words.fabric.stop().await
}

#[tokio::test]
async fn value_put_during_a_slow_load_wins() -> Result<()> {
    let words = Words::start().await?;
    let (reads, barrier) = words.slow_read().await?;
    assert_eq!(words.send(Method::PUT, "words/hop", json!({ "value": BREAD })).await?.status, 200);
    barrier.notify_one();
    assert_eq!(only(reads).await?["value"], HOP);
    assert_eq!(words.get("words/hop").await?.json()?["value"], BREAD);
    words.fabric.stop().await
}

#[tokio::test]
async fn delete_or_invalidation_during_a_slow_load_is_not_undone() -> Result<()> {
    let words = Words::start().await?;
    for is_delete in [true, false] {
        let (reads, barrier) = words.slow_read().await?;
        let done = if is_delete {
            words.fabric.call(Method::DELETE, "/v1/cache/words/hop").token(&words.token).send().await?
        } else {
            words.send(Method::POST, "words:invalidate", json!({ "prefix": "ho" })).await?
        };
        assert_eq!(done.status, 200, "{}", done.text());
        barrier.notify_one();
        assert_eq!(only(reads).await?["value"], HOP);
        let stats = words.get("words:stats").await?.json()?;
        assert_eq!(stats.get("entries"), None, "it holds none: {stats}");
    }
    words.fabric.stop().await
}

#[tokio::test]
async fn caller_who_lacks_what_the_method_asks_for_loads_nothing() -> Result<()> {
    let words = Words::start().await?;
    words.fabric.manage(&["principal", "add", "otto", "--tenant", "north", "--role", "cart-writer"]).await?;
    let token = words.fabric.token("otto").await?;
    for path in ["/v1/cache/products/oak-desk", "/v1/products/oak-desk"] {
        let answer = words.fabric.get(path).token(&token).send().await?;
        assert_eq!((answer.status.as_u16(), reason(&answer)), (403, "PERMISSION_MISSING".to_owned()), "{path}");
    }
    assert_eq!(words.get("products:stats").await?.json()?.get("entries"), None, "it holds none");
    words.fabric.stop().await
}

#[tokio::test]
async fn origin_that_is_down_is_unavailable_with_its_name_and_reason() -> Result<()> {
    let mut words = Words::start().await?;
    assert!(words.fabric.catalog.process.terminate(Duration::from_secs(20)).await?.success());
    let answer = words.get("products/oak-desk").await?;
    assert_eq!((answer.status.as_u16(), reason(&answer)), (503, "UPSTREAM_UNAVAILABLE".to_owned()));
    assert!(answer.text().contains("upstream catalog"), "{}", answer.text());
    Ok(())
}
