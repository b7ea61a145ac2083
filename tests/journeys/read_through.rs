//! Read-through caching, `cache-status`, and the bypass of a dead cache.

use crate::{
    create,
    scripted_upstream::{Reply, ScriptedUpstream},
    wire::{GrpcCall, word},
};
use accord_fabric::{Fabric, READER};
use anyhow::Result;
use http::HeaderMap;
use std::collections::BTreeSet;
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
