//! What a stretch of answers says together.

use std::time::Duration;

use tokio::time::Instant;

/// Answers that say something together.
const SAMPLES: u32 = 20;
/// So few where answers are rare, and after how long.
const FEW: u32 = 8;
const LONG: Duration = Duration::from_secs(2);
/// The shortest window, so that one pause of an upstream is not in two of them.
const SHORTEST: Duration = Duration::from_millis(100);
/// The longest: with fewer answers than [`SAMPLES`] in it there is nothing to limit.
pub(super) const LONGEST: Duration = Duration::from_secs(10);
/// Errors of the mean that it has to be off to mean something: one window in a thousand is by chance.
const ERRORS: f64 = 3.0;

/// A call that is over, in octaves of a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// What its time was over the baseline that was learned, and over what is expected.
    pub lag: f64,
    pub over: f64,
    /// The expected, and as a mean in seconds.
    pub expected: f64,
    pub seconds: f64,
    /// How many waited as it began.
    pub waiting: f64,
    /// Whether it was answered; else it was given up after that time.
    pub is_answer: bool,
}

/// Figures of answers that came one after another.
#[derive(Clone, Debug)]
pub(super) struct Window {
    begun: Instant,
    ended: Instant,
    /// How many waited as it began.
    before: f64,
    samples: u32,
    answers: u32,
    /// Octaves over the expected: sum, and sum of squares.
    over: f64,
    squares: f64,
    lag: f64,
    expected: f64,
    seconds: f64,
    waiting: f64,
    /// Calls that were refused.
    pub(super) refused: u32,
}

impl Window {
    /// One that begins now, while so many wait.
    pub(super) fn begin(at: Instant, before: f64) -> Self {
        let (samples, answers, refused) = (0, 0, 0);
        let (over, squares, lag, expected, seconds, waiting) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
        Self { begun: at, ended: at, before, samples, answers, over, squares, lag, expected, seconds, waiting, refused }
    }

    /// Whether a call that began then came in it.
    pub(super) fn has_begun(&self, since: Instant) -> bool {
        self.begun <= since
    }

    /// Takes in a call that is over.
    pub(super) fn add(&mut self, sample: &Sample, now: Instant) {
        self.samples += 1;
        self.over += sample.over;
        self.squares += sample.over * sample.over;
        self.lag += sample.lag;
        self.expected += sample.expected;
        self.waiting += sample.waiting;
        self.ended = self.ended.max(now);
        if sample.is_answer {
            self.answers += 1;
            self.seconds += sample.seconds;
        }
    }

    /// Whether it says what the answers are like: enough of them, for some time.
    pub(super) fn is_telling(&self) -> bool {
        self.samples >= SAMPLES && self.elapsed() >= SHORTEST
    }

    /// Whether it says as well how many there are: it is as long as one of them.
    pub(super) fn is_whole(&self) -> bool {
        self.is_telling() && self.elapsed() >= self.latency()
    }

    /// Whether it says something even though there are few answers.
    pub(super) fn is_telling_of_few(&self) -> bool {
        self.is_telling() || self.samples >= FEW && self.elapsed() >= LONG
    }

    /// After how long nothing can come of it any more, where that has passed.
    pub(super) fn void_after(&self, now: Instant) -> Option<Duration> {
        let passed = now.saturating_duration_since(self.begun);
        (self.samples < SAMPLES && passed > LONGEST).then_some(passed)
    }

    /// Whether no call was over in it.
    pub(super) fn is_empty(&self) -> bool {
        self.samples == 0
    }

    /// Calls that were answered.
    pub(super) fn answers(&self) -> f64 {
        f64::from(self.answers)
    }

    /// The part of the calls that were answered.
    pub(super) fn answered(&self) -> f64 {
        self.answers() / self.samples()
    }

    /// How many more calls came than were answered, while so many wait now: these, and those that were given up.
    pub(super) fn unanswered(&self, waiting: f64) -> f64 {
        waiting - self.before + f64::from(self.samples - self.answers)
    }

    /// The mean over the expected, in octaves.
    pub(super) fn mean(&self) -> f64 {
        self.over / self.samples()
    }

    /// What the mean is at least, and at most, but for chance.
    pub(super) fn range(&self) -> (f64, f64) {
        let variance = (self.squares / self.samples() - self.mean() * self.mean()).max(0.0);
        let error = ERRORS * (variance / self.samples()).sqrt();
        (self.mean() - error, self.mean() + error)
    }

    /// The mean over what was learned.
    pub(super) fn lag(&self) -> f64 {
        self.lag / self.samples()
    }

    /// What that is at most, but for chance.
    pub(super) fn highest_lag(&self) -> f64 {
        self.lag() + self.range().1 - self.mean()
    }

    /// What was expected of the calls, in octaves of a second.
    pub(super) fn expected(&self) -> f64 {
        self.expected / self.samples()
    }

    /// How many waited, as those that were answered saw it.
    pub(super) fn waiting(&self) -> f64 {
        self.waiting / self.samples()
    }

    /// Seconds that all answers together would have taken without a queue.
    pub(super) fn seconds(&self) -> f64 {
        self.seconds
    }

    /// Calls that were over in a second.
    pub(super) fn rate(&self) -> f64 {
        self.samples() / self.elapsed().as_secs_f64().max(1e-6)
    }

    /// How long a call waits, by Little's law.
    pub(super) fn latency(&self) -> Duration {
        Duration::from_secs_f64((self.waiting() / self.rate()).min(LONGEST.as_secs_f64()))
    }

    /// How long it has gone on.
    pub(super) fn elapsed(&self) -> Duration {
        self.ended.saturating_duration_since(self.begun)
    }

    fn samples(&self) -> f64 {
        f64::from(self.samples.max(1))
    }
}
