//! The wait budget of a reader.

use std::time::Duration;

use crate::load::DEADLINE_MARGIN;
use crate::world::Moment;

/// Until when a reader waits, and for which loads.
#[derive(Clone, Copy)]
pub(crate) struct WaitBudget {
    pub(crate) until: Moment,
    /// It does not join a load that ends sooner.
    pub(crate) min_until: Moment,
    /// Whether it joins loads that began before it asked.
    pub(crate) joins_older: bool,
    /// What the second level has does not do for it.
    pub(crate) needs_origin: bool,
}

impl WaitBudget {
    pub(crate) fn new(now: Moment, time: Duration) -> Self {
        Self { until: now.after(time), min_until: Moment::default(), joins_older: true, needs_origin: false }
    }

    /// What is left of it after a load that ended by its starter's deadline; nothing where its own is over as well.
    ///
    /// From now on it joins only loads that have half of its own time left: so readers with little time can't cut it short
    /// for ever, and a crowd with a little more time each does not start a load each.
    pub(crate) fn after_starter_deadline(self, starter_deadline: Moment, now: Moment) -> Option<Self> {
        let left = self.until.since(now.max(starter_deadline));
        (left > DEADLINE_MARGIN).then(|| Self { min_until: now.after(left / 2), ..self })
    }
}
