//! Read-through caching, `cache-status`, and the bypass of a dead cache.

use crate::{
    create,
    scripted_upstream::{Reply, ScriptedUpstream},
    wire::{GrpcCall, word},
};
use accord_fabric::{Fabric, Part, READER};
use anyhow::Result;
use http::HeaderMap;
use std::{collections::BTreeSet, sync::Arc};
use tokio::{sync::Notify, task::JoinSet};
use toml::toml;
use tonic::{Code, Status};

#[tokio::test]
async fn second_read_is_a_cache_hit_with_cache_status() -> Result<()> {
    let fabric = Fabric::start().await?;
    create(&fabric, "Oak desk").await?;
    let token = fabric.token(READER).await?;
    let read = || fabric.get("/v1/products/oak-desk").token(&token);

    let first = read().send().await?;
    assert!(first.header("cache-status").unwrap().starts_with("accord; fwd=uri-miss"), "{:?}", first.headers);
    let second = read().send().await?;
    assert!(second.header("cache-status").unwrap().starts_with("accord; hit; ttl="), "{:?}", second.headers);
    assert!(second.header("age").is_some());
    assert_eq!(first.body, second.body);

    let fresh = read().header("cache-control", "no-cache").send().await?;
    assert!(fresh.header("cache-status").unwrap().starts_with("accord; fwd=request"), "{:?}", fresh.headers);
    fabric.stop().await
}

#[tokio::test]
async fn bypass_of_a_dead_cache_carries_declared_headers_only() -> Result<()> {
    let echo = ScriptedUpstream::start().await?;
    let mut fabric = echo.behind()?.start().await?;
    fabric.cache.process.kill()?;
    let names = |headers: &HeaderMap| -> BTreeSet<_> {
        let names = headers.keys().map(|name| name.as_str().to_owned());
        names.filter(|name| name.starts_with("x-") && !name.starts_with("x-accord") && name != "x-request-id").collect()
    };
    for end in [Status::new(Code::Ok, ""), Status::not_found("no")] {
        let reply = Reply::unfinished().head("x-edition", "2").head("x-other", "1").message(&word("w"));
        let reply = || reply.clone().status(&end).trailer("x-edition-bin", "AAE").trailer("x-more", "1");
        echo.script([reply(), reply()]);
        let grpc = GrpcCall::new(&fabric, "Recall", "w").header("x-dialect", "north").header("x-other", "1");
        let grpc = grpc.header("user-agent", "caller").send().await?;
        assert_eq!(grpc.code(), end.code());
        let carried = &names(&grpc.head) | &names(&grpc.trailers);
        assert_eq!(carried, ["x-edition", "x-edition-bin"].map(String::from).into());
        let json = fabric.get("/v1/words/w").header("x-dialect", "north").header("x-other", "1").send().await?;
        assert_eq!((json.header("x-edition"), json.header("x-other")), (Some("2"), None), "{:?}", json.headers);
        assert_eq!(json.header("cache-status"), Some("accord; fwd=bypass"));
    }
    let received = echo.take_received();
    assert_eq!(received.len(), 4);
    for call in received {
        assert_eq!(names(&call.headers), ["x-dialect".to_owned()].into(), "{:?}", call.headers);
        assert_ne!(call.headers["user-agent"], "caller");
        assert!(call.headers.contains_key("grpc-timeout") && call.headers.contains_key("x-request-id"));
    }
    fabric.stop().await
}

#[tokio::test]
async fn reads_past_a_cache_without_room_are_bounded_and_then_refused() -> Result<()> {
    let echo = ScriptedUpstream::start().await?;
    let waiters = toml! {
        [engine]
        max_waiters = 10
    };
    let bypassed = toml! {
        [cache]
        max_bypassed = 5
    };
    let fabric = echo.behind()?.settings(Part::Cache, waiters).settings(Part::Gateway, bypassed).start().await?;
    let barrier = Arc::new(Notify::new());
    echo.script(vec![Reply::ok(&word("hop")).after(&barrier); 40]);
    let mut reads = JoinSet::new();
    for _ in 0..40 {
        reads.spawn(GrpcCall::new(&fabric, "Recall", "hop").send());
    }
    for _ in 0..25 {
        let refused = reads.join_next().await.expect("forty")??;
        assert_eq!(refused.refusal(), (Code::ResourceExhausted, "OVERLOADED".to_owned()));
    }
    let mut answered = 0;
    while answered < 15 {
        tokio::select! {
            answer = reads.join_next() => {
                assert_eq!(answer.expect("fifteen")??.ok()?, word("hop"));
                answered += 1;
            }
            () = tokio::task::yield_now() => barrier.notify_waiters(),
        }
    }
    assert_eq!(echo.take_received().len(), 6, "one load, and five past it");
    fabric.stop().await
}

#[tokio::test]
async fn only_if_cached_gets_a_stored_answer_or_a_refusal_and_calls_no_upstream() -> Result<()> {
    let echo = ScriptedUpstream::start().await?;
    let mut fabric = echo.behind()?.start().await?;
    let grpc = |wish: &'static str| GrpcCall::new(&fabric, "Recall", "hop").header("cache-control", wish).send();
    let json = |wish: &'static str| fabric.get("/v1/words/hop").header("cache-control", wish).send();
    let refused = (Code::FailedPrecondition, "ANSWER_NOT_STORED".to_owned());
    assert_eq!(grpc("only-if-cached").await?.refusal(), refused);
    let told = json("only-if-cached").await?;
    assert_eq!(told.status, 504);
    assert!(told.text().contains("leave `only-if-cached` out"), "{}", told.text());
    assert!(echo.take_received().is_empty());
    assert_eq!(grpc("max-age=60").await?.ok()?, word("hop"));
    echo.take_received();
    assert!(grpc("only-if-cached").await?.head["cache-status"].to_str()?.starts_with("accord; hit"));
    assert!(json("only-if-cached").await?.header("cache-status").unwrap().starts_with("accord; hit"));
    for wish in ["only-if-cached, no-cache", "only-if-cached, no-store"] {
        assert_eq!(grpc(wish).await?.refusal(), refused, "{wish}");
    }
    fabric.cache.process.kill()?;
    let gone = fabric.get("/v1/words/hop").header("cache-control", "only-if-cached").send().await?;
    assert_eq!(gone.status, 504, "{}", gone.text());
    assert!(gone.text().contains("ANSWER_NOT_STORED"), "{}", gone.text());
    assert!(echo.take_received().is_empty());
    fabric.stop().await
}

#[tokio::test]
async fn read_that_asks_not_to_be_stored_leaves_the_cache_as_it_is() -> Result<()> {
    let (echo, fabric) = ScriptedUpstream::behind_gateway().await?;
    let ask = |wish: &'static str| GrpcCall::new(&fabric, "Recall", "hop").header("cache-control", wish).send();
    for (wish, status, calls) in [
        ("no-store", "accord; fwd=request", 1),
        ("max-age=60", "accord; fwd=uri-miss", 1),
        ("no-store", "accord; fwd=request", 1),
        ("min-fresh=10", "accord; hit", 0),
        ("min-fresh=59", "accord; fwd=stale", 1),
    ] {
        let answer = ask(wish).await?;
        let told = answer.head["cache-status"].to_str()?;
        assert!(told.starts_with(status), "{wish}: {told}");
        assert_eq!(echo.take_received().len(), calls, "{wish}");
    }
    fabric.stop().await
}
