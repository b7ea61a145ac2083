//! Server streams, per message.

use std::fs;

use anyhow::Result;

use super::{
    checks::Checks,
    load::Protocol,
    peers::Peers,
    report::Figures,
    rounds::{self, Amount, Subject},
    stage::Stage,
    varied::Varied,
};

/// Streams in a turn are long: a few at once keep a core busy.
const FLAGS: [&str; 6] = ["--path", "/bench.v1.BenchService/Watch", "--connections", "4", "--streams", "4"];

/// Measures streams of so many messages.
pub(super) fn run(
    per_request: u32,
    stage: &Stage,
    peers: &Peers,
    varied: &Varied,
    amount: Amount,
) -> Result<Vec<Figures>> {
    let mut servers = Vec::new();
    for (name, fabric, token) in &stage.fabrics {
        servers.push((*name, fabric.gateway.listen, fabric.gateway.process.id(), token.as_str()));
    }
    for name in ["Envoy", "HAProxy", "nginx"] {
        let endpoint = peers.endpoint(name, Protocol::Grpc, Checks::Limit, false);
        servers.extend(endpoint.map(|(address, process)| (name, address, process, stage.token())));
    }
    let mut subjects = Vec::new();
    for (at, (name, address, process, token)) in servers.into_iter().enumerate() {
        let tokens = stage.directory().join(format!("token-{at}"));
        fs::write(&tokens, token)?;
        let (tokens, messages) = (tokens.display().to_string(), per_request.to_string());
        let send = Box::new(move |count| {
            let own = ["--tokens", &*tokens, "--messages", &messages];
            varied.send(address, count, &[&FLAGS[..], &own].concat())
        });
        subjects.push(Subject { name: name.to_owned(), processes: vec![process], per_request, send });
    }
    rounds::interleaved(&subjects, amount)
}
