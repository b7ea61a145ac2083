//! A queue that grows: whether more calls come than are answered.

use super::window::Window;

/// Windows that say it together at least, so that no pause does, nor a second one soon after it.
const WINDOWS: u32 = 3;
/// Standard deviations beyond which it is not by chance.
const ERRORS: f64 = 3.0;
/// The part of the calls that has to stay unanswered: a queue that grows more slowly is ended by its deadlines, which are counted.
const PART: f64 = 1.0 / 16.0;

/// Windows one after another in which answers were slow.
///
/// That alone says nothing of a queue: an upstream that has become slower, and a pause of the machine, are slow as well, but in the
/// end there are as many answers as calls. Where an upstream gets more than it has, there never are. The first window is when it
/// begins, with answers that are not there yet, so it is not counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Growth {
    windows: u32,
    /// How many waited at the end of the first.
    before: f64,
    unanswered: f64,
    answers: f64,
    /// Of all answers without a queue, and of the windows.
    seconds: f64,
    elapsed: f64,
}

impl Growth {
    /// Takes in one more window, at the end of which so many wait.
    pub(super) fn add(&mut self, window: &Window, waiting: f64) {
        self.windows += 1;
        if self.windows == 1 {
            self.before = waiting;
            return;
        }
        self.unanswered += window.unanswered(waiting);
        self.answers += window.answers();
        self.seconds += window.seconds();
        self.elapsed += window.elapsed().as_secs_f64();
    }

    /// Whether there are slow windows.
    pub(super) fn is_suspected(&self) -> bool {
        self.windows > 0
    }

    /// Whether more calls came than were answered. How many wait without a queue is distributed as Poisson says, at both ends.
    pub(super) fn is_certain(&self) -> bool {
        let (chance, calls) = (ERRORS * (2.0 * self.before).sqrt(), self.answers + self.unanswered);
        self.windows >= WINDOWS && self.unanswered > chance.max(PART * calls)
    }

    /// Calls that the upstream worked on at a time, by Little's law: the rate of its answers by their time without a queue.
    pub(super) fn capacity(&self) -> f64 {
        self.seconds / self.elapsed.max(1e-6)
    }
}
