//! Each key is loaded by one replica, its owner, where gateways see the replicas one by one.

use crate::{Mesh, one_by_one};
use accord_fabric::{Part, Server, http::HttpCall};
use anyhow::{Result, ensure};
use http::Method;
use serde_json::json;

const KEYS: usize = 16;

/// A mesh with products, and two gateways that see each replica.
struct Owned {
    mesh: Mesh,
    gateways: Vec<Server>,
}

impl Owned {
    async fn start(test: &str) -> Result<Self> {
        let mut mesh = Mesh::start(test).await?;
        let mut gateways = Vec::new();
        for _ in 0..2 {
            let mut gateway = mesh.fabric.another_with(Part::Gateway, one_by_one(&mesh.caches))?;
            gateway.wait_serving().await?;
            gateways.push(gateway);
        }
        for key in 0..KEYS {
            let call = HttpCall::new(gateways[0].listen, Method::POST, "/v1/products").token(&mesh.token);
            let call = call.header("idempotency-key", &format!("desk-{key}"));
            let answer = call.json(&json!({ "id": format!("desk-{key}"), "title": "Desk" })).send().await?;
            ensure!(answer.status == 200, "{}", answer.text());
        }
        Ok(Self { mesh, gateways })
    }

    /// Every key is read by both gateways at a time, and once more.
    async fn read_all(&self) -> Result<()> {
        let [first, second] = [&self.gateways[0], &self.gateways[1]].map(|gateway| self.read_at(gateway));
        tokio::try_join!(first, second).map(drop)
    }

    async fn read_at(&self, gateway: &Server) -> Result<()> {
        for key in (0..KEYS).flat_map(|key| [key; 2]) {
            let path = format!("/v1/products/desk-{key}");
            let answer = HttpCall::new(gateway.listen, Method::GET, &path).token(&self.mesh.token).send().await?;
            ensure!(answer.status == 200, "{path}: {}", answer.text());
        }
        Ok(())
    }

    /// Loads of these replicas.
    async fn loads(&self, replicas: &[usize]) -> Result<Vec<f64>> {
        let mut loads = Vec::new();
        for replica in replicas {
            loads.push(self.mesh.caches[*replica].metric("accord_cache_load_duration_seconds_count", &[]).await?);
        }
        Ok(loads)
    }
}

/// Whether two counts are the same.
fn is(count: f64, wanted: f64) -> bool {
    (count - wanted).abs() < 0.5
}

#[tokio::test]
async fn keys_are_loaded_once_whichever_gateway_is_asked_for_them() -> Result<()> {
    let owned = Owned::start("owners").await?;
    owned.read_all().await?;
    let loads = owned.loads(&[0, 1, 2]).await?;
    ensure!(is(loads.iter().sum(), f64::from(u32::try_from(KEYS)?)), "{loads:?} loads of {KEYS} keys");
    ensure!(loads.iter().filter(|loads| **loads > 0.0).count() > 1, "one replica has all keys: {loads:?}");
    owned.mesh.end().await
}

#[tokio::test]
async fn keys_of_a_killed_replica_are_loaded_once_more_and_no_others() -> Result<()> {
    let mut owned = Owned::start("heirs").await?;
    owned.read_all().await?;
    let loads = owned.loads(&[0, 1, 2]).await?;
    let own = loads[0];
    owned.mesh.caches[0].process.kill()?;
    owned.read_all().await?;
    let left = owned.loads(&[1, 2]).await?;
    let more = left.iter().sum::<f64>() - loads[1] - loads[2];
    ensure!(is(more, own), "{more} loads for {own} keys of the killed one: {loads:?} {left:?}");
    owned.mesh.end().await
}
