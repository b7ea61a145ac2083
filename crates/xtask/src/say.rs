//! What the chores have to say. `println!` would panic where nobody reads any more, such as under `head` or after the
//! terminal was closed, and what was started would be killed instead of drained.

use std::{
    fmt::Display,
    io::{Write, stderr, stdout},
};

use anyhow::{Context, Result};

/// Prints a line of the result; an error where nobody reads it.
pub(crate) fn say(line: impl Display) -> Result<()> {
    show(format_args!("{line}\n"))
}

/// As [`say`], without ending the line.
pub(crate) fn show(text: impl Display) -> Result<()> {
    let mut out = stdout().lock();
    write!(out, "{text}").and_then(|()| out.flush()).context("the output can't be written")
}

/// Prints a line about the progress; it is lost where nobody reads it.
pub(crate) fn note(line: impl Display) {
    let _ = writeln!(stderr(), "{line}");
}
