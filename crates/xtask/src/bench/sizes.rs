//! Messages of several sizes, answered with themselves: so each passes both ways.

use anyhow::{Context, Result};

use super::{
    load::Tool,
    peers::Peers,
    report::Figures,
    rounds::Amount,
    service::{self, Service},
    stage::Stage,
};

/// Bytes of text in a message.
const SIZES: [(u32, &str); 5] =
    [(100, "100-b"), (1000, "1-kb"), (16_000, "16-kb"), (256_000, "256-kb"), (1_000_000, "1-mb")];

/// Measures each size; returns figures by size.
pub(super) async fn run(
    service: &Service,
    stage: &Stage,
    peers: &Peers,
    tool: &Tool,
    amount: Amount,
) -> Result<Vec<(String, Vec<Figures>)>> {
    let mut parts = Vec::new();
    for (size, name) in SIZES {
        let service = Service { text: Some(size), ..*service };
        let figures = service::run(&service, stage, peers, tool, amount.of_size(size)).await.context(name)?;
        parts.push((name.to_owned(), figures));
    }
    Ok(parts)
}
