//! What a gateway has in memory: at its start, and for each connection that is idle.

use std::fs;

use accord_fabric::EDITOR;
use anyhow::Result;

use super::{many_methods::ManyMethods, report::Figures, rounds::WARM_UP, stage::Stage, varied::Varied};
use crate::memory::resident;

/// Methods in the contract.
const METHODS: u32 = 100;
/// Connections that are opened at a time, each with one call before it is idle.
const CONNECTIONS: u32 = 1000;
/// An address may have half of the connections that there may be.
const MOST_ROUNDS: u32 = 4;

/// Measures both. What is idle stays: each round opens connections beside those before.
pub(super) async fn run(stage: &Stage, varied: &Varied, rounds: u32) -> Result<Vec<(String, Vec<Figures>)>> {
    let many = ManyMethods::write(stage.directory(), METHODS)?;
    let wanted = |builder: accord_fabric::Builder| builder.overlay(&many.overlay);
    let fabric = stage.another(&many.descriptors, &[stage.cores.tested], wanted).await?;
    let process = fabric.gateway.process.id();
    let mut start = Figures::new("gateway");
    start.add(vec![resident(process, "VmRSS")?]);
    let tokens = stage.directory().join("memory-token");
    fs::write(&tokens, fabric.token(EDITOR).await?)?;
    let tokens = tokens.display().to_string();
    let open = |connections: u32, requests: u32| {
        let count = connections.to_string();
        let path = "/bench.v1.BenchService/GetLimited";
        let flags = ["--path", path, "--tokens", &tokens, "--streams", "1", "--connections", &count];
        let session = varied.session(fabric.gateway.listen, &flags.map(str::to_owned))?;
        session.send(requests).map(|()| session)
    };
    // What is there once, whatever the connections.
    let mut sessions = vec![open(8, WARM_UP)?];
    let mut connection = Figures::new("gateway");
    for _ in 0..rounds.min(MOST_ROUNDS) {
        let before = resident(process, "VmRSS")?;
        sessions.push(open(CONNECTIONS, CONNECTIONS)?);
        connection.add(vec![(resident(process, "VmRSS")? - before) / f64::from(CONNECTIONS)]);
    }
    drop(sessions);
    fabric.stop().await?;
    Ok(vec![("start".to_owned(), vec![start]), ("connection".to_owned(), vec![connection])])
}
