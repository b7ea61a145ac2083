//! The sender of invalidations, which ends and begins anew.

use crate::{Batch, GapDetector, Moment, Noted, Tag};

/// The number of a sender's first message, by which the cache learns of it.
const ANNOUNCEMENT: u64 = 1;

/// The sender of invalidations and the cache's gap detector. Messages are numbered over all lives of the sender.
pub(super) struct InvalidationSender {
    gap_detector: GapDetector,
    pub incarnation: u64,
    before_this_incarnation: usize,
    /// How many of this incarnation's messages have been acknowledged, none of them missing.
    pub acknowledged: u64,
    round: u64,
    /// What each message is about, and whether it deletes.
    pub sent: Vec<(Vec<(u8, u32)>, bool)>,
}

/// An invalidation on its way.
pub(super) struct Message {
    pub incarnation: u64,
    pub sequence: u64,
    pub number: usize,
    pub tag: Tag,
}

impl InvalidationSender {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            gap_detector: GapDetector::new(6, now),
            incarnation: 0,
            before_this_incarnation: 0,
            acknowledged: ANNOUNCEMENT,
            round: 0,
            sent: Vec::new(),
        }
    }

    pub(super) fn send(&mut self, tag: Tag, changes: Vec<(u8, u32)>) -> Message {
        self.sent.push((changes, tag == tag.base()));
        Message { incarnation: self.incarnation, sequence: self.sequence(), number: self.sent.len(), tag }
    }

    /// The number of the newest message. The first is the announcement.
    pub(super) fn sequence(&self) -> u64 {
        ANNOUNCEMENT + (self.sent.len() - self.before_this_incarnation) as u64
    }

    pub(super) fn restart(&mut self) {
        self.incarnation += 1;
        self.before_this_incarnation = self.sent.len();
        (self.acknowledged, self.round) = (ANNOUNCEMENT, 0);
    }

    /// What the cache makes of a message; without one, of the sender's announcement or goodbye.
    pub(super) fn note(&mut self, message: Option<&Message>, is_last: bool, now: Moment) -> Noted {
        let newest = (self.incarnation, self.acknowledged);
        let (incarnation, sequence) = message.map_or(newest, |message| (message.incarnation, message.sequence));
        let is_current = incarnation == self.incarnation;
        let round = if is_current { self.round } else { 0 };
        let batch = Batch { incarnation: &incarnation.to_string(), sequence, round, is_last };
        let noted = self.gap_detector.note(&batch, now);
        if is_current {
            self.round = noted.round;
        }
        noted
    }
}
