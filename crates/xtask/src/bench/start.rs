//! How long a binary takes from its start until it is ready.

use std::time::Duration;

use accord_fabric::{Server, http::HttpCall};
use anyhow::{Result, ensure};
use http::Method;
use tokio::time::{Instant, sleep};

use super::{many_methods::ManyMethods, report::Figures, stage::Stage};

/// Methods in the contract.
const METHODS: u32 = 100;
/// How often it is asked whether it is ready.
const ASK: Duration = Duration::from_millis(1);
const BOUND: Duration = Duration::from_secs(30);

/// Starts each again and again, beside the others as they are; returns figures by binary.
pub(super) async fn run(stage: &Stage, rounds: u32) -> Result<Vec<(String, Vec<Figures>)>> {
    let many = ManyMethods::write(stage.directory(), METHODS)?;
    let wanted = |builder: accord_fabric::Builder| builder.overlay(&many.overlay);
    let mut fabric = stage.another(&many.descriptors, &[stage.cores.tested], wanted).await?;
    let mut all = Vec::new();
    for (name, server) in [("gateway", &mut fabric.gateway), ("auth", &mut fabric.auth), ("cache", &mut fabric.cache)] {
        let mut figures = Figures::new(name);
        for _ in 0..rounds {
            figures.add(vec![again(server, stage).await?.as_secs_f64() * 1e9]);
        }
        all.push((name.to_owned(), vec![figures]));
    }
    fabric.stop().await?;
    Ok(all)
}

async fn again(server: &mut Server, stage: &Stage) -> Result<Duration> {
    server.process.kill()?;
    let begun = Instant::now();
    stage.on_tested_core(async { server.process.restart() }).await?;
    while !is_ready(server).await {
        server.process.check()?;
        ensure!(begun.elapsed() < BOUND, "{} is not ready after {BOUND:?}", server.process.name());
        sleep(ASK).await;
    }
    Ok(begun.elapsed())
}

async fn is_ready(server: &Server) -> bool {
    let answer = HttpCall::new(server.admin, Method::GET, "/readyz").send().await;
    answer.is_ok_and(|answer| answer.status.is_success())
}
