//! The tour: lines that show what Accord does, each of which works when pasted. `--once` pastes them itself.

mod paste;
mod script;

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use crate::{programs::on_path, say::say};

/// The programs that can call gRPC, of which one is enough; the tour shows each such call in the words of each.
const GRPC_TOOLS: [&str; 2] = ["grpcurl", "buf"];

/// One thing that is shown, in one or several ways.
pub(crate) struct Step {
    /// What it shows.
    pub title: String,
    /// The ways.
    pub lines: Vec<Line>,
}

/// A line for a shell.
pub(crate) struct Line {
    /// The line.
    pub command: String,
    /// What its output must contain, in any order.
    pub expects: Vec<String>,
    /// Whether it reads what is written a moment later.
    pub settles: bool,
}

/// What the lines speak of.
pub(crate) struct Scene {
    /// Variables that the lines use, and their values.
    pub variables: BTreeMap<&'static str, String>,
    /// What stands in the lines for `{word}`.
    pub words: BTreeMap<&'static str, String>,
}

/// Prints the lines for somebody to paste.
pub(crate) fn print(scene: &Scene) -> Result<()> {
    say("Paste this first; the tokens are for development and good here only:\n")?;
    for (name, value) in &scene.variables {
        say(format_args!("  export {name}={value}"))?;
    }
    for step in script::steps(scene) {
        say(format_args!("\n  # {}", step.title))?;
        for line in step.lines {
            say(format_args!("  {}", line.command))?;
        }
    }
    say("")
}

/// Fails with what to install where `run` would have nothing to run a line with.
pub(crate) fn require_tools() -> Result<()> {
    if !is_installed("curl") {
        bail!("the tour needs curl: install it with your system's package manager, such as `apt-get install curl`");
    }
    Ok(())
}

/// Runs every line whose program is installed, prints what came, and fails if any of it was not as it should be.
pub(crate) async fn run(scene: &Scene) -> Result<()> {
    let (mut pasted, mut wrong, mut untried) = (0, 0, 0);
    for step in script::steps(scene) {
        say(format_args!("\n# {}", step.title))?;
        let chosen = chosen(&step, is_installed);
        if chosen.is_empty() {
            untried += 1;
            say("not tried: neither grpcurl nor buf is installed")?;
        }
        for line in chosen {
            say(format_args!("$ {}", line.command))?;
            let outcome = paste::paste(line, &scene.variables).await?;
            outcome.show()?;
            pasted += 1;
            wrong += usize::from(!outcome.wrong.is_empty());
        }
    }
    match wrong {
        0 if untried > 0 => say(format_args!(
            "\nAll {pasted} lines did what they should. Not tried: {untried} steps that need grpcurl or buf; install one, such \
             as by `npm install -g @bufbuild/buf`."
        )),
        0 => say(format_args!("\nAll {pasted} lines did what they should.")),
        1 => bail!("one line of the tour did not do what it should: it is marked WRONG above"),
        several => bail!("{several} lines of the tour did not do what they should: they are marked WRONG above"),
    }
}

/// Every line of a step runs but those of a program for gRPC that is not installed.
fn chosen(step: &Step, is_installed: impl Fn(&str) -> bool) -> Vec<&Line> {
    let runs = |line: &&Line| {
        let program = line.command.split(' ').next().unwrap_or_default();
        !GRPC_TOOLS.contains(&program) || is_installed(program)
    };
    step.lines.iter().filter(runs).collect()
}

fn is_installed(program: &str) -> bool {
    on_path(program).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps() -> Vec<Step> {
        script::steps(&Scene { variables: BTreeMap::new(), words: BTreeMap::new() })
    }

    #[test]
    fn tour_without_a_grpc_tool_tries_every_step_but_those_that_need_one() {
        let steps = steps();
        let untried: Vec<_> = steps.iter().filter(|step| chosen(step, |_| false).is_empty()).collect();
        assert_eq!(untried.len(), 2, "the call and the list of services");
        assert!(untried.iter().all(|step| step.lines.iter().all(|line| !line.command.starts_with("curl"))));
    }

    #[test]
    fn tour_with_one_grpc_tool_tries_every_step() {
        for tool in GRPC_TOOLS {
            assert!(steps().iter().all(|step| !chosen(step, |program| program == tool).is_empty()), "{tool}");
        }
    }
}
