//! What the chores have to say. `println!` would panic where nobody reads any more, such as under `head` or after the
//! terminal was closed, and what was started would be killed instead of drained.

use std::{
    error::Error,
    ffi::{OsStr, OsString},
    fmt::{self, Display},
    io::{ErrorKind, IsTerminal, Write, stderr, stdout},
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, Result};

/// To the first column, and away with what stands there.
const CLEARED: &str = "\r\x1b[2K";

/// Whether a line of [`progress`] stands on the terminal.
static IS_DRAWN: AtomicBool = AtomicBool::new(false);

/// Nobody reads the output any more, such as under `head`: what is being done ends, and there is nobody to be told.
#[derive(Debug)]
pub(crate) struct ReaderGone;

impl Display for ReaderGone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("nobody reads the output any more")
    }
}

impl Error for ReaderGone {}

/// Prints a line of the result; an error where nobody reads it.
pub(crate) fn say(line: impl Display) -> Result<()> {
    show(format_args!("{line}\n"))
}

/// As [`say`], without ending the line.
pub(crate) fn show(text: impl Display) -> Result<()> {
    clear();
    write_to(stdout().lock(), text)
}

fn write_to(mut out: impl Write, text: impl Display) -> Result<()> {
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        written => written.context("the output can't be written"),
    }
}

/// Prints a line about the progress; it is lost where nobody reads it.
pub(crate) fn note(line: impl Display) {
    clear();
    let _ = writeln!(stderr(), "{line}");
}

/// Shows how far something is, until the next line comes: on a terminal that can take it back, and without `NO_COLOR`.
pub(crate) fn progress(line: impl Display) {
    if is_live(stderr().is_terminal(), |name| std::env::var_os(name)) {
        let _ = write!(stderr(), "{CLEARED}{line}").and_then(|()| stderr().flush());
        IS_DRAWN.store(true, Ordering::Relaxed);
    }
}

fn clear() {
    if IS_DRAWN.swap(false, Ordering::Relaxed) {
        let _ = write!(stderr(), "{CLEARED}");
    }
}

fn is_live(is_terminal: bool, variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let no_color = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
    is_terminal && !no_color && variable("TERM").as_deref() != Some(OsStr::new("dumb"))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// Fails on every write.
    struct Failing(ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn progress_is_for_terminals_that_take_lines_back() {
        let with = |name: &'static str, value: &'static str| move |asked: &str| (asked == name).then(|| value.into());
        assert!(is_live(true, |_| None) && is_live(true, with("NO_COLOR", "")));
        assert!(
            !is_live(false, |_| None) && !is_live(true, with("NO_COLOR", "1")) && !is_live(true, with("TERM", "dumb"))
        );
    }

    #[test]
    fn output_whose_reader_has_gone_is_told_from_one_that_cannot_be_written() {
        let is_gone = |kind| write_to(Failing(kind), "text").unwrap_err().is::<ReaderGone>();
        assert_eq!([ErrorKind::BrokenPipe, ErrorKind::StorageFull].map(is_gone), [true, false]);
    }
}
