//! Drives rows over every path in every protocol, and judges what came of it.

use crate::{
    call::{Protocol, RowCall},
    contract,
    row::Row,
    rows,
    seen::{self, Seen},
    upstream::{Endpoint, Upstream},
};
use accord_fabric::{Fabric, Part};
use anyhow::{Result, anyhow, ensure};
use futures_util::{
    StreamExt, TryStreamExt,
    future::{join_all, try_join_all},
    stream,
};
use std::{collections::BTreeMap, fmt, sync::OnceLock};
use tempfile::TempDir;
use tonic::Code;

/// How a call reaches its upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Path {
    /// The contract says nothing of a cache.
    Uncached,
    /// Through the cache, which has no answer yet.
    Cached,
    /// From the cache's memory, once the path before it has brought an answer.
    Hit,
    /// A cached method while the cache is gone.
    CacheDown,
}

impl Path {
    /// Where an answer on this path says that it came from.
    pub(crate) fn through(self) -> &'static str {
        match self {
            Self::Uncached => "upstream",
            Self::Cached => "cache",
            Self::Hit => "memory",
            Self::CacheDown => "bypass",
        }
    }

    fn method(self) -> &'static str {
        if self == Self::Uncached { "Plain" } else { "Cached" }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Uncached => "uncached",
            Self::Cached => "cached",
            Self::Hit => "hit",
            Self::CacheDown => "cache down",
        })
    }
}

/// A row with its upstream.
struct Run {
    row: Row,
    upstream: Upstream,
}

