//! Load of our own, for what h2load can't send: requests that differ, streams of messages, keys of memcached.

use std::{
    cell::RefCell,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// Lines of a report after its first.
const PERCENTILES: usize = 4;

/// `accord-bench`, which sends.
pub(super) struct Varied {
    program: PathBuf,
}

impl Varied {
    /// By the program of upstream and floors.
    pub(super) fn new(program: &Path) -> Self {
        Self { program: program.to_owned() }
    }

    /// Sends so many requests as the flags say; an error unless all succeed.
    pub(super) fn send(&self, address: SocketAddr, count: u32, flags: &[&str]) -> Result<()> {
        self.times(address, count, flags).map(drop)
    }

    /// The same, and how long they took.
    pub(super) fn times(&self, address: SocketAddr, count: u32, flags: &[&str]) -> Result<Times> {
        self.once(&[&["load", &address.to_string()], flags].concat(), count)
    }

    /// Reads so many keys at once of a memcached, so often; an error unless all are there.
    pub(super) fn memcached(&self, address: SocketAddr, keys: u32, connections: u32, count: u32) -> Result<()> {
        let (address, keys, connections) = (address.to_string(), keys.to_string(), connections.to_string());
        let arguments = ["memcached", &address, "--keys", &keys, "--connections", &connections];
        self.once(&arguments, count).map(drop)
    }

    /// Opens connections that stay from turn to turn.
    pub(super) fn session(&self, address: SocketAddr, flags: &[String]) -> Result<Session> {
        let address = address.to_string();
        let flags = flags.iter().map(String::as_str);
        self.turns(&["load", &address, "--session"].into_iter().chain(flags).collect::<Vec<_>>())
    }

    /// Starts what works in turns.
    pub(super) fn turns(&self, arguments: &[&str]) -> Result<Session> {
        let mut command = Command::new(&self.program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().context("accord-bench could not be started")?;
        let pipes = process.stdin.take().zip(process.stdout.take().map(BufReader::new));
        let session = Session { process, pipes: RefCell::new(pipes.context("a child has pipes")?) };
        Times::read(&mut session.pipes.borrow_mut().1, 0).context("accord-bench can't begin")?;
        Ok(session)
    }

    fn once(&self, arguments: &[&str], count: u32) -> Result<Times> {
        let output = Command::new(&self.program).args(arguments).args(["--requests", &count.to_string()]).output();
        let output = output.context("accord-bench could not be started")?;
        let times = Times::read(&mut &*output.stdout, count);
        times.with_context(|| format!("not every request succeeded: {}", String::from_utf8_lossy(&output.stderr)))
    }
}

/// How long requests took, in microseconds.
pub(super) struct Times {
    /// By percentile.
    pub percentiles: Vec<(String, f64)>,
}

impl Times {
    /// Reads a report of `accord-bench load`: `ok N`, then percentiles.
    fn read(report: &mut impl BufRead, count: u32) -> Result<Self> {
        let mut lines = report.lines();
        let first = lines.next().context("the load ended early")??;
        ensure!(first == format!("ok {count}"), "the load says {first:?}");
        let mut percentiles = Vec::new();
        for _ in 0..PERCENTILES {
            let line = lines.next().context("the load ended early")??;
            let (name, microseconds) = line.split_once(' ').context("a percentile has a name")?;
            percentiles.push((name.to_owned(), microseconds.parse()?));
        }
        Ok(Self { percentiles })
    }
}

/// A process that works in turns; its connections stay until this is dropped.
pub(super) struct Session {
    process: Child,
    pipes: RefCell<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Session {
    /// Its process, where that is what is measured.
    pub(super) fn process(&self) -> u32 {
        self.process.id()
    }

    /// Does so much; an error unless all succeeds.
    pub(super) fn send(&self, count: u32) -> Result<()> {
        let (input, output) = &mut *self.pipes.borrow_mut();
        writeln!(input, "{count}").context("the load ended early")?;
        Times::read(output, count).context("not every request succeeded").map(drop)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &[u8] = b"ok 2\np50 10\np90 20\np99 30\np99.9 40\n";

    #[test]
    fn report_has_percentiles_in_microseconds() {
        let times = Times::read(&mut &*REPORT, 2).unwrap();
        assert_eq!(times.percentiles[3], ("p99.9".to_owned(), 40.0));
    }

    #[test]
    fn report_of_fewer_requests_than_were_asked_for_is_an_error() {
        assert!(Times::read(&mut &*REPORT, 3).is_err());
    }
}
