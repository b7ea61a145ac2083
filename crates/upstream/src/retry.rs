//! Retries, and hedging beside a slow attempt (gRFC A6): whether, how often, and after which backoff.

use std::sync::Arc;
use std::time::Duration;

use accord_runtime::backoff;
use accord_runtime::deadline::Deadline;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::HeaderMap;
use tokio::time::{Instant, sleep_until};

use crate::balance::{Picked, Upstream};
use crate::call::{Answer, Call, Outcome, PUSHBACK, Retries};
use crate::endpoint::Endpoint;
use crate::failure::Failure;
use crate::grpc;
use crate::transport_error::TransportError;

const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);
/// ±20% (gRFC A6), so that those who failed together don't come back together: the longest wait, shortened by up to a third.
const LONGEST_SHARE: f64 = 1.2;
const JITTER: f64 = 1.0 / 3.0;

type Attempt = Result<Answer, Failure>;

impl Upstream {
    /// Makes a unary call of one message, tried again as `call.retries` allows.
    pub async fn unary(self: &Arc<Self>, call: &Call<'_>, message: &[u8]) -> Outcome {
        let (_admission, _waiting) = match self.admit(call) {
            Ok(admitted) => admitted,
            Err(failure) => return Outcome::only(Err(failure)),
        };
        let framed = grpc::frame(message);
        match call.retries {
            Some(retries) if retries.hedge_after.is_some() => hedged(self, call, &framed, retries).await,
            Some(retries) => retried(self, call, &framed, retries).await,
            None => Outcome::only(first(self, call, &framed).await),
        }
    }
}

async fn first(upstream: &Arc<Upstream>, call: &Call<'_>, framed: &Bytes) -> Attempt {
    let picked = upstream.pick_for(call).await?;
    upstream.attempt(call, picked, framed, 0).await
}

async fn retried(upstream: &Arc<Upstream>, call: &Call<'_>, framed: &Bytes, retries: &Retries) -> Outcome {
    let mut may_have_acted_before = false;
    let mut picked = match upstream.pick_for(call).await {
        Ok(picked) => picked,
        Err(failure) => return Outcome::only(Err(failure)),
    };
    for made in 1.. {
        let tried = Arc::clone(picked.endpoint());
        let may_follow = made < retries.max_attempts && retries.budget.allows();
        let result = attempt(upstream, call, picked, framed, made - 1, attempt_timeout(retries, may_follow)).await;
        let wait = match next(&result, retries) {
            Next::Answer => {
                answered(retries, &result);
                return Outcome { result, may_have_acted_before };
            }
            Next::Again => Some(backoff(made)),
            Next::AgainAfter(wait) => Some(wait),
            Next::GiveUp => None,
        };
        retries.budget.failed();
        let may_start = made < retries.max_attempts && retries.budget.allows();
        let Some(wait) = wait.filter(|wait| may_start && *wait < call.deadline.remaining()) else {
            return Outcome { result, may_have_acted_before };
        };
        tokio::time::sleep(wait).await;
        // Chosen after the wait: it is no time of the endpoint's, and others may be the better ones by now.
        let Some(another) = upstream.pick_other_than(&tried) else { return Outcome { result, may_have_acted_before } };
        may_have_acted_before |= may_have_acted(&result);
        picked = another;
    }
    unreachable!("the loop counts up to max_attempts")
}

/// Gives the budget something back for a success. An error that is not retried says nothing of retries (gRFC A6).
fn answered(retries: &Retries, result: &Attempt) {
    if result.as_ref().is_ok_and(|answer| answer.result.is_ok()) {
        retries.budget.succeeded();
    }
}

/// The time of one attempt, where another one may follow it; else it has all of the call's.
fn attempt_timeout(retries: &Retries, may_follow: bool) -> Option<Duration> {
    retries.attempt_timeout.filter(|_| may_follow)
}

/// One attempt, which ends with its own time where it has one. The upstream is told of that, as of every deadline.
async fn attempt(
    upstream: &Arc<Upstream>,
    call: &Call<'_>,
    picked: Picked,
    framed: &Bytes,
    previous: u32,
    timeout: Option<Duration>,
) -> Attempt {
    let own = timeout.map(Deadline::after).filter(|own| *own < call.deadline);
    let Some(deadline) = own else { return upstream.attempt(call, picked, framed, previous).await };
    let attempt = upstream.attempt(&Call { deadline, ..*call }, picked, framed, previous).await;
    match attempt {
        Err(failure) if failure.is_deadline() && !call.deadline.expired() => {
            Err(Failure::Transport(TransportError::AttemptTimedOut))
        }
        attempt => attempt,
    }
}

/// Starts further attempts beside the first where it is slow; the first good answer wins, and the others are cancelled.
async fn hedged(upstream: &Arc<Upstream>, call: &Call<'_>, framed: &Bytes, retries: &Retries) -> Outcome {
    let picked = match upstream.pick_for(call).await {
        Ok(picked) => picked,
        Err(failure) => return Outcome::only(Err(failure)),
    };
    let mut hedging = Hedging::new(upstream, call, framed, retries, picked.endpoint());
    let mut racing = FuturesUnordered::from_iter([hedging.start(picked)]);
    let mut may_have_acted_before = false;
    loop {
        tokio::select! {
            Some(result) = racing.next() => {
                if hedging.is_answer(&result) {
                    may_have_acted_before |= !racing.is_empty();
                    return Outcome { result, may_have_acted_before };
                }
                if racing.is_empty() {
                    let Some(another) = hedging.wait().await else { return Outcome { result, may_have_acted_before } };
                    racing.push(hedging.start(another));
                }
                may_have_acted_before |= may_have_acted(&result);
            }
            () = sleep_until(hedging.next_at), if hedging.may_start() => {
                if let Some(another) = hedging.pick() {
                    if let Some(record) = call.record {
                        record.add_hedge();
                    }
                    racing.push(hedging.start(another));
                }
            }
        }
    }
}

