//! The cursor: how far the outbox has been read.
//!
//! Numbers are taken when rows are written, and transactions commit in another order. A number that is missing below one that was
//! read belongs to a transaction that has not ended, or that was rolled back; it is looked for until every transaction has ended
//! that may have taken it: those with an id below the one that the reader takes when it first misses the number
//! (`pg_current_xact_id`), since a transaction has its id before its number. The end of the snapshot (`pg_snapshot_xmax`) would be too
//! low: it is one past the highest that has *ended*. The cursor that is stored stays below it: whoever reads on
//! from there misses nothing.

use std::collections::BTreeMap;

/// Numbers that are looked for. With more, everything is invalidated instead.
const MOST_MISSING: usize = 10_000;

/// What a snapshot of the database says of its transactions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Snapshot {
    /// All transactions below this one have ended.
    pub xmin: i64,
    /// Taken after the snapshot: whoever has a number by now has an id below this one.
    pub next: i64,
}

/// How far it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The highest number that was read.
    highest: i64,
    /// Numbers below it that were not, with the transaction below which all must have ended.
    missing: BTreeMap<i64, i64>,
    /// Everything is invalidated once more when all transactions below this one have ended: what they wrote is not looked for.
    flush_after: Option<i64>,
}

impl Cursor {
    /// From what was stored.
    pub(super) fn new(number: i64, flush_after: Option<i64>) -> Self {
        Self { highest: number, missing: BTreeMap::new(), flush_after }
    }

    /// What is stored: no row with this number or a lower one will be needed any more.
    pub(super) fn stored(&self) -> (i64, Option<i64>) {
        (self.missing.first_key_value().map_or(self.highest, |(number, _)| number - 1), self.flush_after)
    }

    /// Which rows are asked for: those above, and the missing ones.
    pub(super) fn wanted(&self) -> (i64, Vec<i64>) {
        (self.highest, self.missing.keys().copied().collect())
    }

    /// Notes the numbers that were read in a snapshot; `is_whole` where all missing ones that are there were. Whether
    /// everything has to be invalidated, since there are too many to look for.
    pub(super) fn read(&mut self, numbers: &[i64], snapshot: Snapshot, is_whole: bool) -> bool {
        for number in numbers {
            self.missing.remove(number);
        }
        if is_whole {
            self.missing.retain(|_, ended| *ended > snapshot.xmin);
        }
        let mut above: Vec<_> = numbers.iter().copied().filter(|number| *number > self.highest).collect();
        above.sort_unstable();
        for number in above {
            if self.missing.len() <= MOST_MISSING {
                // One more than there may be is enough to know.
                let most = self.highest + 1 + i64::try_from(MOST_MISSING).unwrap_or(i64::MAX);
                self.missing.extend((self.highest + 1..number.min(most + 1)).map(|missing| (missing, snapshot.next)));
            }
            self.highest = number;
        }
        let is_too_much = self.missing.len() > MOST_MISSING;
        if is_too_much {
            self.skip(self.highest, snapshot);
        }
        is_too_much
    }

    /// Goes on behind this number, whatever is missing below: everything is invalidated now, and once more when those have ended
    /// who may still write there.
    pub(super) fn skip(&mut self, head: i64, snapshot: Snapshot) {
        *self = Self { highest: head, missing: BTreeMap::new(), flush_after: Some(snapshot.next) };
    }

    /// Whether the time has come to invalidate everything once more.
    pub(super) fn take_flush(&mut self, snapshot: Snapshot) -> bool {
        self.flush_after.take_if(|after| *after <= snapshot.xmin).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(xmin: i64, next: i64) -> Snapshot {
        Snapshot { xmin, next }
    }

    #[test]
    fn lower_number_that_commits_later_is_looked_for_and_holds_the_stored_cursor() {
        let mut cursor = Cursor::new(4, None);
        assert!(!cursor.read(&[5, 7, 8], at(100, 103), true));
        assert_eq!((cursor.stored(), cursor.wanted()), ((5, None), (8, vec![6])));
        assert!(!cursor.read(&[9], at(102, 104), true));
        assert_eq!(cursor.wanted(), (9, vec![6]), "its transaction may not have ended");
        assert!(!cursor.read(&[6], at(102, 104), true));
        assert_eq!((cursor.stored(), cursor.wanted()), ((9, None), (9, vec![])));
    }

    #[test]
    fn number_that_was_rolled_back_is_given_up_once_its_transaction_has_ended() {
        let mut cursor = Cursor::new(0, None);
        cursor.read(&[2], at(100, 103), true);
        cursor.read(&[], at(103, 110), false);
        assert_eq!(cursor.stored(), (0, None), "not all that is missing was looked at");
        cursor.read(&[], at(103, 110), true);
        assert_eq!(cursor.stored(), (2, None));
    }

    #[test]
    fn more_missing_numbers_than_are_looked_for_invalidate_everything_now_and_when_their_transactions_have_ended() {
        let mut cursor = Cursor::new(0, None);
        assert!(cursor.read(&[20_000_000_000], at(100, 103), true));
        assert_eq!(cursor.stored(), (20_000_000_000, Some(103)));
        assert!(!cursor.take_flush(at(102, 105)));
        assert!(cursor.take_flush(at(103, 105)) && !cursor.take_flush(at(104, 105)));
        assert_eq!(cursor, Cursor::new(20_000_000_000, None));
    }
}
