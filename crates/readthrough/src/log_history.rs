//! What was read of an invalidation log, as far as values of the second level are judged by it.

use std::collections::VecDeque;

use crate::log::Record;
use crate::position::Position;
use crate::shared_value::{Rules, SharedMiss};

/// Records whose marks are remembered. What was loaded before the oldest of them is a miss.
const MOST: usize = 65_536;

/// What was read. It changes before the epochs of what was read end.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// The incarnation; nothing where there is no log.
    log: Option<u128>,
    /// The oldest number whose mark is known. Of what came before it, nothing is.
    first: u64,
    /// From that one on.
    marks: VecDeque<u64>,
    /// The newest number that invalidated everything.
    flushed: u64,
}

impl History {
    /// Of the log, the records after this number will be read. Its mark, where that is known.
    pub(crate) fn begin(log: u128, (number, mark): (u64, Option<u64>)) -> Self {
        let first = if mark.is_some() { number } else { number + 1 };
        Self { log: Some(log), first, marks: mark.into_iter().collect(), flushed: 0 }
    }

    pub(crate) fn reach(&mut self, record: &Record) {
        if record.is_flush {
            self.flushed = record.number;
        }
        let next = self.first + self.marks.len() as u64;
        if record.number < next {
            return;
        }
        if record.number > next {
            (self.first, self.marks) = (record.number, VecDeque::new());
        }
        self.marks.push_back(record.mark);
        if self.marks.len() > MOST {
            self.marks.pop_front();
            self.first += 1;
        }
    }

    /// The newest that was read.
    pub(crate) fn position(&self) -> Option<Position> {
        let (log, mark) = (self.log?, *self.marks.back()?);
        Some(Position { log, number: self.first + self.marks.len() as u64 - 1, mark })
    }

    /// Whether everything is known that was invalidated after this.
    pub(crate) fn knows(&self, since: Position, rules: Rules) -> Result<(), SharedMiss> {
        if rules.of_one_log && self.log != Some(since.log) {
            return Err(SharedMiss::OtherLog);
        }
        let Some(place) = since.number.checked_sub(self.first) else {
            return if rules.history_bounded { Err(SharedMiss::BeforeHistory) } else { Ok(()) };
        };
        let mark = usize::try_from(place).ok().and_then(|place| self.marks.get(place));
        match mark {
            _ if !rules.marks_compared || !rules.of_one_log => Ok(()),
            // Its mark comes with the next verification.
            None => Err(SharedMiss::Ahead),
            Some(mark) if *mark == since.mark => Ok(()),
            // The log has lost what it was loaded after.
            Some(_) => Err(SharedMiss::OtherLog),
        }
    }

    pub(crate) fn has_not_flushed(&self, since: Position) -> bool {
        self.flushed <= since.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u64) -> Record {
        Record { number, is_flush: false, tags: [].into(), writer: None, mark: number * 10, change: None }
    }

    fn at(number: u64, mark: u64) -> Position {
        Position { log: 1, number, mark }
    }

    #[test]
    fn position_is_that_of_the_newest_record() {
        let mut history = History::default();
        assert_eq!(history.position(), None);
        history = History::begin(1, (6, None));
        assert_eq!(history.position(), None, "the mark of number 6 is not known");
        history.reach(&record(7));
        assert_eq!(history.position(), Some(at(7, 70)));
        assert_eq!(History::begin(1, (0, Some(0))).position(), Some(at(0, 0)), "an empty log");
    }

    #[test]
    fn number_is_known_with_its_mark_from_the_oldest_to_the_newest() {
        let mut history = History::begin(1, (6, None));
        (7..=9).for_each(|number| history.reach(&record(number)));
        let knows = |since| history.knows(since, Rules::ALL);
        assert_eq!(knows(at(6, 60)), Err(SharedMiss::BeforeHistory));
        assert_eq!([knows(at(7, 70)), knows(at(9, 90))], [Ok(()), Ok(())]);
        assert_eq!(knows(at(8, 81)), Err(SharedMiss::OtherLog));
        assert_eq!(knows(at(10, 100)), Err(SharedMiss::Ahead));
        assert_eq!(knows(Position { log: 2, ..at(7, 70) }), Err(SharedMiss::OtherLog));
    }

    #[test]
    fn remembered_records_are_bounded() {
        let mut history = History::begin(1, (0, Some(0)));
        (1..=MOST as u64 + 10).for_each(|number| history.reach(&record(number)));
        assert_eq!(history.marks.len(), MOST);
        assert_eq!(history.knows(at(10, 100), Rules::ALL), Err(SharedMiss::BeforeHistory));
        assert_eq!(history.knows(at(11, 110), Rules::ALL), Ok(()));
    }
}
