//! How far a command is that takes its time: a line on standard error, where that is a terminal.
//!
//! It comes after two seconds, so that what is quick shows nothing, and goes when the command ends. `NO_COLOR` and a terminal
//! that is `dumb` have none: it takes control sequences. What a command prints goes to standard output, past it. A thread draws
//! it, so that it goes on while one step takes long.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    io::{self, IsTerminal, Read, Write, stderr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// What is done sooner than this shows no progress.
const QUIET: Duration = Duration::from_secs(2);

/// The time between two looks of the line.
const BETWEEN: Duration = Duration::from_millis(200);

/// To the first column, and away with what stands there.
const CLEARED: &str = "\r\x1b[2K";

/// How many characters a bar has.
const BAR: u64 = 20;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things of this name, in the plural. Of what is read or written, each line is one.
    Items(&'static str),
    /// Bytes, shown as megabytes.
    Bytes,
    /// Nothing: how long it takes is all that can be said.
    Time,
}

/// How far something is.
#[derive(Debug)]
pub struct Progress {
    state: Arc<State>,
    painter: Option<Painter>,
}

/// What is shown.
#[derive(Debug)]
struct State {
    /// What is being done, such as `backup`.
    what: &'static str,
    unit: Unit,
    /// 0 where it is not known.
    total: AtomicU64,
    done: AtomicU64,
    begun: Instant,
}

/// The thread that draws, until the sender is dropped.
#[derive(Debug)]
struct Painter {
    until: Sender<()>,
    thread: JoinHandle<()>,
}

impl Progress {
    /// Begins to count.
    pub fn begin(what: &'static str, unit: Unit) -> Self {
        let variable = |name: &str| std::env::var_os(name);
        let state = State { what, unit, total: 0.into(), done: 0.into(), begun: Instant::now() };
        let state = Arc::new(state);
        let is_live = is_live(stderr().is_terminal(), variable);
        let painter = is_live.then(|| Painter::start(Arc::clone(&state))).flatten();
        Self { state, painter }
    }

    /// How many there will be.
    #[must_use]
    pub fn of(self, total: u64) -> Self {
        self.state.total.store(total, Ordering::Relaxed);
        self
    }

    /// So many more are done.
    pub fn advance(&self, count: u64) {
        self.state.done.fetch_add(count, Ordering::Relaxed);
    }

    /// A reader of which it is counted what was read.
    pub fn reading<R>(&self, inner: R) -> Counted<'_, R> {
        Counted { inner, progress: self }
    }

    /// A writer of which it is counted what was written.
    pub fn writing<W>(&self, inner: W) -> Counted<'_, W> {
        Counted { inner, progress: self }
    }
}

impl Drop for Progress {
    /// The line is gone before anything else is printed.
    fn drop(&mut self) {
        if let Some(Painter { until, thread }) = self.painter.take() {
            drop(until);
            let _ = thread.join();
        }
    }
}

impl Painter {
    /// None where there is no thread to be had: the command goes on without.
    fn start(state: Arc<State>) -> Option<Self> {
        let (until, ended) = mpsc::channel();
        let thread = thread::Builder::new().name("progress".to_owned());
        let thread = thread.spawn(move || paint(&ended, [QUIET, BETWEEN], || state.to_string(), draw));
        Some(Self { until, thread: thread.ok()? })
    }
}

/// Draws a text after the first time and after each further one, until the other side is gone; then what was drawn is taken away.
fn paint(ended: &Receiver<()>, [first, further]: [Duration; 2], text: impl Fn() -> String, mut draw: impl FnMut(&str)) {
    let mut pause = first;
    while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        draw(&text());
        pause = further;
    }
    if pause == further {
        draw("");
    }
}

/// Puts a text in the place of the line. What can't be written is lost: nobody is left to look.
fn draw(text: &str) {
    let mut terminal = stderr().lock();
    let _ = write!(terminal, "{CLEARED}{text}").and_then(|()| terminal.flush());
}

