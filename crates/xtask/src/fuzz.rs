//! `cargo xtask fuzz`: the fuzz targets under libFuzzer, guided by what code an input reaches.
//!
//! A stable compiler is enough: LLVM's pass that counts what is reached is one of those that `rustc` can be told to run, and
//! libFuzzer is compiled by the C++ compiler of the machine.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};

use crate::{
    programs::{on_path, succeed},
    say::{note, say},
    workspace,
};

/// What `cargo xtask fuzz` can be asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long each target runs
    #[arg(long, default_value_t = 5)]
    minutes: u64,
    /// Run only this target; may be given again. Default: all, one after another
    #[arg(long, value_name = "NAME")]
    target: Vec<String>,
    /// Gives the same inputs again, as far as they depend on chance. Default: another one each time
    #[arg(long)]
    seed: Option<u32>,
}

/// Says to this program that it stands in for the compiler.
const INSTRUMENTS: &str = "ACCORD_FUZZ_INSTRUMENTS";

/// What tells the compiler to count what is reached, and what is compared.
const INSTRUMENTED: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// Names the target to the program.
const NAME: &str = "ACCORD_FUZZ_TARGET";

/// Where the corpus of each target is kept, and, below the build directory, where what is found on the way goes.
const CORPUS: &str = "tests/fuzz/corpus";

/// Bounds on one input: bytes, seconds, and the memory of the process in MiB.
const LIMITS: [&str; 3] = ["-max_len=2048", "-timeout=10", "-rss_limit_mb=2048"];

/// Runs each target for its time; fails where one found something.
pub(crate) fn run(Args { minutes, target, seed }: Args) -> Result<()> {
    let home = workspace::target_directory()?.join("fuzz");
    let program = build()?;
    let known = targets(&program)?;
    for name in &target {
        let names: Vec<_> = known.iter().map(|(name, _)| name.as_str()).collect();
        ensure!(names.contains(&name.as_str()), "{name} is no target: there are {}", names.join(", "));
    }
    let seed = seed.unwrap_or_else(any_seed);
    let session = Session { program, home, time: Duration::from_mins(minutes), seed };
    note(format_args!("Seed {seed}"));
    say("target            executions   per second   reached   entries")?;
    let mut findings = 0;
    for (name, tokens) in known.iter().filter(|(name, _)| target.is_empty() || target.contains(name)) {
        let figures = session.fuzz(name, tokens)?;
        say(figures.line(name))?;
        if let Some(finding) = figures.finding {
            findings += 1;
            say(format_args!("{finding}\n  copy the input to {CORPUS}/{name}, under a name that says what it is"))?;
        }
    }
    ensure!(findings == 0, "targets that found something: {findings}");
    Ok(())
}

/// Builds the program. What it stands on is the same as for the tests, and built once for both.
fn build() -> Result<PathBuf> {
    let has_compiler = ["c++", "g++", "clang++"].into_iter().any(|compiler| on_path(compiler).is_some());
    ensure!(has_compiler, "libFuzzer needs a C++ compiler: install one (Debian calls the package g++)");
    note("Building with instrumentation (the first time takes minutes) ...");
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--quiet", "--bin", "fuzz", "--features", "accord-fuzz/libfuzzer"]);
    command.current_dir(workspace::root()).env(INSTRUMENTS, "yes");
    command.env("RUSTC_WORKSPACE_WRAPPER", env::current_exe().context("this program can't be found")?);
    succeed(command)?;
    Ok(workspace::target_directory()?.join("debug/fuzz"))
}

/// Stands in for the compiler where cargo was told to call this program in its place, with the compiler and its arguments: the
/// members of the workspace are instrumented, apart from what runs while they are built.
pub(crate) fn instrumenting_compiler() -> Option<ExitCode> {
    env::var_os(INSTRUMENTS)?;
    let mut arguments = env::args_os().skip(1);
    let compiler = arguments.next()?;
    let arguments: Vec<_> = arguments.collect();
    let is_for_building = arguments.iter().any(|it| it == "build_script_build" || it == "proc-macro");
    let is_compiled = arguments.iter().any(|it| it == "--crate-name") && !is_for_building;
    let flags = INSTRUMENTED.into_iter().filter(|_| is_compiled);
    let status = Command::new(compiler).args(&arguments).args(flags).status();
    Some(if status.is_ok_and(|status| status.success()) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The targets that the program has, each with its tokens.
fn targets(program: &Path) -> Result<Vec<(String, Vec<String>)>> {
    let output = Command::new(program).env_remove(NAME).stderr(Stdio::null()).output();
    let output = output.with_context(|| format!("{} could not be started", program.display()))?;
    let text = String::from_utf8(output.stdout).context("the names of targets are text")?;
    let words = text.lines().map(|line| line.split(' ').map(str::to_owned));
    Ok(words.filter_map(|mut words| Some((words.next()?, words.collect()))).collect())
}

/// One that differs from run to run.
fn any_seed() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.subsec_nanos().max(1))
}

