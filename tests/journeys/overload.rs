//! Overload of an upstream with the limit that every upstream has: what is refused, and who is served meanwhile.

mod few_workers;

use crate::wire::{GrpcCall, GrpcResponse};
use accord_fabric::Fabric;
use anyhow::{Context, Result};
use few_workers::FewWorkers;
use std::{net::Ipv4Addr, time::Duration};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tonic::Code;
use tonic_types::StatusExt;

/// 40 calls a second.
const WORKERS: usize = 4;
const SERVICE: Duration = Duration::from_millis(100);
/// Three times as many.
const EVERY: Duration = Duration::from_micros(8_333);
/// No more may wait for a worker. Three seconds of calls wait without a limit, which are 120.
const QUEUE: usize = 50;
const REFUSED: &str = "accord_upstream_overloaded_total";

/// An upstream, and a gateway that knows how long its answers take.
async fn calm() -> Result<(FewWorkers, Fabric)> {
    let upstream = FewWorkers::start(WORKERS, SERVICE).await?;
    let builder = Fabric::builder()?.upstream("echo", upstream.url()).overlay("tests/journeys/overload/overlay.toml");
    let fabric = builder.start().await?;
    for _ in 0..12 {
        let both = ["Say", "Change"].map(|method| GrpcCall::new(&fabric, method, "").send());
        for answer in futures_util::future::try_join_all(both).await? {
            answer.ok()?;
        }
    }
    Ok((upstream, fabric))
}

/// Calls that come at three times the capacity, whatever becomes of them, until it is dropped.
struct Overload {
    refused: watch::Receiver<Option<GrpcResponse>>,
    _calls: JoinSet<()>,
}

impl Overload {
    /// By so many callers in turn; until many of them were refused, and what queued before that is gone.
    async fn of(method: &str, callers: u8, upstream: &FewWorkers, fabric: &mut Fabric) -> Result<Self> {
        let (call, (told, refused)) = (GrpcCall::new(fabric, method, ""), watch::channel(None));
        let mut calls = JoinSet::new();
        calls.spawn(async move {
            let (mut under_way, mut due) = (JoinSet::new(), interval(EVERY));
            due.set_missed_tick_behavior(MissedTickBehavior::Burst);
            for caller in (0..callers).cycle() {
                due.tick().await;
                let (call, told) = (call.clone().from(Ipv4Addr::new(127, 0, 1, 1 + caller)), told.clone());
                under_way.spawn(async move {
                    if let Ok(answer) = call.send().await
                        && answer.code() == Code::ResourceExhausted
                    {
                        told.send_replace(Some(answer));
                    }
                });
                while under_way.try_join_next().is_some() {}
            }
        });
        fabric.gateway.await_metric(REFUSED, &[("limit", "adaptive")], |refused| refused >= 50.0).await?;
        upstream.await_account(|account| account.queued <= WORKERS).await?;
        upstream.open_account();
        Ok(Self { refused, _calls: calls })
    }
}

/// Calls one after another, all of which succeed.
async fn succeed(fabric: &Fabric) -> Result<()> {
    for _ in 0..20 {
        GrpcCall::new(fabric, "Say", "").send().await?.ok()?;
    }
    Ok(())
}

#[tokio::test]
async fn queue_of_an_upstream_stays_short_at_three_times_its_capacity() -> Result<()> {
    let (upstream, mut fabric) = calm().await?;
    let _overload = Overload::of("Say", 8, &upstream, &mut fabric).await?;
    let account = upstream.await_account(|account| account.worked_on >= 100).await?;
    assert!(account.most_queued <= QUEUE, "{account:?}");
    fabric.stop().await
}

#[tokio::test]
async fn upstream_works_on_calls_whose_callers_wait_at_three_times_its_capacity() -> Result<()> {
    let (upstream, mut fabric) = calm().await?;
    let _overload = Overload::of("Say", 8, &upstream, &mut fabric).await?;
    let account = upstream.await_account(|account| account.worked_on >= 100).await?;
    assert!(account.in_vain * 10 <= account.worked_on, "{account:?}");
    fabric.stop().await
}

#[tokio::test]
async fn neighbour_is_served_while_one_caller_calls_three_times_the_capacity_of_an_upstream() -> Result<()> {
    let (upstream, mut fabric) = calm().await?;
    let _greedy = Overload::of("Say", 1, &upstream, &mut fabric).await?;
    succeed(&fabric).await?;
    fabric.stop().await
}

#[tokio::test]
async fn critical_calls_are_served_while_sheddable_ones_are_refused() -> Result<()> {
    let (upstream, mut fabric) = calm().await?;
    let _overload = Overload::of("Change", 8, &upstream, &mut fabric).await?;
    succeed(&fabric).await?;
    fabric.stop().await
}

#[tokio::test]
async fn call_over_the_adaptive_limit_is_resource_exhausted_with_retry_info() -> Result<()> {
    let (upstream, mut fabric) = calm().await?;
    let mut overload = Overload::of("Say", 8, &upstream, &mut fabric).await?;
    let refused = overload.refused.wait_for(Option::is_some).await?.clone().context("a refused call")?;
    assert_eq!(refused.refusal(), (Code::ResourceExhausted, "UPSTREAM_OVERLOADED".to_owned()));
    assert!(refused.status().get_details_retry_info().is_some_and(|retry| retry.retry_delay.is_some()));
    fabric.stop().await
}
