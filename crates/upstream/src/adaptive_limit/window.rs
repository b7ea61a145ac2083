//! What a stretch of answers says together.

use std::time::Duration;

use tokio::time::Instant;

/// Answers that say something together.
const SAMPLES: u32 = 32;
/// The shortest window, so that one pause of an upstream is not in two of them.
const SHORTEST: Duration = Duration::from_millis(100);
/// The longest: with fewer answers than [`SAMPLES`] in it there is nothing to limit.
const LONGEST: Duration = Duration::from_secs(10);
/// Errors of the mean that it has to be off to mean something: one window in a thousand is by chance.
const ERRORS: f64 = 3.0;

/// A call that is over: what its time was in octaves of a second, what that is over the expected, and how many waited with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub octaves: f64,
    pub baseline: f64,
    pub over: f64,
    pub waiting: f64,
    /// Whether it was answered; else it was given up after that time.
    pub is_answer: bool,
}

/// Figures of answers that came one after another.
#[derive(Clone, Debug)]
pub(super) struct Window {
    begun: Instant,
    ended: Instant,
    samples: u32,
    answers: u32,
    /// Octaves over the baseline: sum, and sum of squares.
    over: f64,
    squares: f64,
    /// Octaves over the baseline that was learned, whatever is tolerated beside it.
    lag: f64,
    baseline: f64,
    waiting: f64,
    /// Calls that were refused.
    pub(super) refused: u32,
}

impl Window {
    /// One that begins then, which may be some time hence: what comes before says nothing.
    pub(super) fn begin(at: Instant) -> Self {
        let (samples, answers, refused) = (0, 0, 0);
        let (over, squares, lag, baseline, waiting) = (0.0, 0.0, 0.0, 0.0, 0.0);
        Self { begun: at, ended: at, samples, answers, over, squares, lag, baseline, waiting, refused }
    }

    /// Whether it has begun.
    pub(super) fn has_begun(&self, now: Instant) -> bool {
        self.begun <= now
    }

    /// Takes in a call that is over.
    pub(super) fn add(&mut self, sample: &Sample, now: Instant) {
        self.samples += 1;
        self.answers += u32::from(sample.is_answer);
        self.over += sample.over;
        self.squares += sample.over * sample.over;
        self.lag += sample.octaves - sample.baseline;
        self.baseline += sample.baseline;
        self.waiting += sample.waiting;
        self.ended = self.ended.max(now);
    }

    /// Whether it says what the answers are like: enough of them, for some time.
    pub(super) fn is_telling(&self) -> bool {
        self.samples >= SAMPLES && self.elapsed() >= SHORTEST
    }

    /// Whether it says as well how many there are: it is as long as one of them.
    pub(super) fn is_whole(&self) -> bool {
        self.is_telling() && self.elapsed() >= self.latency()
    }

    /// Of all calls that are over, those that were answered.
    pub(super) fn answered(&self) -> f64 {
        f64::from(self.answers) / f64::from(self.samples.max(1))
    }

    /// After how long nothing can come of it any more, where that has passed.
    pub(super) fn void_after(&self, now: Instant) -> Option<Duration> {
        let passed = now.saturating_duration_since(self.begun);
        (self.samples < SAMPLES && passed > LONGEST).then_some(passed)
    }

    /// The mean over the baseline, in octaves.
    pub(super) fn mean(&self) -> f64 {
        self.over / f64::from(self.samples.max(1))
    }

    /// What the mean is at least, and at most, but for chance.
    pub(super) fn range(&self) -> (f64, f64) {
        let count = f64::from(self.samples.max(1));
        let variance = (self.squares / count - self.mean() * self.mean()).max(0.0);
        let error = ERRORS * (variance / count).sqrt();
        (self.mean() - error, self.mean() + error)
    }

    /// What the mean over what was learned is at most, but for chance.
    pub(super) fn highest_lag(&self) -> f64 {
        self.lag / f64::from(self.samples.max(1)) + self.range().1 - self.mean()
    }

    /// The mean of the baselines of the methods that were called.
    pub(super) fn baseline(&self) -> f64 {
        self.baseline / f64::from(self.samples.max(1))
    }

    /// How many waited, as those that were answered saw it.
    pub(super) fn waiting(&self) -> f64 {
        self.waiting / f64::from(self.samples.max(1))
    }

    /// Answers per second.
    pub(super) fn rate(&self) -> f64 {
        f64::from(self.answers) / self.elapsed().as_secs_f64().max(1e-6)
    }

    /// How long a call waits, by Little's law.
    pub(super) fn latency(&self) -> Duration {
        let seconds = self.waiting() * self.elapsed().as_secs_f64() / f64::from(self.samples.max(1));
        Duration::from_secs_f64(seconds.min(LONGEST.as_secs_f64()))
    }

    /// How long it has gone on.
    pub(super) fn elapsed(&self) -> Duration {
        self.ended.saturating_duration_since(self.begun)
    }
}