struct Session {
    program: PathBuf,
    home: PathBuf,
    time: Duration,
    seed: u32,
}

impl Session {
    fn fuzz(&self, name: &str, tokens: &[String]) -> Result<Figures> {
        let grown = self.home.join("corpus").join(name);
        fs::create_dir_all(&grown)?;
        let dictionary = self.home.join(format!("{name}.dict"));
        let lines: Vec<_> = tokens.iter().map(|token| format!("\"{token}\"\n")).collect();
        fs::write(&dictionary, lines.concat())?;
        let mut command = Command::new(&self.program);
        // What is new goes into the first folder.
        command.arg(grown).arg(workspace::root().join(CORPUS).join(name)).args(LIMITS);
        command.arg(format!("-dict={}", dictionary.display()));
        command.arg(format!("-max_total_time={}", self.time.as_secs())).arg(format!("-seed={}", self.seed));
        command.arg(format!("-artifact_prefix={}", self.home.join(format!("{name}-")).display()));
        command.args(["-print_final_stats=1"]).env(NAME, name).stderr(Stdio::piped());
        let mut child = command.spawn().context("the fuzzer could not be started")?;
        let said = child.stderr.take().context("its output can't be read")?;
        let mut figures = Figures::default();
        BufReader::new(said)
            .split(b'\n')
            .try_for_each(|line| line.map(|line| figures.read(&String::from_utf8_lossy(&line))))?;
        let status = child.wait()?;
        if !status.success() && figures.finding.is_none() {
            figures.finding = Some(format!("{name} ended with {status}: {}", figures.last.join("\n")));
        }
        Ok(figures)
    }
}

/// What libFuzzer says of a run.
#[derive(Default)]
struct Figures {
    executions: String,
    per_second: String,
    reached: String,
    entries: String,
    /// What it found, with the place of the input.
    finding: Option<String>,
    /// The lines of late that are no progress.
    last: Vec<String>,
}

/// How many lines before the end say what happened.
const LAST: usize = 12;

impl Figures {
    fn read(&mut self, line: &str) {
        let stat = |name: &str| line.strip_prefix(&format!("stat::{name}:")).map(|value| value.trim().to_owned());
        if line.starts_with('#') {
            // `#4096 NEW cov: 590 ft: 3014 corp: 1102/185Kb ...`
            let after = |name: &str| line.split_once(name)?.1.split_whitespace().next().map(str::to_owned);
            self.reached = after(" cov: ").unwrap_or(std::mem::take(&mut self.reached));
            let entries = after(" corp: ").and_then(|it| it.split('/').next().map(str::to_owned));
            self.entries = entries.unwrap_or(std::mem::take(&mut self.entries));
        } else if let Some(executions) = stat("number_of_executed_units") {
            self.executions = executions;
        } else if let Some(per_second) = stat("average_exec_per_sec") {
            self.per_second = per_second;
        } else if let Some((_, file)) = line.split_once("Test unit written to ") {
            self.finding = Some(format!("{}\n  by the input {file}", self.last.join("\n")));
        } else if !line.contains(" # Uses: ") {
            self.last.push(line.to_owned());
            let surplus = self.last.len().saturating_sub(LAST);
            self.last.drain(..surplus);
        }
    }

    fn line(&self, name: &str) -> String {
        let Self { executions, per_second, reached, entries, .. } = self;
        format!("{name:<16}{executions:>12}{per_second:>13}{reached:>10}{entries:>10}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_that_libfuzzer_says_last() {
        let mut figures = Figures::default();
        for line in [
            "#2\tINITED cov: 5 ft: 6 corp: 1/1b exec/s: 0 rss: 28Mb",
            "#9\tNEW    cov: 590 ft: 3014 corp: 1102/185Kb lim: 3968 exec/s: 0 rss: 28Mb L: 128/3957 MS: 1 ChangeBinInt-",
            "#9\tDONE   cov: 590 ft: 3014 corp: 1102/185Kb lim: 4096 exec/s: 99 rss: 29Mb",
            "\"\\001\" # Uses: 4194",
            "stat::number_of_executed_units: 396456",
            "stat::average_exec_per_sec:     99114",
        ] {
            figures.read(line);
        }
        assert_eq!(figures.line("frames"), "frames                396456        99114       590      1102");
        assert_eq!(figures.finding, None);
    }

    #[test]
    fn finding_is_told_with_its_input() {
        let mut figures = Figures::default();
        for line in ["panicked at src/frames.rs:1", "artifact_prefix='t/'; Test unit written to t/crash-1"] {
            figures.read(line);
        }
        assert_eq!(figures.finding.as_deref(), Some("panicked at src/frames.rs:1\n  by the input t/crash-1"));
    }
}
