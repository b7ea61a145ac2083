//! How far a command is that takes its time: a line on standard error, where that is a terminal.
//!
//! It comes after two seconds, so that what is quick shows nothing, and goes when the command ends. `NO_COLOR` and a terminal
//! that is `dumb` have none: it takes control sequences. What a command prints goes to standard output, past it.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    io::{self, IsTerminal, Read, Write, stderr},
    time::{Duration, Instant},
};

/// What is done sooner than this shows no progress.
const QUIET: Duration = Duration::from_secs(2);

/// The time between two looks of the line.
const BETWEEN: Duration = Duration::from_millis(200);

/// To the first column, and away with what stands there.
const CLEARED: &str = "\r\x1b[2K";

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things of this name, in the plural.
    Items(&'static str),
    /// Bytes, shown as megabytes.
    Bytes,
}

/// How far something is.
#[derive(Debug)]
pub struct Progress {
    /// What is being done, such as `backup`.
    what: &'static str,
    unit: Unit,
    total: Option<u64>,
    done: u64,
    begun: Instant,
    shown: Option<Instant>,
    is_live: bool,
}

impl Progress {
    /// Begins to count.
    pub fn begin(what: &'static str, unit: Unit) -> Self {
        let variable = |name: &str| std::env::var_os(name);
        let is_live = is_live(stderr().is_terminal(), variable);
        Self { what, unit, total: None, done: 0, begun: Instant::now(), shown: None, is_live }
    }

    /// How many there will be.
    #[must_use]
    pub fn of(self, total: u64) -> Self {
        Self { total: Some(total), ..self }
    }

    /// So many more are done.
    pub fn advance(&mut self, count: u64) {
        self.done = self.done.saturating_add(count);
        if self.is_live && self.is_due(Instant::now()) {
            draw(&self);
        }
    }

    /// A reader whose bytes are counted.
    pub fn reading<R>(&mut self, inner: R) -> Counted<'_, R> {
        Counted { inner, progress: self }
    }

    /// A writer whose bytes are counted.
    pub fn writing<W>(&mut self, inner: W) -> Counted<'_, W> {
        Counted { inner, progress: self }
    }

    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = match self.shown {
            None => now.duration_since(self.begun) >= QUIET,
            Some(shown) => now.duration_since(shown) >= BETWEEN,
        };
        if is_due {
            self.shown = Some(now);
        }
        is_due
    }
}

/// Puts a text in the place of the line. What can't be written is lost: nobody is left to look.
fn draw(text: impl fmt::Display) {
    let mut terminal = stderr().lock();
    let _ = write!(terminal, "{CLEARED}{text}").and_then(|()| terminal.flush());
}

/// Whether there is somebody to look, on something that can take a line back.
fn is_live(is_terminal: bool, variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let no_color = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
    is_terminal && !no_color && variable("TERM").as_deref() != Some(OsStr::new("dumb"))
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, unit, total, done, begun, .. } = self;
        write!(f, "{what}: ")?;
        match unit {
            Unit::Items(name) => match total {
                Some(total) => write!(f, "{done} of {total} {name}")?,
                None => write!(f, "{done} {name}")?,
            },
            Unit::Bytes => match total {
                Some(total) => write!(f, "{} of {} MB", done / 1_000_000, total / 1_000_000)?,
                None => write!(f, "{} MB", done / 1_000_000)?,
            },
        }
        write!(f, ", {} s", begun.elapsed().as_secs())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            draw("");
        }
    }
}

/// A reader or a writer whose bytes are counted.
#[derive(Debug)]
pub struct Counted<'a, I> {
    inner: I,
    progress: &'a mut Progress,
}

impl<I> Counted<'_, I> {
    fn count(&mut self, moved: io::Result<usize>) -> io::Result<usize> {
        moved.inspect(|count| self.progress.advance(u64::try_from(*count).unwrap_or(u64::MAX)))
    }
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer);
        self.count(read)
    }
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer);
        self.count(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live_with(variables: &'static [(&'static str, &'static str)]) -> bool {
        is_live(true, |name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn progress_is_for_terminals_that_take_control_sequences() {
        assert!(live_with(&[]) && live_with(&[("NO_COLOR", "")]));
        assert!(!live_with(&[("NO_COLOR", "1")]) && !live_with(&[("TERM", "dumb")]));
        assert!(!is_live(false, |_| None));
    }

    #[test]
    fn progress_is_shown_after_two_seconds_and_not_at_every_step() {
        let mut progress = Progress::begin("backup", Unit::Bytes);
        let after = |time| progress.begun + time;
        let times = [Duration::from_millis(1900), QUIET, QUIET + BETWEEN / 2, QUIET + BETWEEN].map(after);
        let due = times.map(|time| progress.is_due(time));
        progress.shown = None;
        assert_eq!(due, [false, true, false, true]);
    }

    #[test]
    fn line_says_how_much_of_how_much_is_done() {
        let mut progress = Progress::begin("restore", Unit::Bytes).of(12_000_000);
        let mut bytes = Vec::new();
        progress.reading(io::repeat(0).take(3_500_000)).read_to_end(&mut bytes).unwrap();
        assert_eq!(progress.to_string(), "restore: 3 of 12 MB, 0 s");
        let mut rows = Progress::begin("audit verify", Unit::Items("rows"));
        rows.advance(7);
        assert_eq!(rows.to_string(), "audit verify: 7 rows, 0 s");
    }
}
