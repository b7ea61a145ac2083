//! Versions of an upstream: shares of the calls, header matches, and answers that never mix.

use crate::{
    scripted_upstream::{Reply, ScriptedUpstream},
    wire::{GrpcCall, GrpcResponse, word},
};
use accord_fabric::{Builder, Fabric, Part};
use anyhow::Result;
use futures_util::future::try_join_all;
use http::Method;
use serde_json::json;
use toml::toml;
use tonic::Code;

/// The upstream's own endpoints, and a version of it.
struct Versions {
    own: ScriptedUpstream,
    canary: ScriptedUpstream,
}

impl Versions {
    async fn start() -> Result<Self> {
        Ok(Self { own: ScriptedUpstream::start().await?, canary: ScriptedUpstream::start().await? })
    }

    /// With these weights; calls with `x-canary: 1` go to the version.
    fn behind(&self, own: u32, canary: u32) -> Result<Builder> {
        let (own, canary, url) = (i64::from(own), i64::from(canary), self.canary.url());
        let versions = toml! {
            weight = own
            [[version]]
            name = "canary"
            urls = [url]
            weight = canary
            match = { x-canary = "1" }
        };
        Ok(self.own.behind()?.upstream_settings("echo", versions))
    }

    /// How many calls each has received since it was last asked.
    fn take_received(&self) -> [usize; 2] {
        [&self.own, &self.canary].map(|echo| echo.take_received().len())
    }
}

/// Two versions, of which the canary gets only calls that its header fits.
async fn by_header() -> Result<(Versions, Fabric)> {
    let versions = Versions::start().await?;
    let fabric = versions.behind(1, 0)?.start().await?;
    Ok((versions, fabric))
}

fn canary(fabric: &Fabric, method: &str) -> GrpcCall {
    GrpcCall::new(fabric, method, "hop").header("x-canary", "1")
}

/// Of 1,000 calls 200 are expected with a standard deviation of 12.6. Five of them are exceeded once in 1.7 million runs.
const SHARE: std::ops::RangeInclusive<usize> = 137..=263;

#[tokio::test]
async fn version_gets_its_share_of_calls_by_weight() -> Result<()> {
    let versions = Versions::start().await?;
    let fabric = versions.behind(80, 20)?.start().await?;
    for _ in 0..20 {
        let calls = (0..50).map(|_| GrpcCall::new(&fabric, "Say", "hop").header("x-canary", "0").send());
        for answer in try_join_all(calls).await? {
            answer.ok()?;
        }
    }
    let [own, canary] = versions.take_received();
    assert_eq!(own + canary, 1_000);
    assert!(SHARE.contains(&canary), "{canary} of 1000");
    fabric.stop().await
}

#[tokio::test]
async fn call_goes_to_the_version_that_its_header_fits_in_every_form() -> Result<()> {
    let (versions, fabric) = by_header().await?;
    for method in ["Say", "Change", "Repeat", "Recite", "Converse", "Gather"] {
        canary(&fabric, method).send().await?.ok()?;
        assert_eq!(versions.take_received(), [0, 1], "{method}");
        canary(&fabric, method).header("x-canary", "2").send().await?.ok()?;
        assert_eq!(versions.take_received(), [1, 0], "{method}");
    }
    for (method, path) in [(Method::POST, "/v1/words/hop:change"), (Method::GET, "/v1/words/hop:recite")] {
        let answer = fabric.call(method.clone(), path).header("x-canary", "1").send().await?;
        assert_eq!((answer.status.as_u16(), versions.take_received()), (200, [0, 1]), "{path}");
        let answer = fabric.call(method, path).send().await?;
        assert_eq!((answer.status.as_u16(), versions.take_received()), (200, [1, 0]), "{path}");
    }
    fabric.stop().await
}

#[tokio::test]
async fn retries_and_hedged_attempts_stay_in_the_version() -> Result<()> {
    let (versions, fabric) = by_header().await?;
    for method in ["Repeat", "Chase"] {
        versions.canary.script([Reply::error(Code::Unavailable), Reply::error(Code::Unavailable)]);
        canary(&fabric, method).send().await?.ok()?;
        assert_eq!(versions.take_received(), [0, 3], "{method}");
    }
    versions.canary.script([Reply::unfinished()]);
    canary(&fabric, "Race").send().await?.ok()?;
    assert_eq!(versions.take_received(), [0, 2], "hedged");
    fabric.stop().await
}

#[tokio::test]
async fn version_that_is_down_fails_its_calls_and_leaves_others_alone() -> Result<()> {
    let (versions, fabric) = by_header().await?;
    versions.canary.script([Reply::closes_connection()]);
    let refused = canary(&fabric, "Say").send().await?;
    assert_eq!(refused.refusal(), (Code::Unavailable, "UPSTREAM_UNAVAILABLE".into()));
    assert!(refused.status().message().contains("echo/canary"), "{:?}", refused.status());
    assert_eq!(versions.take_received(), [0, 1]);
    GrpcCall::new(&fabric, "Say", "hop").send().await?.ok()?;
    fabric.stop().await
}

