//! Endpoints from a Kubernetes API server that come and go while calls are under way, on the real gateway.

use crate::{
    load::under_load,
    scripted_upstream::{OVERLAY, ScriptedUpstream},
    wire::{GrpcCall, word},
};
use accord_fabric::{Fabric, Part};
use accord_test_kubernetes::{Server, Watch, slice, status};
use anyhow::{Result, ensure};
use serde_json::Value;
use std::{net::SocketAddr, time::Duration};
use tokio::time::Instant;
use toml::toml;

const BOUND: Duration = Duration::from_secs(30);

/// So many calls that an endpoint which is known would have got some: of two, it is left out of 40 once in 10^12 times.
const CALLS: usize = 40;

/// The endpoints of a Service, each in a slice of its own, since each has its own port.
struct Endpoints<const N: usize>([ScriptedUpstream; N]);

impl<const N: usize> Endpoints<N> {
    async fn start() -> Result<Self> {
        let mut started = Vec::new();
        for _ in 0..N {
            started.push(ScriptedUpstream::start().await?);
        }
        Ok(Self(started.try_into().unwrap_or_else(|_| unreachable!("as many as were started"))))
    }

    fn slice(&self, index: usize, version: &str) -> Value {
        let address: SocketAddr = self.0[index].url().trim_start_matches("http://").parse().expect("an address");
        slice(&format!("echo-{index}"), version, address.port(), &[address.ip().to_string()])
    }

    /// Waits until the calls go to these endpoints, and to no others.
    async fn take_calls(&self, expected: &[usize]) -> Result<()> {
        let end = Instant::now() + BOUND;
        loop {
            let before = self.0.each_ref().map(ScriptedUpstream::calls_received);
            let received = || self.0.each_ref().map(ScriptedUpstream::calls_received);
            let since = || received().iter().zip(before).map(|(now, before)| now - before).collect::<Vec<_>>();
            while since().iter().sum::<usize>() < CALLS {
                ensure!(Instant::now() < end, "no calls come");
                tokio::task::yield_now().await;
            }
            let called: Vec<_> = (0..N).filter(|index| since()[*index] > 0).collect();
            if called == expected {
                return Ok(());
            }
            ensure!(Instant::now() < end, "{called:?} get calls instead of {expected:?}");
        }
    }
}

/// A fabric whose gateway finds its upstream by this API server, which first lists these slices. The cache is told no endpoints: it
/// is not called.
async fn start(server: &mut Server, slices: &[Value]) -> Result<(Fabric, Watch)> {
    let url = server.url.clone();
    let builder = Fabric::builder()?
        .upstream("echo", "http+k8s://echo.shop:grpc")
        .overlay(OVERLAY)
        .settings(Part::Gateway, toml! { discovery = { kubernetes = { url = url } } })
        .settings(Part::Cache, toml! { discovery = { kubernetes = { url = "http://127.0.0.1:1" } } });
    let answered = async {
        server.list("1", slices).await;
        anyhow::Ok(server.watch("1").await)
    };
    tokio::try_join!(builder.start(), answered)
}

async fn call(gateway: SocketAddr) -> Result<()> {
    let call = GrpcCall::to(gateway, "/echo.v1.EchoService/Say").body(word("hop"));
    call.send().await?.ok().map(drop)
}

#[tokio::test]
async fn endpoints_of_kubernetes_that_come_and_go_under_load_lose_no_call() -> Result<()> {
    let (echo, mut server) = (Endpoints::<3>::start().await?, Server::start().await);
    let (fabric, watch) = start(&mut server, &[echo.slice(0, "1")]).await?;
    let gateway = fabric.gateway.listen;
    under_load(|| call(gateway), async {
        echo.take_calls(&[0]).await?;
        watch.event("ADDED", &echo.slice(1, "2")).await;
        echo.take_calls(&[0, 1]).await?;
        watch.event("DELETED", &echo.slice(0, "3")).await;
        echo.take_calls(&[1]).await?;
        // The events between are gone: only a list says what there is.
        watch.event("ERROR", &status(410, "Expired")).await;
        server.list("50", &[echo.slice(1, "2"), echo.slice(2, "40")]).await;
        echo.take_calls(&[1, 2]).await?;
        let watch = server.watch("50").await;
        watch.event("DELETED", &echo.slice(1, "51")).await;
        echo.take_calls(&[2]).await
    })
    .await?;
    fabric.stop().await
}

#[tokio::test]
async fn api_server_that_restarts_under_load_loses_no_call_and_is_watched_from_the_last_bookmark() -> Result<()> {
    let (echo, mut server) = (Endpoints::<2>::start().await?, Server::start().await);
    let (fabric, watch) = start(&mut server, &[echo.slice(0, "1")]).await?;
    let gateway = fabric.gateway.listen;
    under_load(|| call(gateway), async {
        watch.event("ADDED", &echo.slice(1, "2")).await;
        watch.bookmark("90").await;
        echo.take_calls(&[0, 1]).await?;
        drop(watch);
        let address = server.stop().await;
        echo.take_calls(&[0, 1]).await?;
        let mut server = Server::at_address(address).await;
        let watch = server.watch("90").await;
        watch.event("DELETED", &echo.slice(0, "91")).await;
        echo.take_calls(&[1]).await
    })
    .await?;
    fabric.stop().await
}
