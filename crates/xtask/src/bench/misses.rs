//! Reads through the cache that find nothing there: each asks for another item.

use std::{cell::Cell, fs};

use anyhow::Result;

use super::{
    report::Figures,
    rounds::{self, Amount, Subject},
    stage::Stage,
    varied::Varied,
};

const FLAGS: [&str; 8] =
    ["--protocol", "h1", "--path", "/v1/cached/missing-{n}", "--connections", "32", "--streams", "1"];

/// Measures gateway and cache together.
pub(super) fn run(stage: &Stage, varied: &Varied, amount: Amount) -> Result<Vec<Figures>> {
    let mut subjects = Vec::new();
    for (at, (name, fabric, token)) in stage.fabrics.iter().enumerate() {
        let tokens = stage.directory().join(format!("missing-token-{at}"));
        fs::write(&tokens, token)?;
        let (tokens, next) = (tokens.display().to_string(), Cell::new(0));
        let address = fabric.gateway.listen;
        let send = Box::new(move |count: u32| {
            // No id comes twice.
            let from = next.replace(next.get() + count).to_string();
            varied.send(address, count, &[&FLAGS[..], &["--tokens", &tokens, "--from", &from]].concat())
        });
        let processes = vec![fabric.gateway.process.id(), fabric.cache.process.id()];
        subjects.push(Subject { name: (*name).to_owned(), processes, per_request: 1, send });
    }
    rounds::interleaved(&subjects, amount)
}