/// Whether there is somebody to look, on something that can take a line back.
fn is_live(is_terminal: bool, variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let no_color = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
    is_terminal && !no_color && variable("TERM").as_deref() != Some(OsStr::new("dumb"))
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, unit, total, done, begun } = self;
        let (total, done) = (total.load(Ordering::Relaxed), done.load(Ordering::Relaxed));
        write!(f, "{what}: ")?;
        if total > 0 {
            // What is counted beforehand may have become more.
            let full = usize::try_from(u128::from(BAR) * u128::from(done.min(total)) / u128::from(total)).unwrap_or(0);
            let width = usize::try_from(BAR).unwrap_or(0);
            write!(f, "[{:<width$}] ", "=".repeat(full))?;
        }
        let shown = |count: u64| if *unit == Unit::Bytes { count / 1_000_000 } else { count };
        let of = if total > 0 { format!(" of {}", shown(total)) } else { String::new() };
        match unit {
            Unit::Items(name) => write!(f, "{done}{of} {name}, ")?,
            Unit::Bytes => write!(f, "{}{of} MB, ", shown(done))?,
            Unit::Time => {}
        }
        write!(f, "{} s", begun.elapsed().as_secs())
    }
}

/// A reader or a writer of which it is counted what went through.
#[derive(Debug)]
pub struct Counted<'a, I> {
    inner: I,
    progress: &'a Progress,
}

impl<I> Counted<'_, I> {
    fn count(&self, bytes: &[u8]) {
        let count = match self.progress.state.unit {
            Unit::Bytes => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            Unit::Items(_) => bytes.iter().map(|byte| u64::from(*byte == b'\n')).sum(),
            Unit::Time => 0,
        };
        self.progress.advance(count);
    }
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.count(buffer.get(..written).unwrap_or_default());
        Ok(written)
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

    /// What is drawn with these pauses until the command ends, which it does after so many times.
    fn drawn(pauses: [Duration; 2], times: usize) -> Vec<String> {
        let (until, ended) = mpsc::channel();
        let (mut until, mut lines) = (Some(until), Vec::new());
        if times == 0 {
            until = None;
        }
        paint(
            &ended,
            pauses,
            || "line".to_owned(),
            |line| {
                lines.push(line.to_owned());
                if lines.len() >= times {
                    until = None;
                }
            },
        );
        lines
    }

    #[test]
    fn line_is_drawn_again_until_the_end_and_taken_away_then() {
        let step = Duration::from_millis(1);
        assert_eq!(drawn([step, 2 * step], 3), ["line", "line", "line", ""]);
    }

    #[test]
    fn nothing_is_drawn_of_what_ends_soon() {
        assert!(drawn([QUIET, BETWEEN], 0).is_empty());
    }

    #[test]
    fn line_says_how_much_of_how_much_is_done() {
        let progress = Progress::begin("restore", Unit::Bytes).of(12_000_000);
        let mut bytes = Vec::new();
        progress.reading(io::repeat(0).take(3_500_000)).read_to_end(&mut bytes).unwrap();
        assert_eq!(progress.state.to_string(), "restore: [=====               ] 3 of 12 MB, 0 s");
        let rows = Progress::begin("audit verify", Unit::Items("rows"));
        rows.advance(7);
        assert_eq!(rows.state.to_string(), "audit verify: 7 rows, 0 s");
        assert_eq!(Progress::begin("contract", Unit::Time).state.to_string(), "contract: 0 s");
    }

    #[test]
    fn lines_that_are_written_are_counted_and_more_than_all_is_a_full_bar() {
        let progress = Progress::begin("backup", Unit::Items("rows")).of(2);
        progress.writing(Vec::new()).write_all(b"one\ntwo\nthree\n").unwrap();
        assert_eq!(progress.state.to_string(), "backup: [====================] 3 of 2 rows, 0 s");
    }
}
