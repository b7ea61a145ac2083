//! The project's own chores, so that a clone needs nothing but Rust: `cargo xtask up`, `cargo xtask test`.

mod attack;
mod bench;
mod crashes;
mod fuzz;
mod hit_ratio;
mod login_timing;
mod memory;
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
    Up(up::Args),
    /// Run everything that must pass
    Test(test::Args),
    /// Hold all that one client can get, and show what its neighbours feel
    Attack(attack::Args),
    /// Measure what a request costs, beside peers and floors
    Bench(bench::Args),
    /// Kill auth in the middle of its work again and again, and hold it to what it acknowledged
    Crashes(crashes::Args),
    /// Revoke tokens at gateways that are cut off and stopped, and show how long any of them was accepted
    Revocations(revocations::Args),
    /// Restart each process in turn under load, and look for a call that fails and an answer older than it may be
    Rolling(rolling::Args),
    /// Give everything that reads foreign bytes inputs that reach more and more of it, and hold it to an oracle
    Fuzz(fuzz::Args),
    /// Show how many reads the cache answers from memory, beside an LRU of the same bytes
    HitRatio(hit_ratio::Args),
    /// Measure whether a login tells by its time that there is nobody of its name
    LoginTiming(login_timing::Args),
    /// Hold the house rules: what depends on what, licences, sizes, request order, documented commands, links and settings
    Tidy(tidy::Args),
    /// Run the cache engine under many seeds of a simulated world
    Simulate(simulate::Args),
    /// Take the picture of the console that the README shows
    Screenshot,
    /// Kill, pause and roll over the processes while two gateways with near caches read and write, and look for a read that misses a write
    Soak(soak::Args),
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
        Chore::Simulate(args) => simulate::run(args),
        Chore::Screenshot => screenshot::run(),
        Chore::Soak(args) => soak::run(args),
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
    use super::*;

    #[test]
    fn reader_that_has_gone_is_not_told_as_an_error() {
        let gone = anyhow::Error::new(say::ReaderGone).context("the case hit");
        assert_eq!(told(&gone), None);
        assert_eq!(told(&anyhow::anyhow!("no core")), Some("error: no core".to_owned()));
    }
}
