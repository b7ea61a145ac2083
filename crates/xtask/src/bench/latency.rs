//! Time until the answer, in an open loop: requests come at a part of the rate that Envoy can answer, whatever the answers do.

use std::fs;

use anyhow::{Context, Result};

use super::{
    checks::Checks,
    load::Protocol,
    peers::Peers,
    report::Figures,
    rounds::{self, Amount, Subject},
    stage::Stage,
    varied::Varied,
};

const PATH: &str = "/bench.v1.BenchService/GetLimited";
/// Requests a second, by Envoy's processor time for one in nanoseconds: one of a hundred of what fills its core.
const PERCENT_OF_A_SECOND: f64 = 1e7;

/// Measures both in turn at so many percent; returns figures by percentile, none where there is no Envoy.
pub(super) fn run(
    percent: u32,
    stage: &Stage,
    peers: &Peers,
    varied: &Varied,
    amount: Amount,
) -> Result<Vec<(String, Vec<Figures>)>> {
    let Some((envoy, process)) = peers.endpoint("Envoy", Protocol::Grpc, Checks::Limit, false) else {
        return Ok(Vec::new());
    };
    let (_, fabric, token) = stage.fabrics.first().context("nothing is measured")?;
    let tokens = stage.directory().join("latency-token");
    fs::write(&tokens, token)?;
    let tokens = tokens.display().to_string();
    let flags = ["--path", PATH, "--tokens", &tokens];
    let send = Box::new(|count| varied.send(envoy, count, &flags));
    let subject = Subject { name: "Envoy".to_owned(), processes: vec![process], per_request: 1, send };
    let cost = rounds::interleaved(&[subject], amount)?.first().map_or(f64::NAN, Figures::median);
    let rate = (f64::from(percent) * PERCENT_OF_A_SECOND / cost).round().to_string();
    let flags = [&flags[..], &["--rate", &rate]].concat();
    let servers = [("Accord", fabric.gateway.listen), ("Envoy", envoy)];
    for (name, address) in servers {
        varied.send(address, rounds::WARM_UP, &flags).context(name)?;
    }
    let mut percentiles = Vec::<(String, Vec<Figures>)>::new();
    for round in 0..amount.rounds {
        for turn in 0..servers.len() {
            let at = (usize::try_from(round)? + turn) % servers.len();
            let (name, address) = servers[at];
            let times = varied.times(address, amount.requests, &flags).context(name)?;
            for (name, microseconds) in times.percentiles {
                let found = percentiles.iter().position(|(known, _)| *known == name);
                let place = found.unwrap_or_else(|| {
                    percentiles.push((name, servers.map(|(name, _)| Figures::new(name)).into()));
                    percentiles.len() - 1
                });
                percentiles[place].1[at].add(vec![microseconds * 1e3]);
            }
        }
    }
    Ok(percentiles)
}
