//! What commands print. Where nobody reads it any more, or it can't be written, that is no defect: `print!` would panic.

use std::{
    fmt,
    io::{self, ErrorKind, Write},
};

use anyhow::Context;

/// Prints text as it stands to standard output. That its reader has gone, as with `| head`, is no error.
pub fn print(text: impl fmt::Display) -> anyhow::Result<()> {
    write_to(io::stdout().lock(), text)
}

/// Prints a line to standard error. If that can't be written either, nobody is left to be told.
pub fn print_error(line: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

fn write_to(mut output: impl Write, text: impl fmt::Display) -> anyhow::Result<()> {
    match write!(output, "{text}").and_then(|()| output.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("can't write to standard output; check where it leads"),
    }
}

#[cfg(test)]
mod tests {
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
    fn output_whose_reader_has_gone_is_no_error() {
        assert!(write_to(Failing(ErrorKind::BrokenPipe), "text").is_ok());
    }

    #[test]
    fn output_that_cannot_be_written_is_an_error_with_a_remedy() {
        let error = write_to(Failing(ErrorKind::StorageFull), "text").unwrap_err();
        assert_eq!(error.to_string(), "can't write to standard output; check where it leads");
    }
}
