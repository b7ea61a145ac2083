//! What the adaptive limit is, and when it changes.
//!
//! - Times are compared with those of the same method, and the logarithms of both are averaged: an upstream whose methods or
//!   requests take widely different times is as steady as any other.
//! - Answers count as slow where their mean is twice what it was, beyond what chance makes of it, in two windows one after
//!   another, with more than the least calls waiting. One pause, or a few slow requests, are no queue.
//! - Fewer calls make a queue shorter, and cost nothing: an upstream that is saturated answers as many. So each cut is a trial.
//!   Where it costs answers nearly in its own proportion there was no queue. The upstream has just become slower: that is what is
//!   expected from then on, and the limit is what it was.
//! - Otherwise the limit follows the gradient: with answers 1.5 times as slow as without a queue it stays, and √limit is added as
//!   headroom. Nothing is learned as normal meanwhile.
//! - While nobody is refused it doubles each second until it is the most again.

use std::time::Duration;

use tokio::time::Instant;

use super::baseline::Baseline;
use super::window::{Sample, Window};
use super::{ByMethod, TimedMethod};

/// Octaves over the baseline from which on answers are slow: twice as long.
const SLOW: f64 = 1.0;
/// Octaves over the baseline that the limit aims at: 1.5 times as long, as with Gradient2.
const GOAL: f64 = 0.584_962_5;
/// Octaves under the baseline from which on it is learned anew.
const FASTER: f64 = -0.5;
/// Windows in a row after which that is so: the first answers after a silence are the quick ones.
const FASTER_WINDOWS: u32 = 3;
/// What is left of the calls in a first trial: few enough to see what it costs, and not many refused if it was in vain.
const FIRST_TRIAL: f64 = 0.75;
/// A change of the calls that is large enough to see what it costs.
const TRIAL: f64 = 0.8;
/// Of answers in proportion to calls: where more is lost, there was no queue.
const LOST: f64 = 0.75;
/// The part of the calls that has to be answered in time to tell what is lost, and how much less than before at most.
const ANSWERED: f64 = 0.5;
const LATE: f64 = 0.05;
/// How far the limit goes up to its goal at a time.
const SMOOTHING: f64 = 0.5;
/// Methods that are told apart; the times of further ones say nothing.
const METHODS: usize = 65_536;

/// Within what the limit is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    least: f64,
    most: f64,
    /// Octaves of a second that are never taken for a queue.
    latency: f64,
}

impl Bounds {
    pub(super) fn new(least: usize, most: u64, latency: Duration) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "both are a million at most")]
        let (least, most) = (least as f64, most as f64);
        Self { least, most, latency: octaves(latency) }
    }
}

/// What was answered with a limit that a lower one is compared with.
#[derive(Clone, Copy, Debug)]
struct Reference {
    limit: f64,
    waiting: f64,
    rate: f64,
    answered: f64,
}

impl Reference {
    fn new(limit: f64, window: &Window) -> Self {
        Self { limit, waiting: window.waiting(), rate: window.rate(), answered: window.answered() }
    }
}

/// What is known of an upstream's answers, and the limit that follows from it.
#[derive(Debug)]
pub(super) struct Controller {
    bounds: Bounds,
    limit: f64,
    baselines: ByMethod<Baseline>,
    /// Octaves by which all answers have become slower without a queue.
    slowdown: f64,
    window: Window,
    is_suspicious: bool,
    /// Windows in a row in which answers were faster than what was learned.
    faster: u32,
    reference: Option<Reference>,
    /// Octaves of the baselines in the last window.
    unloaded: Option<f64>,
    /// When somebody was answered or refused last.
    last: Instant,
}

impl Controller {
    /// With the most as its limit.
    pub(super) fn new(bounds: Bounds, now: Instant) -> Self {
        Self {
            bounds,
            limit: bounds.most,
            baselines: ByMethod::default(),
            slowdown: 0.0,
            window: Window::begin(now),
            is_suspicious: false,
            faster: 0,
            reference: None,
            unloaded: None,
            last: now,
        }
    }