/// What was seen, and what should have been.
type Results = BTreeMap<(&'static str, Path, Protocol), (Seen, Seen)>;

/// Row, path (with a protocol where only one is meant), and what is seen there in place of what the row says.
type Difference = (&'static str, String, String);

/// Fails unless these rows give what they say on every path.
pub(crate) fn hold(rows: &[Row]) -> Result<()> {
    let names: Vec<_> = rows.iter().map(|row| row.name).collect();
    let results = results().as_ref().map_err(|problem| anyhow!("{problem}"))?;
    let own = results.iter().filter(|((row, ..), _)| names.contains(row));
    let found = differences(&own.map(|(key, seen)| (*key, seen.clone())).collect());
    let lines: Vec<_> = found.iter().map(|difference| format!("    {difference:?}")).collect();
    ensure!(lines.is_empty(), "differences from the table:\n{}", lines.join("\n"));
    Ok(())
}

/// The whole table is driven once, whichever subject is asked for first: rows don't disturb each other, and to start the
/// binaries takes longer than most of them.
fn results() -> &'static Result<Results, String> {
    static RESULTS: OnceLock<Result<Results, String>> = OnceLock::new();
    RESULTS.get_or_init(|| {
        let runtime = tokio::runtime::Runtime::new().map_err(|problem| problem.to_string())?;
        runtime.block_on(drive(rows::all())).map_err(|problem| format!("{problem:#}"))
    })
}

async fn drive(rows: Vec<Row>) -> Result<Results> {
    let (mut fabric, runs, _directory) = start(rows).await?;
    let mut results = observe(&fabric, &runs, &[Path::Uncached, Path::Cached, Path::Hit]).await;
    fabric.cache.process.check()?;
    fabric.cache.process.kill()?;
    results.extend(observe(&fabric, &runs, &[Path::CacheDown]).await);
    fabric.gateway.process.check()?;
    fabric.stop().await?;
    Ok(results)
}

async fn start(rows: Vec<Row>) -> Result<(Fabric, Vec<Run>, TempDir)> {
    let directory = tempfile::tempdir()?;
    // A busy machine is no cache that hangs: whether one is noticed in time is another test's.
    let patient = toml::toml! {
        [cache]
        connect_timeout = "10s"
        keepalive_interval = "10s"
        keepalive_timeout = "10s"
    };
    let (mut builder, mut runs) = (Fabric::builder()?.settings(Part::Gateway, patient), Vec::new());
    for row in rows {
        let upstream = Upstream::start(&contract::package(row.name), &row.endpoints)?;
        builder = contract::put_behind(builder, &directory, row.name, row.policy, row.connections, &upstream)?;
        runs.push(Run { row, upstream });
    }
    Ok((builder.start().await?, runs, directory))
}

async fn observe(fabric: &Fabric, runs: &[Run], paths: &[Path]) -> Results {
    join_all(runs.iter().map(|run| run.observe(fabric, paths))).await.into_iter().flatten().collect()
}

/// The differences of each row by path, and by protocol where the two differ.
fn differences(results: &Results) -> Vec<Difference> {
    let uncached: BTreeMap<_, _> = results
        .iter()
        .filter(|((_, path, _), _)| *path == Path::Uncached)
        .map(|((row, _, protocol), (seen, _))| ((*row, *protocol), seen.clone()))
        .collect();
    let mut found = BTreeMap::<_, BTreeMap<_, _>>::new();
    for ((row, path, protocol), (seen, expected)) in results {
        let mut expected = expected.clone();
        // What the row leaves open is still the same on all paths.
        expected.entry("details").or_insert_with(|| uncached[&(*row, *protocol)]["details"].clone());
        let difference = seen::difference(seen, &expected);
        found.entry((*row, *path)).or_default().insert(*protocol, difference);
    }
    let mut list = Vec::new();
    for ((row, path), by_protocol) in found {
        let first = by_protocol.values().next().cloned().flatten();
        if by_protocol.values().all(|difference| *difference == first) {
            list.extend(first.map(|difference| (row, path.to_string(), difference)));
            continue;
        }
        for (protocol, difference) in by_protocol {
            list.extend(difference.map(|difference| (row, format!("{path} {protocol}"), difference)));
        }
    }
    list
}

impl Run {
    async fn observe(&self, fabric: &Fabric, paths: &[Path]) -> Results {
        let mut results = Results::new();
        for path in paths {
            for protocol in Protocol::ALL {
                let before = results.get(&(self.row.name, Path::Cached, protocol));
                if *path == Path::Hit && !before.is_some_and(|(seen, _)| self.is_stored(seen)) {
                    continue;
                }
                let seen = self.seen(fabric, *path, protocol).await.unwrap_or_else(|problem| seen::nothing(&problem));
                let expected = seen::expected(&self.row, *path, protocol, &text(*path, protocol, 0));
                results.insert((self.row.name, *path, protocol), (seen, expected));
            }
        }
        results
    }

    /// Whether the row asks for one answer, which has come.
    fn is_stored(&self, seen: &Seen) -> bool {
        self.row.times == 1 && !self.row.beside && seen::is_ok(seen) && self.row.expected.code == Code::Ok
    }

    async fn seen(&self, fabric: &Fabric, path: Path, protocol: Protocol) -> Result<Seen> {
        self.upstream.take();
        self.upstream.script(self.row.script.clone());
        if self.row.beside {
            return self.seen_beside_another(fabric, path, protocol).await;
        }
        if self.row.times == 1 {
            let answer = self.call(path, &text(path, protocol, 0)).send(fabric, protocol).await?;
            return Ok(seen::of(&answer, protocol, &self.upstream.take()));
        }
        let calls = (0..self.row.times).map(|index| self.one_of_many(fabric, path, protocol, index));
        let all = if self.row.endpoints.contains(&Endpoint::FallsSilent) {
            self.upstream.fall_silent().await?;
            // All at once, so that every endpoint is chosen for some.
            try_join_all(calls).await?
        } else {
            stream::iter(calls).then(|call| call).try_collect().await?
        };
        Ok(seen::together(all, self.upstream.take().len()))
    }

    async fn one_of_many(&self, fabric: &Fabric, path: Path, protocol: Protocol, index: usize) -> Result<Seen> {
        let text_of = |index| text(path, protocol, index);
        let answer = self.call(path, &text_of(index)).send(fabric, protocol).await?;
        let mut seen = seen::of(&answer, protocol, &[]);
        // Each says something else, and is echoed.
        if seen.get("text").is_some_and(|said| *said == text_of(index)) {
            seen.insert("text", text_of(0));
        }
        Ok(seen)
    }

    /// With another call held on the same connection meanwhile, which is to end well.
    async fn seen_beside_another(&self, fabric: &Fabric, path: Path, protocol: Protocol) -> Result<Seen> {
        let called = self.upstream.called();
        let neighbour = RowCall { text: format!("{path} {protocol} beside"), ..self.call(path, "") };
        let beside = neighbour.send(fabric, protocol);
        let main = async {
            self.upstream.until_called(called + 1).await?;
            let answer = self.call(path, &text(path, protocol, 0)).send(fabric, protocol).await?;
            self.upstream.release(1);
            anyhow::Ok(answer)
        };
        let (beside, answer) = tokio::try_join!(beside, main)?;
        let mut calls = self.upstream.take();
        calls.truncate(calls.len().saturating_sub(1));
        let mut seen = seen::of(&answer, protocol, &calls);
        seen.insert("beside", beside.code.map_or_else(|problem| problem, |code| format!("{code:?}")));
        Ok(seen)
    }

    fn call(&self, path: Path, text: &str) -> RowCall {
        RowCall {
            method: format!("{}.PathService/{}", contract::package(self.row.name), path.method()),
            text: text.to_owned(),
            headers: self.row.caller.to_vec(),
            timeout: self.row.timeout,
        }
    }
}

/// Different in each call, so that the cache has never heard it, hits excepted.
fn text(path: Path, protocol: Protocol, index: usize) -> String {
    let path = if path == Path::Hit { Path::Cached } else { path };
    format!("{path} {protocol} {index}")
}
