//! Rate-limited log line: a peer who causes it can't fill the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The least time between two lines.
const BETWEEN_LINES: Duration = Duration::from_secs(30);

/// When the line was written last.
#[derive(Debug, Default)]
pub struct RateLimitedLog(Mutex<Option<Instant>>);

impl RateLimitedLog {
    /// Writes the line, where none was written in the last 30 s.
    pub fn write(&self, line: impl FnOnce()) {
        if self.is_due() {
            line();
        }
    }

    fn is_due(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| last.elapsed() > BETWEEN_LINES);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_that_follows_another_at_once_is_not_written() {
        let (log, mut lines) = (RateLimitedLog::default(), 0);
        log.write(|| lines += 1);
        log.write(|| lines += 1);
        assert_eq!(lines, 1);
    }
}
