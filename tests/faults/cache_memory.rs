//! The memory of the cache, while values of all sizes come and go.

use accord_api::accord::cache::v1::{PutRequest, StatsRequest, cache_service_client::CacheServiceClient};
use accord_fabric::{Bearer, Fabric, Part, memory::resident};
use anyhow::Result;
use std::iter;
use toml::toml;
use tonic::{service::interceptor::InterceptedService, transport::Channel};

/// Bytes of all entries.
const CAPACITY: u64 = 32 << 20;
/// What the process may grow by: one and a half times that, and its connections. A release starts with less than the 30 MiB that
/// are promised beside it, a development build with more.
const GROWTH: f64 = 56.0 * 1024.0 * 1024.0;
/// The largest value.
const LARGEST: u64 = 1_000_000;

#[tokio::test]
async fn memory_stays_within_its_bound_while_four_times_the_capacity_is_put() -> Result<()> {
    let settings = toml! {
        [engine]
        capacity_bytes = 33_554_432

        [[namespace]]
        name = "blobs"
        read_permission = "carts.read"
        write_permission = "carts.write"
        max_value_bytes = 1_000_000
        max_bytes = 33_554_432
    };
    let fabric = Fabric::builder()?.cache_fronted().settings(Part::Cache, settings).start().await?;
    fabric.manage(&["principal", "add", "nora", "--tenant", "north", "--role", "cart-writer"]).await?;
    let mut client = client(&fabric, &fabric.token("nora").await?)?;
    let at_start = resident(fabric.cache.process.id(), "VmRSS")?;
    let mut put = 0;
    for (key, size) in (0..).zip(sizes()) {
        if put > 4 * CAPACITY {
            break;
        }
        put += size;
        let (namespace, value) = ("blobs".to_owned(), vec![0; usize::try_from(size)?]);
        client
            .put(PutRequest { namespace, key: format!("{key}"), value: value.into(), ..PutRequest::default() })
            .await?;
        let stats = client.stats(StatsRequest { namespace: "blobs".to_owned() }).await?.into_inner();
        assert!(stats.bytes <= CAPACITY, "{} bytes after {key} values", stats.bytes);
        let growth = resident(fabric.cache.process.id(), "VmRSS")? - at_start;
        assert!(growth <= GROWTH, "{growth} bytes more in memory after {key} values");
    }
    let stats = client.stats(StatsRequest { namespace: "blobs".to_owned() }).await?.into_inner();
    assert!(stats.bytes > CAPACITY / 2, "what could be kept was not: {} bytes", stats.bytes);
    fabric.stop().await
}

/// Of one byte up to the largest, each order of magnitude as often as another.
fn sizes() -> impl Iterator<Item = u64> {
    let seeds =
        iter::successors(Some(1_u64), |seed| Some(seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1)));
    seeds.map(|seed| {
        let most = 10_u64.pow(u32::try_from(seed >> 33).unwrap_or_default() % 6 + 1);
        ((seed >> 20) % most + 1).min(LARGEST)
    })
}

fn client(fabric: &Fabric, token: &str) -> Result<CacheServiceClient<InterceptedService<Channel, Bearer>>> {
    let channel = Channel::from_shared(format!("http://{}", fabric.gateway.listen))?.connect_lazy();
    Ok(CacheServiceClient::with_interceptor(channel, Bearer::new(token)?))
}