/// When a hedged call gets its next attempt.
struct Hedging<'a> {
    upstream: &'a Arc<Upstream>,
    call: &'a Call<'a>,
    framed: &'a Bytes,
    retries: &'a Retries,
    made: u32,
    most: u32,
    tried: Arc<Endpoint>,
    next_at: Instant,
}

impl<'a> Hedging<'a> {
    fn new(
        upstream: &'a Arc<Upstream>,
        call: &'a Call<'a>,
        framed: &'a Bytes,
        retries: &'a Retries,
        first: &Arc<Endpoint>,
    ) -> Self {
        let most = retries.max_attempts;
        Self { upstream, call, framed, retries, made: 0, most, tried: Arc::clone(first), next_at: Instant::now() }
    }

    fn start(&mut self, picked: Picked) -> impl Future<Output = Attempt> + use<'a> {
        let previous = self.made;
        self.made += 1;
        self.next_at = Instant::now() + self.retries.hedge_after.unwrap_or(Duration::ZERO);
        self.tried = Arc::clone(picked.endpoint());
        let timeout = attempt_timeout(self.retries, self.may_start());
        attempt(self.upstream, self.call, picked, self.framed, previous, timeout)
    }

    fn may_start(&self) -> bool {
        self.made < self.most && self.retries.budget.allows()
    }

    /// Another endpoint; none makes the next one wait as long as if there had been one.
    fn pick(&mut self) -> Option<Picked> {
        self.next_at = Instant::now() + self.retries.hedge_after.unwrap_or(Duration::ZERO);
        self.upstream.pick_other_than(&self.tried)
    }

    /// Whether this ends the call. Where it does not, the next attempt starts at once, or when the server says (gRFC A6).
    fn is_answer(&mut self, result: &Attempt) -> bool {
        match next(result, self.retries) {
            Next::Answer => {
                answered(self.retries, result);
                return true;
            }
            Next::Again => self.next_at = Instant::now(),
            Next::AgainAfter(wait) => self.next_at = Instant::now() + wait,
            // What is under way may still win, but nothing is added to it.
            Next::GiveUp => self.most = self.made,
        }
        self.retries.budget.failed();
        false
    }

    /// Waits for the next attempt's time where nothing else is under way; nothing where there is none within the deadline.
    async fn wait(&mut self) -> Option<Picked> {
        if !self.may_start() || self.next_at >= self.call.deadline.at() {
            return None;
        }
        sleep_until(self.next_at).await;
        self.pick()
    }
}

/// Whether the upstream may have acted on an attempt that failed: unless it certainly never saw it.
fn may_have_acted(attempt: &Attempt) -> bool {
    attempt.as_ref().err().is_none_or(|failure| !failure.is_unprocessed())
}

/// What becomes of an attempt.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// It is the answer: the contract does not repeat it.
    Answer,
    /// Another attempt, after the usual wait.
    Again,
    /// Another attempt, when the server says.
    AgainAfter(Duration),
    /// It failed, and the server says not to come back.
    GiveUp,
}

fn next(attempt: &Attempt, retries: &Retries) -> Next {
    match attempt {
        Ok(answer) if retries.on.contains(&answer.code()) => {
            pushback(&answer.trailers).or_else(|| pushback(&answer.head)).unwrap_or(Next::Again)
        }
        Err(failure) if failure.is_deadline() => Next::Answer,
        // Whoever declares a time for attempts wants another one after it.
        Err(Failure::Transport(TransportError::AttemptTimedOut)) => Next::Again,
        Err(Failure::Transport(error)) if error.is_unprocessed() || retries.on.contains(&error.code()) => Next::Again,
        Err(failure @ Failure::NotGrpc(_)) if retries.on.contains(&failure.code()) => Next::Again,
        _ => Next::Answer,
    }
}

fn pushback(metadata: &HeaderMap) -> Option<Next> {
    let text = metadata.get(PUSHBACK)?.to_str().unwrap_or_default();
    // Negative or malformed: don't come back at all.
    Some(text.parse::<u32>().map_or(Next::GiveUp, |wait| Next::AgainAfter(Duration::from_millis(wait.into()))))
}

/// The wait before another attempt, after so many.
fn backoff(made: u32) -> Duration {
    let wait = backoff::exponential(FIRST_BACKOFF, LONGEST_BACKOFF, made - 1);
    backoff::jittered(wait.mul_f64(LONGEST_SHARE), JITTER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect_error::ConnectCause;
    use http::HeaderValue;

    #[test]
    fn pushback_is_milliseconds_and_anything_else_forbids_retries() {
        let read = |text: &'static str| {
            let metadata = HeaderMap::from_iter([(PUSHBACK, HeaderValue::from_static(text))]);
            pushback(&metadata)
        };
        assert_eq!(read("250"), Some(Next::AgainAfter(Duration::from_millis(250))));
        assert_eq!(read("-1"), Some(Next::GiveUp));
        assert_eq!(read("soon"), Some(Next::GiveUp));
        assert!(pushback(&HeaderMap::new()).is_none());
    }

    #[test]
    fn attempt_that_was_never_sent_may_not_have_acted() {
        let failed = |error| may_have_acted(&Err(Failure::Transport(error)));
        assert!(!failed(TransportError::Connect(ConnectCause::Refused)) && !failed(TransportError::Refused));
        assert!(failed(TransportError::Broken) && failed(TransportError::DeadlineExceeded));
        assert!(may_have_acted(&Ok(Answer::new(Err(tonic::Status::unavailable(""))))));
    }
}
