//! Running a printed line as a shell would, and looking at what it prints.

use std::{collections::BTreeMap, process::Stdio, time::Duration};

use anyhow::{Context, Result};
use tokio::{
    process::Command,
    time::{Instant, sleep, timeout},
};

use super::Line;
use crate::say::say;

/// Lines of output that are shown; a stream or a long document is cut there.
const SHOWN: usize = 14;
/// Characters of a line that are shown.
const WIDTH: usize = 160;
/// How long a line may take. Generous: none should take a tenth of it.
const BOUND: Duration = Duration::from_secs(30);

/// What came of a line.
pub(super) struct Outcome {
    output: String,
    /// What is not as it should be.
    pub wrong: Vec<String>,
}

/// How long a line may be wrong that reads what is written a moment later, and how often it is looked at meanwhile. The access log
/// is written every 10 ms.
const SETTLING: Duration = Duration::from_secs(2);
const LOOKS: Duration = Duration::from_millis(20);

/// Runs a line, and looks at its output.
pub(super) async fn paste(line: &Line, variables: &BTreeMap<&'static str, String>) -> Result<Outcome> {
    let end = Instant::now() + SETTLING;
    loop {
        let outcome = run(line, variables).await?;
        if outcome.wrong.is_empty() || !line.settles || Instant::now() >= end {
            return Ok(outcome);
        }
        sleep(LOOKS).await;
    }
}

async fn run(line: &Line, variables: &BTreeMap<&'static str, String>) -> Result<Outcome> {
    let mut shell = Command::new("sh");
    // Both streams in one, as they would stand on a terminal.
    shell.args(["-c", &format!("{{ {}\n}} 2>&1", line.command)]).envs(variables);
    let Ok(output) = timeout(BOUND, shell.stdin(Stdio::null()).kill_on_drop(true).output()).await else {
        return Ok(Outcome { output: String::new(), wrong: vec![format!("it should have ended within {BOUND:?}")] });
    };
    let output = String::from_utf8_lossy(&output.context("can't run sh")?.stdout).into_owned();
    let missing = line.expects.iter().filter(|wanted| !output.contains(wanted.as_str()));
    let wrong = missing.map(|wanted| format!("the output should contain {wanted:?}")).collect();
    Ok(Outcome { output, wrong })
}

impl Outcome {
    /// Prints the output, shortened, and what is wrong with it.
    pub(super) fn show(&self) -> Result<()> {
        let lines: Vec<_> = self.output.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        for line in lines.iter().take(SHOWN) {
            let cut: String = line.chars().take(WIDTH).collect();
            say(format_args!("  {cut}{}", if cut.len() < line.len() { "…" } else { "" }))?;
        }
        if lines.len() > SHOWN {
            say(format_args!("  … {} more lines", lines.len() - SHOWN))?;
        }
        self.wrong.iter().try_for_each(|wrong| say(format_args!("  WRONG: {wrong}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn is_right(command: &str, wanted: &str) -> bool {
        let line = Line { command: command.to_owned(), expects: vec![wanted.to_owned()], settles: false };
        paste(&line, &BTreeMap::from([("TOKEN", "secret".to_owned())])).await.expect("sh runs").wrong.is_empty()
    }

    #[tokio::test]
    async fn line_is_judged_by_all_of_its_output() {
        assert!(is_right("echo it says $TOKEN", "says secret").await);
        assert!(is_right("echo on the other stream >&2", "other stream").await);
        assert!(!is_right("echo nothing", "something").await);
        assert!(!is_right("exit 1", "something").await);
    }

    #[tokio::test]
    async fn line_that_settles_is_looked_at_until_it_is_right() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = directory.path().join("log");
        // The first look writes what the second finds.
        let command = format!("cat {0}; echo written > {0}", log.display());
        let line = Line { command, expects: vec!["written".to_owned()], settles: true };
        assert!(paste(&line, &BTreeMap::new()).await.expect("sh runs").wrong.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn line_that_does_not_end_is_wrong() {
        // The clock is moved on as soon as nothing else is left to do, which is at once.
        assert!(!is_right("exec sleep 600", "").await);
    }
}