    /// How many calls may wait.
    pub(super) fn limit(&self) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is within its bounds")]
        let limit = self.limit as u64;
        limit
    }

    /// The time to an answer without a queue.
    pub(super) fn unloaded_latency(&self) -> Option<Duration> {
        self.unloaded.map(|octaves| Duration::from_secs_f64((octaves + self.slowdown).exp2()))
    }

    /// An answer came.
    pub(super) fn answered(&mut self, method: TimedMethod, latency: Duration, waiting: u64, now: Instant) {
        let octaves = octaves(latency);
        if self.baselines.len() >= METHODS && !self.baselines.contains_key(&method) {
            return;
        }
        let is_learned = self.is_open() && !self.is_suspicious;
        let baseline = self.baselines.entry(method).or_insert_with(|| Baseline::new(octaves, now));
        if is_learned {
            baseline.learn(octaves, self.faster >= FASTER_WINDOWS, now);
        }
        let baseline = baseline.octaves();
        self.add(octaves, baseline, waiting, true, now);
    }

    /// No answer came for so long. It says something only where answers come sooner as a rule.
    pub(super) fn given_up(&mut self, method: TimedMethod, latency: Duration, waiting: u64, now: Instant) {
        let octaves = octaves(latency);
        let Some(baseline) = self.baselines.get(&method).map(Baseline::octaves) else { return };
        if octaves > self.expected(baseline) {
            self.add(octaves, baseline, waiting, false, now);
        }
    }

    /// Somebody was refused.
    pub(super) fn refused(&mut self, now: Instant) {
        self.last = self.last.max(now);
        self.window.refused = self.window.refused.saturating_add(1);
    }

    /// The limit, which grows also while nobody calls.
    pub(super) fn relax(&mut self, now: Instant) -> u64 {
        let quiet = now.saturating_duration_since(self.last);
        if quiet >= Duration::from_secs(1) {
            self.grow(quiet);
            self.last = now;
        }
        self.limit()
    }

    fn is_open(&self) -> bool {
        self.limit >= self.bounds.most
    }

    fn expected(&self, baseline: f64) -> f64 {
        baseline.max(self.bounds.latency) + self.slowdown
    }

    fn add(&mut self, octaves: f64, baseline: f64, waiting: u64, is_answer: bool, now: Instant) {
        self.last = self.last.max(now);
        if !self.window.has_begun(now) {
            return;
        }
        if let Some(passed) = self.window.void_after(now) {
            if self.window.refused == 0 {
                self.grow(passed);
            }
            self.window = Window::begin(now);
        }
        #[expect(clippy::cast_precision_loss, reason = "it is a million at most")]
        let waiting = waiting as f64;
        let over = octaves - self.expected(baseline);
        self.window.add(&Sample { octaves, baseline, over, waiting, is_answer }, now);
        // Whether a queue has begun has to be seen soon, what comes of a lower limit as a whole.
        let is_complete = if self.is_open() { self.window.is_telling() } else { self.window.is_whole() };
        if is_complete {
            let window = std::mem::replace(&mut self.window, Window::begin(now));
            self.evaluate(&window, now);
        }
    }

    fn evaluate(&mut self, window: &Window, now: Instant) {
        self.unloaded = Some(window.baseline());
        self.faster = if window.highest_lag() < FASTER { self.faster + 1 } else { 0 };
        if window.range().1 < 0.0 {
            self.slowdown = (self.slowdown + window.mean()).max(0.0);
        }
        if self.is_open() || window.refused == 0 {
            self.watch(window, now);
        } else if !self.is_in_vain(window) {
            self.adjust(window, now);
        }
    }

    /// The limit keeps nobody out: whether a queue has begun.
    fn watch(&mut self, window: &Window, now: Instant) {
        let was_suspicious = self.is_suspicious;
        self.is_suspicious = window.waiting() > self.bounds.least && window.range().0 > SLOW;
        if was_suspicious && self.is_suspicious {
            self.is_suspicious = false;
            self.cut(window.waiting().min(self.limit) * FIRST_TRIAL, window, now);
        } else if window.range().0 <= GOAL {
            self.grow(window.elapsed());
        }
    }

    /// Whether the last cuts cost about as many answers as calls: then all of them are taken back.
    fn is_in_vain(&mut self, window: &Window) -> bool {
        let now = Reference::new(self.limit, window);
        let before = *self.reference.get_or_insert(now);
        if now.waiting > before.waiting * TRIAL {
            if now.waiting > before.waiting {
                self.reference = Some(now);
            }
            return false;
        }
        self.reference = Some(now);
        // Answers that come too late tell nothing: an upstream may be busy with calls whose callers have left.
        if now.answered < ANSWERED || now.answered < before.answered - LATE {
            return false;
        }
        let (lost, given_up) = (1.0 - now.rate / before.rate, 1.0 - now.waiting / before.waiting);
        let is_in_vain = lost > LOST * given_up;
        if is_in_vain {
            self.slowdown = (self.slowdown + window.mean()).max(0.0);
            self.limit = before.limit;
            self.reference = None;
        }
        is_in_vain
    }

    /// Follows the gradient.
    fn adjust(&mut self, window: &Window, now: Instant) {
        let gradient = (GOAL - window.range().0.max(0.0)).exp2();
        let target = self.limit * gradient + self.limit.sqrt();
        if target < self.limit * TRIAL {
            self.cut(target, window, now);
        } else {
            self.set(self.limit + SMOOTHING * (target - self.limit));
        }
    }

    /// Lowers the limit by much, and looks at what comes of it once the calls that wait now are over.
    fn cut(&mut self, limit: f64, window: &Window, now: Instant) {
        self.reference = Some(Reference::new(self.limit, window));
        self.set(limit);
        self.window = Window::begin(now + window.latency());
    }

    fn grow(&mut self, passed: Duration) {
        self.set(self.limit * passed.as_secs_f64().exp2());
    }

    fn set(&mut self, limit: f64) {
        self.limit = limit.clamp(self.bounds.least, self.bounds.most);
        if self.is_open() {
            self.reference = None;
        }
    }
}

/// A time in powers of two of a second.
fn octaves(time: Duration) -> f64 {
    time.as_secs_f64().max(1e-6).log2()
}
