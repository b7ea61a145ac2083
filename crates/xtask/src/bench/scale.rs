//! What a request costs where there is more of something, beside the same where there is little: each side is a fabric of its own.

use std::{fs, path::Path};

use accord_fabric::{Builder, EDITOR, Fabric, Part};
use anyhow::{Result, ensure};
use toml::toml;

use super::{
    authority,
    many_methods::ManyMethods,
    report::Figures,
    rounds::{self, Amount, Subject},
    stage::{Stage, Started},
    varied::{Session, Varied},
};
use crate::say::note;

/// Part of the reads that have to be hits, where hits are measured.
const HITS: f64 = 0.99;
/// One caller has all connections: room for a call on each of them beside what nobody else takes.
const IN_FLIGHT: i64 = 16_384;
/// The same for what they hold, and room for a million entries.
const MEMORY: i64 = 8 << 30;

/// What there is more of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// Methods in the contract.
    Methods,
    /// Connections, with one call in flight on each.
    Connections,
    /// Tokens, which take turns.
    Tokens,
    /// Entries in the cache, which take turns.
    Entries,
    /// Workers of the gateway, each on a core.
    Workers,
    /// Traces: one of a hundred is sampled.
    Traces,
}

/// One side.
#[derive(Clone, Copy)]
struct Side {
    methods: u32,
    connections: u32,
    streams: u32,
    tokens: u32,
    /// Not 0 where the cache is asked.
    entries: u32,
    workers: u32,
    is_traced: bool,
}

const USUAL: Side =
    Side { methods: 0, connections: 8, streams: 16, tokens: 1, entries: 0, workers: 1, is_traced: false };

/// A side that runs.
struct Running {
    name: String,
    fabric: Fabric,
    session: Session,
    is_cached: bool,
    sink: Option<Started>,
}

/// Measures the larger side beside the smaller one; neither is larger than `most`.
pub(super) async fn run(
    scale: Scale,
    most: u32,
    stage: &Stage,
    varied: &Varied,
    amount: Amount,
) -> Result<Vec<Figures>> {
    let mut sides = Vec::new();
    for (name, side) in scale.sides(most) {
        sides.push(side.start(name, stage, varied).await?);
    }
    let subjects: Vec<_> = sides.iter().map(Running::subject).collect();
    let before = hits(&sides).await?;
    let figures = rounds::interleaved(&subjects, amount)?;
    let sent: Vec<_> = subjects.iter().map(|subject| amount.in_all(subject)).collect();
    drop(subjects);
    for (((side, sent), before), after) in sides.iter().zip(sent).zip(before).zip(hits(&sides).await?) {
        let (hits, least) = (after - before, HITS * f64::from(sent));
        ensure!(!side.is_cached || hits >= least, "of {sent} reads with {} {hits} were hits", side.name);
    }
    for side in sides {
        side.stop().await?;
    }
    Ok(figures)
}

/// Hits that the caches have counted.
async fn hits(sides: &[Running]) -> Result<Vec<f64>> {
    let mut counts = Vec::new();
    for side in sides {
        counts.push(side.fabric.cache.metric("accord_cache_reads_total", &[("outcome", "hit")]).await?);
    }
    Ok(counts)
}

impl Scale {
    /// The larger side, and the smaller one.
    fn sides(self, most: u32) -> [(String, Side); 2] {
        let named = |count: u32, what: &str, side| (format!("{} {what}", grouped(count)), side);
        match self {
            Self::Methods => [most.min(10_000), 10].map(|methods| named(methods, "methods", Side { methods, ..USUAL })),
            Self::Connections => [most.min(2000), 8]
                .map(|connections| named(connections, "connections", Side { connections, streams: 1, ..USUAL })),
            Self::Tokens => {
                let one = ("1 token".to_owned(), USUAL);
                let tokens = most.min(100_000);
                [named(tokens, "tokens", Side { tokens, ..USUAL }), one]
            }
            Self::Entries => {
                [most.min(1_000_000), 1000].map(|entries| named(entries, "entries", Side { entries, ..USUAL }))
            }
            Self::Workers => [("2 workers".to_owned(), Side { workers: 2, ..USUAL }), ("1 worker".to_owned(), USUAL)],
            Self::Traces => {
                [("1% sampled".to_owned(), Side { is_traced: true, ..USUAL }), ("no traces".to_owned(), USUAL)]
            }
        }
    }
}