fn cache_status(answer: &GrpcResponse) -> &str {
    answer.head.get("cache-status").and_then(|status| status.to_str().ok()).unwrap_or_default()
}

/// Scripts what each answers to the next call.
fn answers(versions: &Versions) {
    versions.own.script([Reply::ok(&word("own"))]);
    versions.canary.script([Reply::ok(&word("canary"))]);
}

#[tokio::test]
async fn cached_answers_of_versions_are_not_mixed() -> Result<()> {
    let (versions, fabric) = by_header().await?;
    answers(&versions);
    for found in ["accord; fwd=uri-miss", "accord; hit"] {
        let of_own = GrpcCall::new(&fabric, "Recall", "hop").send().await?;
        let of_canary = canary(&fabric, "Recall").send().await?;
        for (answer, expected) in [(of_own, word("own")), (of_canary, word("canary"))] {
            assert!(cache_status(&answer).starts_with(found), "{answer:?}");
            assert_eq!(answer.ok()?, expected);
        }
    }
    assert_eq!(versions.take_received(), [1, 1]);
    fabric.stop().await
}

#[tokio::test]
async fn write_invalidates_what_is_cached_of_every_version() -> Result<()> {
    let (versions, fabric) = by_header().await?;
    let read = || async {
        try_join_all([GrpcCall::new(&fabric, "Recall", "hop"), canary(&fabric, "Recall")].map(GrpcCall::send)).await
    };
    read().await?;
    read().await?;
    assert_eq!(versions.take_received(), [1, 1]);
    GrpcCall::new(&fabric, "Change", "hop").send().await?.ok()?;
    read().await?;
    assert_eq!(versions.take_received(), [2, 1]);
    fabric.stop().await
}

#[tokio::test]
async fn near_answers_of_versions_are_not_mixed() -> Result<()> {
    let versions = Versions::start().await?;
    let fabric = versions.behind(1, 0)?.overlay("tests/journeys/versions.toml").start().await?;
    answers(&versions);
    let mut near = [false; 2];
    for _ in 0..1_000 {
        let of_own = GrpcCall::new(&fabric, "Recall", "hop").send().await?;
        let of_canary = canary(&fabric, "Recall").send().await?;
        for (place, (answer, expected)) in [(of_own, word("own")), (of_canary, word("canary"))].into_iter().enumerate()
        {
            near[place] |= cache_status(&answer).starts_with("accord-near; hit");
            assert_eq!(answer.ok()?, expected);
        }
        if near == [true; 2] {
            return fabric.stop().await;
        }
    }
    anyhow::bail!("both versions were never answered near: {near:?}")
}

#[tokio::test]
async fn version_that_the_cache_does_not_know_is_read_past_it_with_the_reason() -> Result<()> {
    let versions = Versions::start().await?;
    let url = versions.own.url();
    let without = toml! {
        [[upstream]]
        name = "echo"
        urls = [url]
    };
    let fabric = versions.behind(1, 0)?.settings(Part::Cache, without).start().await?;
    for _ in 0..2 {
        let answer = canary(&fabric, "Recall").send().await?;
        assert_eq!(cache_status(&answer), "accord; fwd=bypass; detail=upstream-unknown", "{answer:?}");
    }
    assert!(cache_status(&GrpcCall::new(&fabric, "Recall", "hop").send().await?).starts_with("accord; fwd=uri-miss"));
    assert_eq!(versions.take_received(), [1, 2]);
    let method = [("rpc_method", "echo.v1.EchoService/Recall")];
    assert!((fabric.gateway.metric("accord_gateway_cache_bypassed_total", &method).await? - 2.0).abs() < 0.5);
    fabric.stop().await
}

#[tokio::test]
async fn version_of_a_call_stands_in_the_access_log_and_in_metrics() -> Result<()> {
    let (_versions, mut fabric) = by_header().await?;
    canary(&fabric, "Say").header("x-request-id", "by-canary").send().await?.ok()?;
    GrpcCall::new(&fabric, "Say", "hop").header("x-request-id", "by-own").send().await?.ok()?;
    for (id, version) in [("by-canary", "canary"), ("by-own", "default")] {
        let line = &fabric.gateway.await_access_log(id, 1).await?[0];
        assert_eq!(line["version"], json!(version), "{line}");
        let labels = [("rpc_method", "echo.v1.EchoService/Say"), ("accord_version", version)];
        fabric.gateway.await_metric("rpc_server_call_duration_seconds_count", &labels, |calls| calls > 0.5).await?;
    }
    let attempts = [("upstream", "echo/canary"), ("response_headers_received", "true")];
    fabric.gateway.await_metric("accord_upstream_attempts_total", &attempts, |calls| calls >= 1.0).await?;
    fabric.stop().await
}
