//! A trial: whether answers come sooner where fewer calls wait for them.

use std::time::Duration;

use tokio::time::Instant;

use super::window::{LONGEST, Window};

/// Octaves over the expected up to which answers are those of an upstream without a queue: 1.5 times as long, as with Gradient2.
pub(super) const UNLOADED: f64 = 0.584_962_5;
/// Octaves by which fewer calls have to wait for it to say something.
const FEWER: f64 = 0.5;
/// Octaves by which answers come sooner for each octave of calls, at least, where there was a queue. One where all were queued,
/// none where nobody was.
const ELASTICITY: f64 = 0.5;
/// The part of the calls that has to be answered in time: an upstream may be busy with calls whose callers have left.
const ANSWERED: f64 = 0.5;
/// How long calls may wait to become fewer, how many should be over by then at the rate of before, and the part that has to be:
/// a queue goes on being answered.
const DRAINED_AFTER: Duration = Duration::from_millis(500);
const DRAINED: f64 = 16.0;
const DRAINED_PART: f64 = 0.25;

/// How long answers took with so many waiting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub waiting: f64,
    /// Octaves over the expected.
    over: f64,
    /// Calls that were over in a second.
    rate: f64,
}

impl Load {
    pub(super) fn of(window: &Window) -> Self {
        Self { waiting: window.waiting(), over: window.mean(), rate: window.rate() }
    }
}

/// Why there is a trial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cause {
    /// A queue is suspected, or the limit falls: the upstream may as well have become slower.
    Suspicion,
    /// What is expected may be the time of a queue. It is no less than that: where others call as well, as other gateways do, fewer
    /// of our calls hardly shorten the queue.
    Routine,
}

/// A limit that is low for as long as it takes to see what comes of it.
#[derive(Debug)]
pub(super) struct Trial {
    cause: Cause,
    before: Load,
    /// How many waited as it began.
    waiting: f64,
    /// The limit before it.
    pub(super) limit: f64,
    begun: Instant,
    /// Octaves over the expected in a first one that was in vain.
    in_vain: Option<f64>,
}

/// What came of a trial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    /// Calls queued.
    Queue,
    /// Fewer have to wait to know.
    Unknown,
    /// Nothing queued, in two trials: answers take so many octaves more than was expected.
    Slower(f64),
    /// That can't be said.
    InVain,
}

impl Trial {
    pub(super) fn new(cause: Cause, before: Load, waiting: f64, limit: f64, now: Instant) -> Self {
        Self { cause, before, waiting, limit, begun: now, in_vain: None }
    }

    /// Whether the calls that waited before are no queue: hardly any of them is over by now, so that nobody else may come.
    pub(super) fn is_stuck(&self, limit: f64, waiting: f64, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.begun);
        let over = (self.before.rate * passed.as_secs_f64()).min(self.waiting - limit);
        passed > DRAINED_AFTER && over > DRAINED && self.waiting - waiting < DRAINED_PART * over
    }

    /// With how many calls the upstream would work on at a time by these answers, if that is what they take.
    pub(super) fn capacity(&self, over: f64) -> f64 {
        self.before.waiting * (over - self.before.over).exp2()
    }

    /// What the calls say that began since.
    pub(super) fn judge(&mut self, window: &Window, now: Instant) -> Verdict {
        if window.range().0 <= UNLOADED {
            return Verdict::Queue;
        }
        let is_over = now.saturating_duration_since(self.begun) > LONGEST;
        let after = Load::of(window);
        let fewer = (self.before.waiting / after.waiting).log2();
        if window.answered() < ANSWERED || fewer < FEWER {
            return if is_over { Verdict::Slower(after.over - UNLOADED) } else { Verdict::Unknown };
        }
        if self.before.over - after.over >= ELASTICITY * fewer {
            return Verdict::Queue;
        }
        match self.in_vain.replace(after.over) {
            _ if self.cause == Cause::Routine => Verdict::InVain,
            // What is left may be a short queue, of others' calls for instance.
            Some(first) => Verdict::Slower(first.min(after.over) - UNLOADED),
            None => Verdict::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hundred calls that wait, of which two hundred are over in a second; a quarter may.
    fn trial(begun: Instant) -> Trial {
        Trial::new(Cause::Suspicion, Load { waiting: 100.0, over: 3.0, rate: 200.0 }, 100.0, 2048.0, begun)
    }

    #[test]
    fn trial_goes_on_while_a_queue_is_answered() {
        let begun = Instant::now();
        assert!(!trial(begun).is_stuck(25.0, 40.0, begun + Duration::from_millis(600)));
    }

    #[test]
    fn trial_is_over_where_the_calls_that_wait_stay() {
        let begun = Instant::now();
        assert!(trial(begun).is_stuck(25.0, 98.0, begun + Duration::from_millis(600)));
    }

    #[test]
    fn trial_goes_on_after_a_short_pause() {
        let begun = Instant::now();
        assert!(!trial(begun).is_stuck(25.0, 100.0, begun + Duration::from_millis(200)));
    }
}
