//! Lines on their way to standard output: gathered in memory, and written many at a time by a thread of their own.
//!
//! A call only copies its line. A thread that was woken for each, and a write for each, cost more than all else of a line.

use std::{
    io::Write,
    mem,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// Bytes of lines that wait to be written: some seconds of a busy gateway. As many may be on their way out.
const MOST_WAITING: usize = 4 << 20;

/// The time in which lines gather before they are written.
const GATHER: Duration = Duration::from_millis(10);

/// The longest that a process waits at its end for whoever reads standard output.
const LAST_WRITE: Duration = Duration::from_secs(1);

/// Takes lines without waiting for whoever reads them. Clones share one queue.
#[derive(Clone, Debug)]
pub(super) struct LineQueue(Arc<Queue>);

#[derive(Debug, Default)]
struct Queue {
    lines: Mutex<Lines>,
    /// Told of the first line that waits, of the end, and of the last line that was written.
    changed: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Lines {
    waiting: Vec<u8>,
    is_closed: bool,
    is_written: bool,
}

impl LineQueue {
    /// A queue of lines that are written to `out` by a thread. What waits is written when the guard is dropped.
    pub(super) fn start(out: impl Write + Send + 'static) -> std::io::Result<(Self, LastLines)> {
        let queue = Self(Arc::new(Queue::default()));
        let drained = queue.clone();
        thread::Builder::new().name("access-log".to_owned()).spawn(move || drained.drain(out))?;
        Ok((queue.clone(), LastLines(queue)))
    }

    /// Adds a whole line, unless too much waits already: then it is dropped and counted.
    pub(super) fn push(&self, line: &[u8]) {
        let mut lines = self.lines();
        if lines.waiting.len() + line.len() > MOST_WAITING {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let is_first = lines.waiting.is_empty();
        lines.waiting.extend_from_slice(line);
        drop(lines);
        if is_first {
            self.0.changed.notify_all();
        }
    }

    /// How many lines were dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    fn drain(&self, mut out: impl Write) {
        let mut batch = Vec::new();
        while self.next(&mut batch) {
            // Nobody reads any more: the log is lost, and the calls are not.
            if out.write_all(&batch).and_then(|()| out.flush()).is_err() {
                let lines = batch.split_inclusive(|byte| *byte == b'\n').count();
                self.0.dropped.fetch_add(lines as u64, Ordering::Relaxed);
            }
            batch.clear();
        }
        self.lines().is_written = true;
        self.0.changed.notify_all();
    }

    /// The lines that gathered; none once the queue is closed and empty.
    fn next(&self, batch: &mut Vec<u8>) -> bool {
        let is_idle = |lines: &mut Lines| lines.waiting.is_empty() && !lines.is_closed;
        let lines = self.0.changed.wait_while(self.lines(), is_idle).unwrap_or_else(PoisonError::into_inner);
        let is_open = |lines: &mut Lines| !lines.is_closed;
        let gathered = self.0.changed.wait_timeout_while(lines, GATHER, is_open);
        let mut lines = gathered.unwrap_or_else(PoisonError::into_inner).0;
        mem::swap(&mut lines.waiting, batch);
        !batch.is_empty()
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes what waits when it is dropped, for as long as somebody reads it.
#[derive(Debug)]
pub(crate) struct LastLines(LineQueue);

impl Drop for LastLines {
    fn drop(&mut self) {
        let queue = &self.0;
        let mut lines = queue.lines();
        lines.is_closed = true;
        queue.0.changed.notify_all();
        let _ = queue.0.changed.wait_timeout_while(lines, LAST_WRITE, |lines| !lines.is_written);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Tells what is written, and waits with it until it is read.
    struct Reader(Sender<Vec<u8>>, Receiver<()>);

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(std::io::Error::other)?;
            let _ = self.1.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn started() -> (LineQueue, LastLines, Receiver<Vec<u8>>, Sender<()>) {
        let ((written, seen), (read, awaited)) = (channel(), channel());
        let (queue, guard) = LineQueue::start(Reader(written, awaited)).unwrap();
        (queue, guard, seen, read)
    }

    #[test]
    fn lines_that_gather_are_written_in_one_piece() {
        let (queue, _guard, seen, read) = started();
        queue.push(b"first\n");
        seen.recv().unwrap();
        // Nobody has read the first one yet, so the others gather.
        for line in [b"one\n", b"two\n"] {
            queue.push(line);
        }
        read.send(()).unwrap();
        assert_eq!(seen.recv().unwrap(), b"one\ntwo\n");
        drop(read);
    }

    #[test]
    fn lines_that_nobody_reads_are_dropped_and_counted_above_the_bound() {
        let (queue, guard, seen, read) = started();
        queue.push(b"first\n");
        seen.recv().unwrap();
        let line = vec![b'x'; MOST_WAITING / 2];
        for _ in 0..3 {
            queue.push(&line);
        }
        assert_eq!(queue.dropped(), 1);
        drop(read);
        drop(guard);
    }

    #[test]
    fn lines_that_can_not_be_written_are_counted_as_dropped() {
        let (queue, guard, seen, _read) = started();
        drop(seen);
        queue.push(b"one\n");
        queue.push(b"two\n");
        drop(guard);
        assert_eq!(queue.dropped(), 2);
    }

    #[test]
    fn what_waits_is_written_at_the_end() {
        let (queue, guard, seen, read) = started();
        drop(read);
        queue.push(b"last\n");
        drop(guard);
        assert_eq!(seen.iter().collect::<Vec<_>>().concat(), b"last\n");
    }
}
