//! Running a printed line as a shell would, and looking at what it prints.

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use super::Line;

/// Lines of output that are shown; a stream or a long document is cut there.
const SHOWN: usize = 14;
/// Characters of a line that are shown.
const WIDTH: usize = 160;

/// Runs a line, shows it with its output, and tells whether the output was as it should be.
pub fn paste(line: &Line, variables: &BTreeMap<&'static str, String>) -> Result<bool> {
    println!("$ {}", line.command);
    let output = Command::new("sh")
        // Both streams in one, as they would stand on a terminal.
        .args(["-c", &format!("{{ {}\n}} 2>&1", line.command)])
        .envs(variables)
        .stdin(Stdio::null())
        .output()
        .context("can't run sh")?;
    let text = String::from_utf8_lossy(&output.stdout);
    show(&text);
    let missing: Vec<_> = line.expects.iter().filter(|wanted| !text.contains(wanted.as_str())).collect();
    for wanted in &missing {
        println!("  WRONG: the output should contain {wanted:?}");
    }
    Ok(missing.is_empty())
}

fn show(text: &str) {
    let lines: Vec<_> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    for line in lines.iter().take(SHOWN) {
        let cut: String = line.chars().take(WIDTH).collect();
        println!("  {cut}{}", if cut.len() < line.len() { "…" } else { "" });
    }
    if lines.len() > SHOWN {
        println!("  … {} more lines", lines.len() - SHOWN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pasted(command: &str, wanted: &str) -> bool {
        let line = Line { command: command.to_owned(), expects: vec![wanted.to_owned()] };
        paste(&line, &BTreeMap::from([("TOKEN", "secret".to_owned())])).expect("sh runs")
    }

    #[test]
    fn a_line_is_judged_by_what_it_prints_anywhere() {
        assert!(pasted("echo it says $TOKEN", "says secret"));
        assert!(pasted("echo on the other stream >&2", "other stream"));
        assert!(!pasted("echo nothing", "something"));
        assert!(!pasted("exit 1", "something"));
    }
}
