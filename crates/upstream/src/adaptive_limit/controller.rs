//! What the adaptive limit is, and when it changes.
//!
//! - Times are compared with those of the same method, and the logarithms of both are averaged: an upstream whose methods or
//!   requests take widely different times is as steady as any other.
//! - Answers count as slow where their mean is twice what it was, beyond what chance makes of it. A queue is suspected only where
//!   they are, more than the least calls wait, and more calls come than are answered: an upstream that is only slow, or paused,
//!   or was not looked at by a busy machine, answers as many as come.
//! - The limit is no lower than twice what the upstream works on: the rate of its answers by the time that they take without a
//!   queue (the product of bandwidth and delay, as in BBR), and the root of it. Such a limit keeps all of an upstream busy.
//! - That time may be wrong: the upstream may have become slower, or what was learned was a queue. So whoever cuts tries: for some
//!   answers, few may wait. Where these answers are not sooner there was no queue, and they are what is expected from then on.
//!   Where they are sooner than was expected, that was wrong. The same is tried again every ten seconds as long as anybody is
//!   refused, and where the limit falls. A trial ends at once where those that wait stay: a queue would be answered.
//! - While nobody is refused, or nothing is slow, the limit doubles each second until it is the most again.

use std::time::Duration;

use tokio::time::Instant;

use super::baseline::Baseline;
use super::growth::Growth;
use super::trial::{Cause, Load, Trial, UNLOADED, Verdict};
use super::window::{LONGEST, Sample, Window};
use super::{ByMethod, TimedMethod, octaves};
use crate::config::UpstreamConfig;

/// Octaves over the expected from which on answers are slow: twice as long.
const SLOW: f64 = 1.0;
/// Octaves under the baseline from which on it is learned anew.
const FASTER: f64 = -0.5;
/// Windows in a row after which that is so: the first answers after a silence are the quick ones.
const FASTER_WINDOWS: u32 = 3;
/// Calls that may wait for each that the upstream works on.
const HEADROOM: f64 = 2.0;
/// What may wait in a trial: this part of what the upstream works on, so that nothing queues even where that is less than it seems;
/// and of what waited before, so that a trial that is in vain costs no more.
const TRIAL_CAPACITY: f64 = 0.5;
const TRIAL_WAITING: f64 = 0.25;
/// A limit that is so much lower than what the last trial left is tried again.
const LOWER: f64 = 0.7;
/// Time between trials: at least, and in answers.
const INTERVAL: Duration = Duration::from_secs(10);
const INTERVAL_ANSWERS: u32 = 50;
/// How far the figures go up at a time, and the seconds after which half of what they were is left.
const SMOOTHING: f64 = 0.5;
const HALF_LIFE: f64 = 2.0;
/// Methods that are told apart; the times of further ones say nothing.
const METHODS: usize = 65_536;

/// Within what the limit is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    least: f64,
    most: f64,
    /// What is never taken for a queue.
    latency: Duration,
}

impl Bounds {
    /// What an upstream is configured to have, where so many calls may be in flight.
    pub(super) fn of(config: &UpstreamConfig, max_in_flight: usize) -> Self {
        let least = config.adaptive.min_in_flight.min(max_in_flight);
        Self::new(least, max_in_flight as u64, config.adaptive.latency)
    }

    pub(super) fn new(least: usize, most: u64, latency: Duration) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "both are a million at most")]
        let (least, most) = (least as f64, most as f64);
        Self { least, most, latency }
    }
}

/// A call that is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub method: TimedMethod,
    pub since: Instant,
    pub latency: Duration,
    /// How many waited as it began, and how many do now.
    pub before: u64,
    pub waiting: u64,
}

