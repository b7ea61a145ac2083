//! `cargo xtask bench`: what a request costs the process that answers it, in processor time, beside peers and floors in the
//! same run.
//!
//! Absolute figures move by a factor of two on shared machines. Ratios to a peer that took its turns between ours hold.

mod areas;
mod authority;
mod binaries;
mod cases;
mod certificate;
mod checks;
pub(crate) mod counts;
mod latency;
mod load;
mod machine;
mod many_methods;
mod memory;
mod misses;
mod namespaces;
mod overload;
mod peers;
mod policies;
mod principals;
mod probe;
mod profile;
mod report;
mod rounds;
mod scale;
mod service;
mod sizes;
mod stage;
mod start;
mod streams;
mod varied;
mod verifier;

use std::path::PathBuf;

use anyhow::{Context, Result};

use self::{
    cases::{Case, Kind},
    machine::Cores,
    peers::Peers,
    report::{Figures, Measure, Outcome, Report},
    rounds::Amount,
    stage::Stage,
    varied::Varied,
};
use crate::examples;
use crate::say::{note, progress, say};

/// What `cargo xtask bench` can be asked.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    other: Option<Other>,
    /// Cases, by name or by the beginning of their names; all of them where none is given
    cases: Vec<String>,
    /// Name the cases and what each measures, and do nothing else
    #[arg(long)]
    list: bool,
    /// Turns of each server in a case, one after another
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Requests in a turn
    #[arg(long, default_value_t = 20_000)]
    requests: u32,
    /// The largest size in the cases of scale: methods, connections, tokens, entries
    #[arg(long, default_value_t = 100_000)]
    most: u32,
    /// The profile that the binaries are built with, unless `ACCORD_BINARIES` names a directory of them
    #[arg(long, default_value = "dist")]
    profile: String,
    /// A directory with the binaries of another state, which take turns as a peer
    #[arg(long, value_name = "DIRECTORY")]
    against: Option<PathBuf>,
    /// Leave these peers out; may be given again
    #[arg(long, value_name = "PEER")]
    without: Vec<String>,
    /// Write the results into this page; what it says of other cases stays
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Show beside each figure what this page says of it
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
}

/// What else is measured than processor time.
#[derive(Debug, clap::Subcommand)]
enum Other {
    /// Count what a request allocates and how often it writes, and fail where that is above its bound
    #[command(after_help = examples::COUNTS)]
    Counts(counts::Args),
    /// Show where the time of a case goes, by area and by function
    #[command(after_help = examples::PROFILE)]
    Profile(profile::Args),
    /// Ask an upstream for more than it can answer, with its adaptive limit and without
    #[command(after_help = examples::OVERLOAD)]
    Overload(overload::Args),
}

/// Builds, starts everything, measures, and says what came of it.
pub(crate) fn run(args: &Args) -> Result<()> {
    match &args.other {
        Some(Other::Counts(args)) => return counts::run(args),
        Some(Other::Profile(args)) => return profile::run(args),
        Some(Other::Overload(args)) => return overload::run(args),
        None => {}
    }
    let cases = cases::chosen(&args.cases)?;
    if args.list {
        return cases.iter().try_for_each(|case| say(format_args!("{:<20} {}", case.name, case.about)));
    }
    let cores = Cores::choose()?;
    let binaries = binaries::of(&args.profile)?;
    // One thread: what it starts stays on the core that it is pinned to at that moment, and ends with it.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("can't start a runtime")?;
    runtime.block_on(measure(args, &cases, cores, &binaries))
}

async fn measure(args: &Args, cases: &[&'static Case], cores: Cores, binaries: &binaries::Binaries) -> Result<()> {
    let earlier = args.compare.as_deref().map(Report::read).transpose()?;
    let load = load::Tool::find()?;
    let varied = Varied::new(&binaries.beside);
    note("Starting what is measured ...");
    let stage = Stage::start(cores, binaries, args.against.as_deref(), &[]).await?;
    let wanted: Vec<_> = cases.iter().flat_map(|case| case.peers().iter().copied()).collect();
    let peers = Peers::start(&stage, &wanted, &args.without).await?;
    let mut report = Report::new(machine::describe());
    say(format_args!("{}", report.heading()))?;
    for missing in peers.missing() {
        say(format_args!("missing: {missing}"))?;
    }
    let amount = Amount::new(args.rounds, args.requests);
    let run = Run { stage: &stage, peers: &peers, load: &load, varied: &varied, amount, most: args.most };
    for (number, case) in (1..).zip(cases) {
        progress(format_args!("case {number} of {}: {}", cases.len(), case.name));
        for outcome in run.case(case).await.with_context(|| format!("the case {}", case.name))? {
            say(outcome.table(earlier.as_ref()))?;
            report.add(&outcome, peers.missing());
        }
    }
    if let Some(file) = &args.save {
        report.save(file)?;
    }
    drop(peers);
    stage.stop().await
}

/// What all cases share.
struct Run<'a> {
    stage: &'a Stage,
    peers: &'a Peers,
    load: &'a load::Tool,
    varied: &'a Varied,
    amount: Amount,
    most: u32,
}

impl Run<'_> {
    /// Most cases have one table; the others have one for each part of what they measure.
    async fn case(&self, case: &Case) -> Result<Vec<Outcome>> {
        let Self { stage, peers, load, varied, amount, most } = *self;
        let figures = match &case.kind {
            Kind::Service(service) => service::run(service, stage, peers, load, amount).await?,
            Kind::Namespace(keys) => namespaces::run(*keys, stage, peers, (load, varied), amount).await?,
            Kind::Misses => misses::run(stage, varied, amount)?,
            Kind::Auth(method) => authority::run(*method, stage, (load, varied), amount).await?,
            Kind::Stream(messages) => streams::run(*messages, stage, peers, varied, amount)?,
            Kind::Scale(scale) => scale::run(*scale, most, stage, varied, amount).await?,
            Kind::Policies => policies::run(most, stage, load, amount).await?,
            Kind::Verifier(verification) => verifier::run(*verification, stage, varied, amount).await?,
            Kind::Sizes(service) => {
                let parts = sizes::run(service, stage, peers, load, amount).await?;
                return Ok(self.parts(case, Measure::Cost, parts));
            }
            Kind::Latency(percent) => {
                let parts = latency::run(*percent, stage, peers, varied, amount)?;
                return Ok(self.parts(case, Measure::Latency, parts));
            }
            Kind::Memory => {
                let parts = memory::run(stage, varied, amount.rounds).await?;
                return Ok(self.parts(case, Measure::Memory, parts));
            }
            Kind::Start => {
                let parts = start::run(stage, amount.rounds).await?;
                return Ok(self.parts(case, Measure::Latency, parts));
            }
        };
        Ok(vec![self.outcome(case, case.name.to_owned(), Measure::Cost, figures)])
    }

    fn parts(&self, case: &Case, measure: Measure, parts: Vec<(String, Vec<Figures>)>) -> Vec<Outcome> {
        let outcome = |(part, figures)| self.outcome(case, format!("{}-{part}", case.name), measure, figures);
        parts.into_iter().map(outcome).collect()
    }

    fn outcome(&self, case: &Case, name: String, measure: Measure, figures: Vec<Figures>) -> Outcome {
        Outcome { name, about: case.about, measure, requests: self.amount.requests, figures }
    }
}
