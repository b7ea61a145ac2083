//! How often a failed attempt is repeated, and when another is made beside a slow one (gRFC A6).

use super::{Call, Failure, Outcome, attempt};
use crate::{fault::Fault, grpc, keyed, route::Unreachable, upstream::Answer};
use accord_contract::Retry;
use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use http::HeaderMap;
use rand::RngExt;
use std::time::Duration;
use tonic::Code;

const PUSHBACK: &str = "grpc-retry-pushback-ms";
const FIRST_BACKOFF: Duration = Duration::from_millis(25);
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);

/// Makes a unary call, repeated as its contract allows.
pub async fn unary(call: &Call, message: &Bytes) -> Result<Answer, Fault> {
    let body = grpc::frame(message);
    let entry = call.permit.entry();
    let may_repeat = entry.method.may_repeat(call.metadata.contains_key(keyed::KEY));
    let retry = entry.method.policy.retry.as_ref().filter(|_| may_repeat && !call.is_retried_outside);
    let outcome = match retry {
        Some(retry) if retry.hedge_after.is_some() => hedged(call, &body, retry).await,
        Some(retry) => retried(call, &body, retry).await,
        None => attempt(call, entry.upstream.pick(), &body, 0).await,
    };
    let answer = outcome.map_err(|failure| failure.into_fault(call))?;
    Ok(answer.declared(call.policy()))
}

async fn retried(call: &Call, body: &Bytes, retry: &Retry) -> Outcome {
    let entry = call.permit.entry();
    let mut picked = entry.upstream.pick();
    for made in 1.. {
        let tried = picked.index();
        let outcome = attempt(call, picked, body, made - 1).await;
        let wait = match next(&outcome, retry) {
            Next::Answer => {
                entry.retries.succeeded();
                return outcome;
            }
            Next::Again => Some(backoff(made)),
            Next::AgainAfter(wait) => Some(wait),
            Next::GiveUp => None,
        };
        entry.retries.failed();
        let may_start = made < retry.max_attempts && entry.retries.allows();
        let Some(wait) = wait.filter(|wait| may_start && *wait < call.deadline.remaining()) else { return outcome };
        tokio::time::sleep(wait).await;
        picked = entry.upstream.pick_other_than(tried);
    }
    unreachable!("the loop counts up to max_attempts")
}

/// Starts further attempts beside the first where it is slow; the first good answer wins, and the others are cancelled.
async fn hedged(call: &Call, body: &Bytes, retry: &Retry) -> Outcome {
    let entry = call.permit.entry();
    let after = retry.hedge_after.unwrap_or(Duration::MAX);
    let first = entry.upstream.pick();
    let mut tried = first.index();
    let mut racing = FuturesUnordered::from_iter([attempt(call, first, body, 0)]);
    let (mut made, mut most) = (1, retry.max_attempts);
    loop {
        let mut may_start = made < most && entry.retries.allows();
        tokio::select! {
            Some(outcome) = racing.next() => {
                match next(&outcome, retry) {
                    Next::Answer => {
                        entry.retries.succeeded();
                        return outcome;
                    }
                    // What is under way may still win, but nothing is added to it.
                    Next::GiveUp => most = made,
                    Next::Again | Next::AgainAfter(_) => {}
                }
                entry.retries.failed();
                may_start = made < most && entry.retries.allows();
                if racing.is_empty() && !may_start {
                    return outcome;
                }
            }
            () = tokio::time::sleep(after), if may_start => {}
        }
        if may_start {
            let another = entry.upstream.pick_other_than(tried);
            tried = another.index();
            racing.push(attempt(call, another, body, made));
            made += 1;
        }
    }
}

/// What becomes of an outcome.
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

fn next(outcome: &Outcome, retry: &Retry) -> Next {
    match outcome {
        Ok(answer) if retry.on.contains(&answer.code()) => {
            pushback(&answer.trailers).or_else(|| pushback(&answer.head)).unwrap_or(Next::Again)
        }
        Err(Failure::Unreachable(Unreachable::Late)) => Next::Answer,
        Err(Failure::Unreachable(error)) if error.never_seen() || retry.on.contains(&Code::Unavailable) => Next::Again,
        Err(Failure::Fault(fault)) if retry.on.contains(&fault.status().code()) => Next::Again,
        _ => Next::Answer,
    }
}

fn pushback(metadata: &HeaderMap) -> Option<Next> {
    let text = metadata.get(PUSHBACK)?.to_str().unwrap_or_default();
    // Negative or malformed: don't come back at all.
    Some(text.parse::<u32>().map_or(Next::GiveUp, |wait| Next::AgainAfter(Duration::from_millis(wait.into()))))
}

/// Doubles with each attempt, ±20% so that those who failed together don't come back together.
fn backoff(made: u32) -> Duration {
    let longest = FIRST_BACKOFF.saturating_mul(1 << made.min(10)).min(LONGEST_BACKOFF);
    longest.mul_f64(rand::rng().random_range(0.8..1.2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    #[test]
    fn pushback_is_milliseconds_and_anything_else_forbids() {
        let read = |text: &'static str| {
            let metadata = HeaderMap::from_iter([(HeaderName::from_static(PUSHBACK), HeaderValue::from_static(text))]);
            pushback(&metadata)
        };
        assert_eq!(read("250"), Some(Next::AgainAfter(Duration::from_millis(250))));
        assert_eq!(read("-1"), Some(Next::GiveUp));
        assert_eq!(read("soon"), Some(Next::GiveUp));
        assert!(pushback(&HeaderMap::new()).is_none());
    }
}
