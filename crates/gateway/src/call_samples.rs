//! Recent calls that failed or were slow, and some of all calls while somebody looks: of a bounded number, in memory, without names
//! of callers or anything that a message holds.
//!
//! A call costs a load of an atomic where it begins and a comparison where it ends. Only what is kept is allocated for, and of that
//! so many a second.

use accord_api::accord::gateway::v1::{CallStep, SampledCall};
use accord_runtime::call_record::{CallRecord, EndedCall, Journal, JournalStep};
use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

/// Calls that are kept of each kind.
const KEPT: usize = 128;

/// Calls of each kind that are kept in a second.
const PER_SECOND: u32 = 20;

/// Calls that are followed step by step each time that somebody looks. With nobody there, none is.
const FOLLOWED: u32 = 100;

/// What is kept.
pub(crate) struct CallSamples {
    /// In nanoseconds.
    slow_call: AtomicU64,
    to_follow: AtomicU32,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    seq: u64,
    failed: Kind,
    slow: Kind,
    others: Kind,
}

/// Calls of one kind, so that no other one takes their places.
#[derive(Default)]
struct Kind {
    calls: VecDeque<SampledCall>,
    since: Option<Instant>,
    in_second: u32,
}

impl Kind {
    /// Whether another call may be kept now.
    fn has_room(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= Duration::from_secs(1)) {
            (self.since, self.in_second) = (Some(now), 0);
        }
        self.in_second += 1;
        self.in_second <= PER_SECOND
    }

    fn push(&mut self, call: SampledCall) {
        if self.calls.len() == KEPT {
            self.calls.pop_front();
        }
        self.calls.push_back(call);
    }
}

impl CallSamples {
    /// Calls are slow from this duration on.
    pub(crate) fn new(slow_call: Duration) -> Self {
        let samples = Self { slow_call: AtomicU64::default(), to_follow: AtomicU32::new(0), kept: Mutex::default() };
        samples.take_over(slow_call);
        samples
    }

    /// From now on, calls are slow from this duration on.
    pub(crate) fn take_over(&self, slow_call: Duration) {
        self.slow_call.store(slow_call.as_nanos().try_into().unwrap_or(u64::MAX), Relaxed);
    }

    /// Follows a call step by step, where somebody looks and has not seen enough.
    pub(crate) fn follow(&self, record: &CallRecord) {
        if self.to_follow.load(Relaxed) > 0
            && self.to_follow.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
        {
            record.begin_journal();
        }
    }

    /// Keeps a call that is over, where it is one of those that are. `is_unary` is asked where it took long: a stream is meant to.
    pub(crate) fn ended(&self, ended: &EndedCall<'_>, is_unary: impl FnOnce(&str) -> bool) {
        let is_failed = ended.status != "OK";
        let slow_call = Duration::from_nanos(self.slow_call.load(Relaxed));
        let is_slow = ended.duration >= slow_call && is_unary(ended.method);
        if !is_failed && !is_slow && !ended.record.has_journal() {
            return;
        }
        // Whoever would have to wait is one of many, of which others are kept.
        let Ok(mut kept) = self.kept.try_lock() else { return };
        let Kept { seq, failed, slow, others } = &mut *kept;
        let kind = if is_failed {
            failed
        } else if is_slow {
            slow
        } else {
            others
        };
        let now = Instant::now();
        if kind.has_room(now) {
            *seq += 1;
            kind.push(SampledCall { seq: *seq, slow: is_slow, ..sampled(ended, now) });
        }
    }

    /// The calls that were kept after one, in their order. Some of the next calls are followed.
    pub(crate) fn after(&self, seq: u64) -> Vec<SampledCall> {
        self.to_follow.store(FOLLOWED, Relaxed);
        // What it holds is whole whenever the lock is free.
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kinds = [&kept.failed, &kept.slow, &kept.others];
        let mut calls: Vec<_> =
            kinds.iter().flat_map(|kind| kind.calls.iter().filter(|call| call.seq > seq).cloned()).collect();
        calls.sort_by_key(|call| call.seq);
        calls
    }
}

