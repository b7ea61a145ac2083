//! Rate limits that gateways share through a Cluster of Redis nobody here wrote.

use crate::shared_limits::{connected, fabric, read};
use accord_fabric::redis::Cluster;
use accord_fabric::{Part, READER};
use anyhow::{Result, ensure};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// What the slot of the one method that is limited here depends on.
const KEY: &str = "{catalog.v1.ProductService/ListProducts}";

/// How long the gateways may take to see who has taken over.
const TAKEN_OVER: Duration = Duration::from_secs(30);

#[tokio::test]
async fn rate_limit_on_a_cluster_holds_for_two_gateways_and_outlives_a_primary() -> Result<()> {
    let mut cluster = Cluster::start(KEY).await?;
    let url = cluster.url();
    let settings = toml::toml! { shared_limits = { url = url, password = "secret", timeout = "5s" } };
    let mut fabric = fabric(settings).await?;
    let mut other = fabric.another(Part::Gateway)?;
    other.wait_serving().await?;
    connected(&mut fabric.gateway, true).await?;
    connected(&mut other, true).await?;
    let token = fabric.token(READER).await?;
    let both = [fabric.gateway.listen, other.listen];
    for (call, left) in (0..4).zip(["r=5", "r=4", "r=3", "r=2"]) {
        assert_eq!(read(both[call % 2], &token).await?, (200, Some(format!("\"principal\";{left}"))));
    }

    cluster.fail_over().await?;
    let end = Instant::now() + TAKEN_OVER;
    let counted = loop {
        let counted = read(both[0], &token).await?;
        if counted.1.as_ref().is_some_and(|left| !left.contains("local")) {
            break counted;
        }
        ensure!(Instant::now() < end, "still {counted:?}");
        sleep(Duration::from_millis(100)).await;
    };
    // The replica had what the primary had counted.
    assert_eq!(counted, (200, Some("\"principal\";r=1".to_owned())));
    fabric.stop().await
}