impl Side {
    async fn start(self, name: String, stage: &Stage, varied: &Varied) -> Result<Running> {
        note(format_args!("Starting Accord with {name} ..."));
        let sink = if self.is_traced { Some(stage.sink().await?) } else { None };
        let many = ManyMethods::write(stage.directory(), self.methods)?;
        let cores = [stage.cores.tested, stage.cores.load];
        let cores = if self.workers > 1 { &cores[..] } else { &cores[..1] };
        let wanted = |builder| self.wanted(builder, &many, sink.as_ref());
        let fabric = stage.another(&many.descriptors, cores, wanted).await?;
        let tokens = fabric.directory().join("bench-tokens");
        self.write_tokens(&tokens, &fabric).await?;
        let session = varied.session(fabric.gateway.listen, &self.flags(&tokens.display().to_string()))?;
        // Everything is met once before anything is measured.
        session.send(self.tokens.max(self.entries))?;
        Ok(Running { name, fabric, session, is_cached: self.entries > 0, sink })
    }

    fn wanted(self, builder: Builder, many: &ManyMethods, sink: Option<&Started>) -> Builder {
        let workers = i64::from(self.workers);
        let gateway = toml! {
            workers = workers
            [limits]
            max_in_flight = IN_FLIGHT
            max_memory = MEMORY
        };
        let cache = toml! {
            [engine]
            capacity_bytes = MEMORY
        };
        let builder = builder.overlay(&many.overlay).settings(Part::Gateway, gateway).settings(Part::Cache, cache);
        let builder = builder.upstream_settings("bench", toml! { max_in_flight = IN_FLIGHT });
        let Some(sink) = sink else { return builder };
        let endpoint = format!("http://{}", sink.address);
        let traces = toml! {
            [telemetry.otlp]
            endpoint = endpoint
            sample_ratio = 0.01
        };
        // Sent while the turn lasts that has them.
        builder.settings(Part::Gateway, traces).environment(Part::Gateway, "OTEL_BSP_SCHEDULE_DELAY", "100")
    }

    /// The fabric's editor for one; of several, each is another one of the same program.
    async fn write_tokens(self, file: &Path, fabric: &Fabric) -> Result<()> {
        let tokens = match self.tokens {
            1 => vec![fabric.token(EDITOR).await?],
            count => authority::tokens(fabric, count).await?,
        };
        Ok(fs::write(file, tokens.join("\n"))?)
    }

    fn flags(self, tokens: &str) -> Vec<String> {
        let (connections, streams) = (self.connections.to_string(), self.streams.to_string());
        let distinct = self.entries.max(1).to_string();
        let mut flags = vec!["--tokens", tokens, "--connections", &connections, "--streams", &streams];
        if self.entries > 0 {
            flags.extend(["--protocol", "h2", "--path", "/v1/cached/entry-{n}", "--distinct", &distinct]);
        } else if self.methods > 0 {
            // A path is looked for among all bindings.
            flags.extend(["--protocol", "h2", "--path", "/v1/limited/oak-desk"]);
        } else {
            flags.extend(["--path", "/bench.v1.BenchService/GetLimited"]);
        }
        flags.into_iter().map(str::to_owned).collect()
    }
}

impl Running {
    fn subject(&self) -> Subject<'_> {
        let cache = self.is_cached.then(|| self.fabric.cache.process.id());
        Subject {
            name: self.name.clone(),
            processes: [self.fabric.gateway.process.id()].into_iter().chain(cache).collect(),
            per_request: 1,
            send: Box::new(|count| self.session.send(count)),
        }
    }

    async fn stop(self) -> Result<()> {
        drop(self.session);
        self.fabric.stop().await?;
        let log = self.sink.map(|sink| sink.process.log());
        ensure!(log.is_none_or(|log| log.contains("TraceService")), "no trace came to the collector");
        Ok(())
    }
}

/// With a comma after each thousand.
pub(super) fn grouped(count: u32) -> String {
    if count < 1000 { count.to_string() } else { format!("{},{:03}", grouped(count / 1000), count % 1000) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([8, 1000, 100_020, 1_000_000].map(grouped), ["8", "1,000", "100,020", "1,000,000"]);
    }
}
