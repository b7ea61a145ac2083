//! Where a load stands among all others: by the invalidation log when it started, and by the loads of its own process.

/// A load. Numbers of two processes, or of two logs, can't be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadSpan {
    /// Its number among the loads of its process, from 1, which it took before it asked its origin. 0: another process loaded it.
    pub serial: u64,
    /// The newest number of the invalidation log that its process had read by then: whatever was acknowledged with it, or before it,
    /// was committed when the load started.
    pub number: u64,
    /// The serial number that was free when it had ended: loads that have a higher one started after that. 0: it has not ended.
    pub ended: u64,
}

/// The span of a load, as W3C Trace Context has it: whoever waits for the load of somebody else is linked to it. The engine does not
/// look inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LoadTrace {
    /// Its trace.
    pub trace_id: [u8; 16],
    /// Its place there.
    pub span_id: [u8; 8],
}

/// What the load of an answer has to meet, beside what its contract and the reader's requirement allow: two conditions, and both
/// hold. Nothing, unless the reader passes a consistency token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StartFloor {
    /// The log had this number when it started, or a later one;
    pub(crate) number: u64,
    /// or it has this serial number, or a later one.
    pub(crate) from: u64,
    /// It has a later serial number than this;
    pub(crate) after: u64,
    /// or it is the load that ended with this one. 0: none is.
    pub(crate) or_ended: u64,
}

impl StartFloor {
    pub(crate) fn is_met(&self, load: &LoadSpan) -> bool {
        let is_late_enough = load.number >= self.number || load.serial >= self.from;
        let is_the_one = self.or_ended != 0 && load.ended == self.or_ended;
        is_late_enough && (is_the_one || self.after == 0 || load.serial > self.after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: LoadSpan = LoadSpan { serial: 5, number: 3, ended: 9 };

    #[test]
    fn floor_of_nobody_is_met_by_every_load() {
        assert!(StartFloor::default().is_met(&LoadSpan { serial: 1, ..LoadSpan::default() }));
    }

    #[test]
    fn number_is_met_by_loads_that_started_with_it_or_have_the_serial() {
        let floor = |number, from| StartFloor { number, from, ..StartFloor::default() };
        assert!(floor(3, u64::MAX).is_met(&LOAD));
        assert!(!floor(4, u64::MAX).is_met(&LOAD));
        assert!(floor(4, 5).is_met(&LOAD));
        assert!(!floor(4, 6).is_met(&LOAD));
    }

    #[test]
    fn load_that_was_seen_is_met_by_itself_and_by_those_after_its_end() {
        let floor = |after, or_ended| StartFloor { after, or_ended, ..StartFloor::default() };
        assert!(floor(9, 9).is_met(&LOAD));
        assert!(!floor(8, 8).is_met(&LOAD), "it may have looked before the other one did");
        assert!(floor(4, 4).is_met(&LOAD));
        assert!(!floor(9, 0).is_met(&LOAD));
    }
}