fn sampled(ended: &EndedCall<'_>, now: Instant) -> SampledCall {
    let record = ended.record;
    let journal = record.journal().unwrap_or_default();
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    SampledCall {
        seq: 0,
        time: Some(SystemTime::now().into()),
        method: ended.method.to_owned(),
        listener: text(ended.listener),
        protocol: text(record.protocol()),
        principal_kind: text(record.principal_kind()),
        status: ended.status.to_owned(),
        reason: text(record.reason()),
        duration_ms: milliseconds(ended.duration),
        timeout_ms: record.timeout().map_or(0.0, milliseconds),
        upstream_ms: record.upstream_time().map_or(0.0, milliseconds),
        steps: steps(&journal, now.checked_sub(ended.duration).unwrap_or(now)),
        attempts: record.attempts(),
        endpoints: journal.endpoints,
        cache: text(record.cache_outcome()),
        version: text(record.version().map(|version| &**version)),
        request_bytes: record.request_bytes(),
        response_bytes: ended.response_bytes,
        request_id: record.request_id().map(ToString::to_string).unwrap_or_default(),
        trace_id: record.trace_id().map(|id| id.to_string()).unwrap_or_default(),
        slow: false,
    }
}

fn steps(journal: &Journal, begun: Instant) -> Vec<CallStep> {
    let step = |step: &JournalStep| CallStep {
        name: step.name.to_owned(),
        end_ms: milliseconds(step.at.saturating_duration_since(begun)),
    };
    journal.steps.iter().map(step).collect()
}

/// With three decimals.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Duration = Duration::from_millis(250);

    fn end(samples: &CallSamples, record: &CallRecord, status: &'static str, duration: Duration) {
        let ended =
            EndedCall { record, listener: Some("public"), method: "a.B/C", status, duration, response_bytes: 3 };
        samples.ended(&ended, |_| true);
    }

    fn statuses(samples: &CallSamples, after: u64) -> Vec<(u64, String)> {
        samples.after(after).into_iter().map(|call| (call.seq, call.status)).collect()
    }

    #[test]
    fn call_that_failed_or_was_slow_is_kept_and_others_are_not() {
        let (samples, record) = (CallSamples::new(SLOW), CallRecord::default());
        end(&samples, &record, "OK", Duration::from_millis(249));
        end(&samples, &record, "UNAVAILABLE", Duration::from_millis(1));
        end(&samples, &record, "OK", SLOW);
        assert_eq!(statuses(&samples, 0), [(1, "UNAVAILABLE".to_owned()), (2, "OK".to_owned())]);
        assert_eq!(statuses(&samples, 1), [(2, "OK".to_owned())]);
        assert!(samples.after(1)[0].slow);
    }

    #[test]
    fn stream_is_not_slow() {
        let (samples, record) = (CallSamples::new(SLOW), CallRecord::default());
        let long = EndedCall {
            record: &record,
            listener: None,
            method: "a.B/Watch",
            status: "OK",
            duration: 10 * SLOW,
            response_bytes: 0,
        };
        samples.ended(&long, |_| false);
        assert_eq!(statuses(&samples, 0), []);
    }

    #[test]
    fn calls_are_followed_only_after_somebody_looked_and_so_many() {
        let samples = CallSamples::new(SLOW);
        let follow = || {
            let record = CallRecord::default();
            samples.follow(&record);
            record
        };
        assert!(!follow().has_journal());
        samples.after(0);
        let followed = (0..2 * FOLLOWED).map(|_| follow()).filter(CallRecord::has_journal).count();
        assert_eq!(followed, FOLLOWED as usize);
    }

    #[test]
    fn steps_of_a_followed_call_are_told_from_its_beginning() {
        let (samples, record) = (CallSamples::new(SLOW), CallRecord::default());
        record.begin_journal();
        record.step("authorize");
        end(&samples, &record, "OK", Duration::from_millis(100));
        let calls = samples.after(0);
        let step = &calls[0].steps[0];
        assert!(step.name == "authorize" && (90.0..=100.0).contains(&step.end_ms), "{step:?}");
    }

    #[test]
    fn flood_of_failures_is_bounded_and_leaves_slow_calls_their_places() {
        let (samples, record) = (CallSamples::new(SLOW), CallRecord::default());
        end(&samples, &record, "OK", SLOW);
        for _ in 0..10 * PER_SECOND {
            end(&samples, &record, "RESOURCE_EXHAUSTED", Duration::ZERO);
        }
        let kept = statuses(&samples, 0);
        assert_eq!(kept[0].1, "OK");
        // A second may have begun while they came.
        assert!(kept.len() <= 1 + 2 * PER_SECOND as usize, "{}", kept.len());
        let mut kind = Kind::default();
        (0..3 * KEPT).for_each(|_| kind.push(SampledCall::default()));
        assert_eq!(kind.calls.len(), KEPT);
    }
}
