//! What the chores have to say. `println!` would panic where nobody reads any more, such as under `head` or after the
//! terminal was closed, and what was started would be killed instead of drained.

use std::{
    error::Error,
    fmt::{self, Display},
    io::{ErrorKind, Write, stderr, stdout},
};

use anyhow::{Context, Result};

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
    let _ = writeln!(stderr(), "{line}");
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
    fn output_whose_reader_has_gone_is_told_from_one_that_cannot_be_written() {
        let is_gone = |kind| write_to(Failing(kind), "text").unwrap_err().is::<ReaderGone>();
        assert_eq!([ErrorKind::BrokenPipe, ErrorKind::StorageFull].map(is_gone), [true, false]);
    }
}
