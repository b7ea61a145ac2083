//! The project's own chores, so that a clone needs nothing but Rust: `cargo xtask up`, `cargo xtask test`.

mod attack;
mod bench;
mod crashes;
mod examples;
mod fuzz;
mod hit_ratio;
mod login_timing;
mod memory;
mod metrics;
mod postgres;
mod programs;
mod revocations;
mod rolling;
mod say;
mod screenshot;
mod simulate;
mod soak;
mod test;
mod tidy;
mod tour;
mod up;
mod workspace;
mod wycheproof;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  The three and a sample, until Ctrl-C; on other ports:
    cargo xtask up --ports 18080

  What must pass, without what takes other servers:
    cargo xtask test --embedded

  The house rules:
    cargo xtask tidy

The exit status is 0 where all is well, 1 where it is not, 2 where the command line can't be understood.";

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about, after_help = EXAMPLES, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Start auth, cache, gateway and the sample, catalog and orders, on this machine, and show how to call them
    #[command(after_help = examples::UP)]
    Up(up::Args),
    /// Run everything that must pass
    #[command(after_help = examples::TEST)]
    Test(test::Args),
    /// Hold all that one client can get, and show what its neighbours feel
    #[command(after_help = examples::ATTACK)]
    Attack(attack::Args),
    /// Measure what a request costs, beside peers and floors
    #[command(after_help = examples::BENCH)]
    Bench(bench::Args),
    /// Kill auth in the middle of its work again and again, and hold it to what it acknowledged
    #[command(after_help = examples::CRASHES)]
    Crashes(crashes::Args),
    /// Revoke tokens at gateways that are cut off and stopped, and show how long any of them was accepted
    #[command(after_help = examples::REVOCATIONS)]
    Revocations(revocations::Args),
    /// Restart each process in turn under load, and look for a call that fails and an answer older than it may be
    #[command(after_help = examples::ROLLING)]
    Rolling(rolling::Args),
    /// Give everything that reads foreign bytes inputs that reach more and more of it, and hold it to an oracle
    #[command(after_help = examples::FUZZ)]
    Fuzz(fuzz::Args),
    /// Show how many reads the cache answers from memory, beside an LRU of the same bytes
    #[command(after_help = examples::HIT_RATIO)]
    HitRatio(hit_ratio::Args),
    /// Measure whether a login tells by its time that there is nobody of its name
    #[command(after_help = examples::LOGIN_TIMING)]
    LoginTiming(login_timing::Args),
    /// Hold the house rules: what depends on what, licences, sizes, request order, documented commands, links and settings
    #[command(after_help = examples::TIDY)]
    Tidy(tidy::Args),
    /// Write the guide's table of metrics from what the binaries declare
    #[command(after_help = examples::METRICS)]
    Metrics(metrics::Args),
    /// Run the cache engine under many seeds of a simulated world
    #[command(after_help = examples::SIMULATE)]
    Simulate(simulate::Args),
    /// Take the picture of the console that the README shows
    #[command(after_help = examples::SCREENSHOT)]
    Screenshot,
    /// Kill, pause and roll over the processes while two gateways with near caches read and write, and look for a read that misses a write
    #[command(after_help = examples::SOAK)]
    Soak(soak::Args),
    /// Hold what reads tokens and keys to the vectors of Project Wycheproof for JWS and JWK
    #[command(after_help = examples::WYCHEPROOF)]
    Wycheproof(wycheproof::Args),
}

fn main() -> ExitCode {
    if let Some(code) = fuzz::instrumenting_compiler() {
        return code;
    }
    let outcome = match Arguments::parse().chore {
        Chore::Up(args) => up::run(&args),
        Chore::Test(args) => test::run(args),
        Chore::Attack(args) => attack::run(&args),
        Chore::Bench(args) => bench::run(&args),
        Chore::Crashes(args) => crashes::run(&args),
        Chore::Revocations(args) => revocations::run(&args),
        Chore::Rolling(args) => rolling::run(args),
        Chore::Fuzz(args) => fuzz::run(args),
        Chore::HitRatio(args) => hit_ratio::run(args),
        Chore::LoginTiming(args) => login_timing::run(&args),
        Chore::Tidy(args) => tidy::run(args),
        Chore::Metrics(args) => metrics::run(&args),
        Chore::Simulate(args) => simulate::run(args),
        Chore::Screenshot => screenshot::run(),
        Chore::Soak(args) => soak::run(args),
        Chore::Wycheproof(args) => wycheproof::run(&args),
    };
    let Err(problem) = outcome else { return ExitCode::SUCCESS };
    if let Some(line) = told(&problem) {
        say::note(line);
    }
    ExitCode::FAILURE
}

/// What is said of a problem: nothing where the output's reader has gone, such as `head`, which saw all it wanted.
fn told(problem: &anyhow::Error) -> Option<String> {
    (!problem.is::<say::ReaderGone>()).then(|| format!("error: {problem:#}"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn commands_have_examples_that_can_be_typed() {
        assert_eq!(accord_runtime::cli::example_habits(&Arguments::command(), "cargo xtask"), [""; 0]);
    }

    #[test]
    fn reader_that_has_gone_is_not_told_as_an_error() {
        let gone = anyhow::Error::new(say::ReaderGone).context("the case hit");
        assert_eq!(told(&gone), None);
        assert_eq!(told(&anyhow::anyhow!("no core")), Some("error: no core".to_owned()));
    }
}
