//! Answers from the memory of gateways, under leases of replicas.

use crate::{Mesh, SOON};
use accord_fabric::http::HttpResponse;
use anyhow::{Context, Result, ensure};
use tokio::time::timeout;

/// Each takes a second: so long a key that was written is leased to nobody.
const ROUNDS: usize = 3;

fn is_near(answer: &HttpResponse) -> bool {
    answer.header("cache-status").is_some_and(|source| source.starts_with("accord-near; hit"))
}

impl Mesh {
    /// Reads until both gateways answer from memory.
    async fn until_near(&self) -> Result<()> {
        let reading = async {
            loop {
                let answers = self.reads().await?;
                let (first, second) = answers.split_at(answers.len() - 2);
                if first.iter().any(is_near) && second.iter().all(is_near) {
                    return anyhow::Ok(());
                }
            }
        };
        timeout(SOON, reading).await.context("gateways do not answer from memory")?
    }
}

#[tokio::test]
async fn read_after_acknowledged_write_sees_it_where_gateways_answered_from_memory() -> Result<()> {
    let mut mesh = Mesh::start("near").await?;
    let mut acknowledged = 0;
    while acknowledged < ROUNDS {
        mesh.until_near().await?;
        acknowledged += usize::from(mesh.write_and_read().await?);
    }
    for gateway in &mesh.gateways {
        let hits = gateway.metric("accord_gateway_near_reads_total", &[("outcome", "hit")]).await?;
        ensure!(hits > 0.0, "{hits} near hits");
    }
    mesh.end().await
}
