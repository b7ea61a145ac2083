//! The gap detector as a log stores it between two appends.

use std::collections::HashMap;

use bytes::{Buf, BufMut};

use super::{GapDetector, Newcomer, Sender};
use crate::world::Moment;

/// Of this encoding.
const VERSION: u8 = 1;

impl GapDetector {
    /// As it is stored.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.put_u64(self.young_until.0);
        bytes.put_u64(self.round);
        for (name, sender) in &self.senders {
            // Names have 128 bytes at most.
            bytes.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
            bytes.extend(name.bytes().take(u8::MAX.into()));
            bytes.put_u64(sender.newest);
            bytes.put_u64(sender.heard.0);
            bytes.put_u64(sender.round);
            let newcomer = sender.newcomer.unwrap_or(Newcomer { round: 0, since: Moment::default() });
            bytes.put_u64(newcomer.round);
            bytes.put_u64(newcomer.since.0);
        }
        bytes
    }

    /// From what was stored; nothing where it is of another encoding, or cut.
    pub fn decode(capacity: usize, mut bytes: &[u8]) -> Option<Self> {
        if bytes.try_get_u8().ok()? != VERSION {
            return None;
        }
        let (young_until, round) = (Moment(bytes.try_get_u64().ok()?), bytes.try_get_u64().ok()?);
        let mut senders = HashMap::new();
        while bytes.has_remaining() {
            let length = bytes.try_get_u8().ok()?;
            let (name, rest) = bytes.split_at_checked(length.into())?;
            bytes = rest;
            let [newest, heard, round, of, since] = numbers(&mut bytes)?;
            // Rounds count from 1.
            let newcomer = (of > 0).then_some(Newcomer { round: of, since: Moment(since) });
            let sender = Sender { newest, heard: Moment(heard), round, newcomer };
            senders.insert(std::str::from_utf8(name).ok()?.to_owned(), sender);
        }
        Some(Self { capacity, young_until, round, senders })
    }
}

fn numbers(bytes: &mut &[u8]) -> Option<[u64; 5]> {
    let mut numbers = [0; 5];
    for number in &mut numbers {
        *number = bytes.try_get_u64().ok()?;
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gap_detector::{Batch, Continuity, Missing};

    fn at(seconds: u64) -> Moment {
        Moment(seconds * 1_000_000_000)
    }

    fn batch(incarnation: &str, sequence: u64) -> Batch<'_> {
        Batch { incarnation, sequence, round: 0, is_last: false }
    }

    #[test]
    fn stored_detector_knows_senders_rounds_and_newcomers() {
        let mut detector = GapDetector::new(8, at(0));
        detector.note(&batch("ada", 1), at(10));
        detector.note(&batch("bob", 1), at(11));
        let mut stored = GapDetector::decode(8, &detector.encode()).unwrap();
        assert_eq!(stored.note(&batch("ada", 3), at(12)), detector.note(&batch("ada", 3), at(12)));
        assert_eq!(stored.note(&batch("bob", 2), at(14)), detector.note(&batch("bob", 2), at(14)));
        let missed = stored.note(&batch("bob", 4), at(15)).continuity;
        assert_eq!(missed, Continuity::Gap(Missing::Batches));
    }

    #[test]
    fn cut_or_foreign_bytes_are_no_detector() {
        let mut detector = GapDetector::new(8, at(0));
        detector.note(&batch("ada", 1), at(10));
        let bytes = detector.encode();
        assert!((1..bytes.len()).filter(|end| *end != 17).all(|end| GapDetector::decode(8, &bytes[..end]).is_none()));
        assert!(GapDetector::decode(8, &[9; 17]).is_none());
    }
}