/// What is known of an upstream's answers, and the limit that follows from it.
#[derive(Debug)]
pub(super) struct Controller {
    bounds: Bounds,
    limit: f64,
    baselines: ByMethod<Baseline>,
    /// Octaves by which all answers take longer than was learned.
    slowdown: f64,
    window: Window,
    growth: Growth,
    /// Windows in a row in which answers were faster than what was learned.
    faster: u32,
    /// Calls that the upstream works on at a time.
    capacity: f64,
    trial: Option<Trial>,
    /// What the last trial left, and when the next one is due.
    tried: f64,
    next_trial: Instant,
    /// After one in which those that waited stayed.
    no_trial_until: Instant,
    /// Octaves of a second that were expected in the last window.
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
            window: Window::begin(now, 0.0),
            growth: Growth::default(),
            faster: 0,
            capacity: 0.0,
            trial: None,
            tried: 0.0,
            next_trial: now,
            no_trial_until: now,
            unloaded: None,
            last: now,
        }
    }

    /// Goes on within other bounds. A limit that was the most is the most again.
    pub(super) fn resize(&mut self, bounds: Bounds) {
        let is_open = self.is_open();
        self.bounds = bounds;
        self.limit = if is_open { bounds.most } else { self.limit.clamp(bounds.least, bounds.most) };
    }

    /// How many calls may wait.
    pub(super) fn limit(&self) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is within its bounds")]
        let limit = self.limit as u64;
        limit
    }

    /// The time to an answer without a queue.
    pub(super) fn unloaded_latency(&self) -> Option<Duration> {
        self.unloaded.map(|octaves| Duration::from_secs_f64(octaves.exp2()))
    }

    /// An answer came.
    pub(super) fn answered(&mut self, call: &Ended, now: Instant) {
        if self.baselines.len() >= METHODS && !self.baselines.contains_key(&call.method) {
            return;
        }
        let is_learned = self.is_open() && !self.growth.is_suspected();
        let (is_faster, factor) = (self.faster >= FASTER_WINDOWS, (-self.slowdown).exp2());
        let latency = call.latency.mul_f64(factor);
        let baseline = self.baselines.entry(call.method).or_insert_with(|| Baseline::new(latency, now));
        if is_learned {
            baseline.learn(latency, is_faster, now);
        }
        self.add(call, true, now);
    }

    /// No answer came for so long. It says something only where answers come sooner as a rule.
    pub(super) fn given_up(&mut self, call: &Ended, now: Instant) {
        let Some(baseline) = self.baselines.get(&call.method) else { return };
        if octaves(call.latency) > self.expected(baseline) {
            self.add(call, false, now);
        }
    }

    /// Somebody was refused, while so many wait.
    pub(super) fn refused(&mut self, waiting: u64, now: Instant) {
        self.last = self.last.max(now);
        self.window.refused = self.window.refused.saturating_add(1);
        let waiting = calls(waiting);
        let is_stuck = |trial: &mut Trial| self.window.is_empty() && trial.is_stuck(self.limit, waiting, now);
        if let Some(trial) = self.trial.take_if(is_stuck) {
            self.settle(trial.limit, Duration::ZERO, now);
            self.no_trial_until = self.next_trial;
            self.window = Window::begin(now, waiting);
        }
    }

    /// The limit, which grows also while nobody calls.
    pub(super) fn relax(&mut self, now: Instant) -> u64 {
        let quiet = now.saturating_duration_since(self.last);
        if quiet >= Duration::from_secs(1) {
            self.trial = None;
            self.grow(quiet);
            self.last = now;
        }
        self.limit()
    }

    fn is_open(&self) -> bool {
        self.limit >= self.bounds.most
    }

    /// What an answer takes without a queue, in octaves.
    fn expected(&self, baseline: &Baseline) -> f64 {
        (baseline.octaves() + self.slowdown).max(octaves(self.bounds.latency))
    }

    fn sample(&self, call: &Ended, is_answer: bool) -> Option<Sample> {
        let baseline = self.baselines.get(&call.method)?;
        let (octaves, expected) = (octaves(call.latency), self.expected(baseline));
        let seconds = (baseline.seconds() * self.slowdown.exp2()).max(self.bounds.latency.as_secs_f64());
        let lag = octaves - baseline.octaves() - self.slowdown;
        Some(Sample { lag, over: octaves - expected, expected, seconds, waiting: calls(call.before), is_answer })
    }

    fn add(&mut self, call: &Ended, is_answer: bool, now: Instant) {
        self.last = self.last.max(now);
        let waiting = calls(call.waiting);
        if let Some(passed) = self.window.void_after(now).filter(|_| self.trial.is_none()) {
            if self.window.refused == 0 {
                self.grow(passed);
            }
            self.window = Window::begin(now, waiting);
        }
        // What is tried is what becomes of the calls that began since.
        if self.trial.is_some() && !self.window.has_begun(call.since) {
            return;
        }
        let Some(sample) = self.sample(call, is_answer) else { return };
        self.window.add(&sample, now);
        // Whether a queue has begun has to be seen soon, what comes of a lower limit as a whole.
        let is_complete = match &self.trial {
            Some(_) => self.window.is_telling_of_few(),
            None if self.is_open() => self.window.is_telling(),
            None => self.window.is_whole(),
        };
        if is_complete {
            let window = std::mem::replace(&mut self.window, Window::begin(now, waiting));
            self.evaluate(&window, waiting, now);
        }
    }

    fn evaluate(&mut self, window: &Window, waiting: f64, now: Instant) {
        self.unloaded = Some(window.expected());
        self.faster = if window.highest_lag() < FASTER { self.faster + 1 } else { 0 };
        if let Some(trial) = self.trial.take() {
            self.conclude(trial, window, waiting, now);
            return;
        }
        if self.slowdown > 0.0 && window.highest_lag() < 0.0 {
            self.slowdown = (self.slowdown + window.lag()).max(0.0);
        }
        if self.is_open() || window.refused == 0 {
            self.watch(window, waiting, now);
        } else {
            self.follow(window, waiting, now);
        }
    }

    /// The limit keeps nobody out: whether a queue has begun.
    fn watch(&mut self, window: &Window, waiting: f64, now: Instant) {
        if window.range().0 > SLOW && window.waiting() > self.bounds.least {
            self.growth.add(window, waiting);
        } else {
            self.growth = Growth::default();
            if window.range().0 <= UNLOADED {
                self.grow(window.elapsed());
            }
        }
        if self.growth.is_certain() && now >= self.no_trial_until {
            self.capacity = std::mem::take(&mut self.growth).capacity();
            self.attempt(Cause::Suspicion, Load::of(window), waiting, now);
        }
    }

    /// The limit keeps somebody out: follows what the upstream works on.
    fn follow(&mut self, window: &Window, waiting: f64, now: Instant) {
        let elapsed = window.elapsed();
        let works_on = window.seconds() / elapsed.as_secs_f64().max(1e-6);
        let weight =
            if works_on > self.capacity { SMOOTHING } else { 1.0 - (-elapsed.as_secs_f64() / HALF_LIFE).exp2() };
        self.capacity += weight * (works_on - self.capacity);
        let target = self.target();
        if window.mean() <= UNLOADED {
            self.set((self.limit * elapsed.as_secs_f64().exp2()).max(self.limit + SMOOTHING * (target - self.limit)));
        } else if target < self.limit {
            self.set(target);
        } else {
            self.set(self.limit + SMOOTHING * (target - self.limit));
        }
        if now < self.no_trial_until {
            return;
        }
        if self.limit < self.tried * LOWER {
            self.attempt(Cause::Suspicion, Load::of(window), waiting, now);
        } else if now >= self.next_trial {
            self.attempt(Cause::Routine, Load::of(window), waiting, now);
        }
    }

    /// What may wait for an upstream that is as busy as it can be.
    fn target(&self) -> f64 {
        HEADROOM * self.capacity + self.capacity.sqrt()
    }

    /// Begins a trial, unless as few waited before.
    fn attempt(&mut self, cause: Cause, before: Load, waiting: f64, now: Instant) {
        let few = self.fewest(before.waiting * TRIAL_WAITING);
        if few > before.waiting * LOWER {
            let limit = self.target().min(self.limit);
            return self.settle(limit, Duration::ZERO, now);
        }
        self.trial = Some(Trial::new(cause, before, waiting, self.limit, now));
        self.set(few);
        self.window = Window::begin(now, waiting);
    }

    fn fewest(&self, calls: f64) -> f64 {
        calls.max(self.capacity * TRIAL_CAPACITY).max(self.bounds.least).min(self.limit)
    }

    fn conclude(&mut self, mut trial: Trial, window: &Window, waiting: f64, now: Instant) {
        match trial.judge(window, now) {
            Verdict::Unknown => {
                self.set(self.fewest(self.limit / 2.0));
                self.trial = Some(trial);
                self.window = Window::begin(now, waiting);
            }
            Verdict::Queue => {
                if window.highest_lag() < 0.0 {
                    self.slowdown += window.lag();
                    let expected = (window.expected() + window.lag()).max(octaves(self.bounds.latency));
                    self.capacity *= (expected - window.expected()).min(0.0).exp2();
                }
                self.settle(self.target().max(self.limit), window.latency(), now);
            }
            Verdict::Slower(octaves) => {
                self.slowdown += octaves + window.lag() - window.mean();
                self.capacity = trial.capacity(octaves);
                self.settle(trial.limit.max(self.target()), window.latency(), now);
            }
            Verdict::InVain => self.settle(trial.limit, window.latency(), now),
        }
    }

    fn settle(&mut self, limit: f64, latency: Duration, now: Instant) {
        self.set(limit);
        self.tried = self.limit;
        self.next_trial = now + INTERVAL.max(latency * INTERVAL_ANSWERS).min(LONGEST * INTERVAL_ANSWERS);
    }

    fn grow(&mut self, passed: Duration) {
        self.set(self.limit * passed.as_secs_f64().exp2());
    }

    fn set(&mut self, limit: f64) {
        self.limit = limit.clamp(self.bounds.least, self.bounds.most);
    }
}

#[expect(clippy::cast_precision_loss, reason = "it is a million at most")]
fn calls(count: u64) -> f64 {
    count as f64
}
