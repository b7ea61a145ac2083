//! What a gateway has in memory: at its start, and for each connection that is idle; and what principals take.

use std::{fs, net::SocketAddr};

use accord_fabric::{Builder, EDITOR, Fabric, Part};
use anyhow::{Context, Result};
use toml::toml;

use super::{
    many_methods::ManyMethods,
    principals,
    report::Figures,
    rounds::WARM_UP,
    stage::Stage,
    varied::{Session, Varied},
};
use crate::memory::resident;

/// Methods in the contract.
const METHODS: u32 = 100;
/// Connections that are opened at a time, each with one call before it is idle.
const CONNECTIONS: u32 = 1000;
/// One caller has them all, and all have a call at the same time.
const IN_FLIGHT: i64 = 16_384;
/// An address may have half of the connections that there may be.
const MOST_ROUNDS: u32 = 4;

/// Measures all of it, in parts.
pub(super) async fn run(stage: &Stage, varied: &Varied, rounds: u32) -> Result<Vec<(String, Vec<Figures>)>> {
    let many = ManyMethods::write(stage.directory(), METHODS)?;
    let limits = toml! {
        [limits]
        max_in_flight = IN_FLIGHT
    };
    let wanted = |builder: Builder| {
        let builder = builder.overlay(&many.overlay).settings(Part::Gateway, limits);
        builder.upstream_settings("bench", toml! { max_in_flight = IN_FLIGHT })
    };
    let mut fabric = stage.another(&many.descriptors, &[stage.cores.tested], wanted).await?;
    let mut start = Figures::new("gateway");
    start.add(vec![resident(fabric.gateway.process.id(), "VmRSS")?]);
    let mut parts = vec![("start".to_owned(), vec![start])];
    parts.push(("connection".to_owned(), connections(&fabric, stage, varied, rounds).await?));
    parts.extend(principals::run(&mut fabric).await?);
    fabric.stop().await?;
    Ok(parts)
}

/// Who has connections.
struct Server {
    name: &'static str,
    address: SocketAddr,
    process: u32,
    path: &'static [&'static str],
}

/// A gateway's, beside those of a server that is hyper alone.
async fn connections(fabric: &Fabric, stage: &Stage, varied: &Varied, rounds: u32) -> Result<Vec<Figures>> {
    let tokens = stage.directory().join("memory-token");
    fs::write(&tokens, fabric.token(EDITOR).await?)?;
    let (address, process) = (fabric.gateway.listen, fabric.gateway.process.id());
    let path = &["--path", "/bench.v1.BenchService/GetLimited"][..];
    let mut servers = vec![Server { name: "gateway", address, process, path }];
    if let Some(floor) = stage.floors.get("floor: hyper") {
        let (address, process, path) = (floor.address, floor.process.id(), &["--protocol", "h2", "--path", "/"][..]);
        servers.push(Server { name: "floor: hyper", address, process, path });
    }
    let tokens = tokens.display().to_string();
    servers.iter().map(|server| server.connections(&tokens, varied, rounds)).collect()
}

impl Server {
    /// What is idle stays: each round opens connections beside those before.
    fn connections(&self, tokens: &str, varied: &Varied, rounds: u32) -> Result<Figures> {
        // What is there once, whatever the connections.
        let mut sessions = vec![self.open(tokens, varied, 8, WARM_UP)?];
        let mut figures = Figures::new(self.name);
        for _ in 0..rounds.min(MOST_ROUNDS) {
            let before = resident(self.process, "VmRSS")?;
            sessions.push(self.open(tokens, varied, CONNECTIONS, CONNECTIONS)?);
            figures.add(vec![(resident(self.process, "VmRSS")? - before) / f64::from(CONNECTIONS)]);
        }
        Ok(figures)
    }

    fn open(&self, tokens: &str, varied: &Varied, connections: u32, requests: u32) -> Result<Session> {
        let count = connections.to_string();
        let flags = [self.path, &["--tokens", tokens, "--streams", "1", "--connections", &count]].concat();
        let flags: Vec<_> = flags.into_iter().map(str::to_owned).collect();
        let session = varied.session(self.address, &flags)?;
        session.send(requests).map(|()| session).context(self.name)
    }
}
