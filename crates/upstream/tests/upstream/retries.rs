//! Calls that are tried more than once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use accord_runtime::deadline::parse_grpc_timeout;
use accord_upstream::{Budget, Outcome, PREVIOUS_ATTEMPTS, Retries, TransportError, Upstream};
use bytes::Bytes;
use h2::Reason;
use tokio::task::{JoinHandle, JoinSet};
use tonic::Code;

use crate::raw::{DATA, Listener};
use crate::server::{PATIENCE, Server, trailers};
use crate::{Calling, answer, one_connection, transport_error, upstream};

const NEVER: Duration = Duration::from_hours(1);

fn retries(max_attempts: u32, hedge_after: Option<Duration>) -> Retries {
    Retries {
        max_attempts,
        on: Arc::new([Code::Unavailable]),
        hedge_after,
        attempt_timeout: None,
        budget: Arc::default(),
    }
}

fn call(upstream: &Arc<Upstream>, retries: Retries) -> JoinHandle<Outcome> {
    let calling = Calling { retries: Some(retries), ..Calling::default() };
    tokio::spawn(calling.unary(Arc::clone(upstream)))
}

fn code(outcome: &Outcome) -> Code {
    outcome.result.as_ref().unwrap().code()
}

#[tokio::test]
async fn unavailable_is_retried_and_may_have_acted() {
    let mut server = Server::start().await;
    let call = call(&upstream(&server.url, one_connection), retries(3, None));
    let mut first = server.next().await;
    assert!(!first.request.headers().contains_key(PREVIOUS_ATTEMPTS));
    first.fail("14", &[]);
    let mut second = server.next().await;
    assert_eq!(second.request.headers()[PREVIOUS_ATTEMPTS], "1");
    second.answer(&[0; 5]);
    let outcome = call.await.unwrap();
    assert!(outcome.may_have_acted_before);
    answer(outcome);
}

#[tokio::test]
async fn unavailable_in_the_trailers_is_retried_whatever_came_of_a_message() {
    let parts: [&[u8]; 4] = [b"", b"\0\0", b"\0\0\0\0\x05hel", b"\0\0\0\0\x05hello"];
    for part in parts {
        let mut server = Server::start().await;
        let call = call(&upstream(&server.url, one_connection), retries(3, None));
        let mut body = server.next().await.head();
        body.send_data(Bytes::from_static(part), false).unwrap();
        body.send_trailers(trailers("14", &[])).unwrap();
        server.next().await.answer(&[0; 5]);
        let outcome = call.await.unwrap();
        assert!(outcome.may_have_acted_before, "{part:?}");
        answer(outcome);
    }
}

#[tokio::test]
async fn pushback_in_the_trailers_ends_retries() {
    let mut server = Server::start().await;
    let call = call(&upstream(&server.url, one_connection), retries(3, None));
    let mut body = server.next().await.head();
    body.send_trailers(trailers("14", &[("grpc-retry-pushback-ms", "-1")])).unwrap();
    assert_eq!(code(&call.await.unwrap()), Code::Unavailable);
    assert!(server.is_quiet());
}

#[tokio::test]
async fn attempt_without_an_answer_in_its_time_is_cancelled_and_tried_again() {
    let mut server = Server::start().await;
    let timeout = Duration::from_millis(200);
    let retries = Retries { attempt_timeout: Some(timeout), on: Arc::new([Code::Aborted]), ..retries(2, None) };
    let call = call(&upstream(&server.url, one_connection), retries);
    let (mut silent, begun) = (server.next().await, Instant::now());
    assert!(told_timeout(&silent.request) <= timeout);
    let mut second = server.next().await;
    assert!(begun.elapsed() >= timeout / 2);
    assert!(std::future::poll_fn(|context| silent.respond.poll_reset(context)).await.is_ok(), "it is cancelled");
    assert!(told_timeout(&second.request) > timeout, "the last attempt has all the time of the call");
    second.answer(&[0; 5]);
    let outcome = call.await.unwrap();
    assert!(outcome.may_have_acted_before);
    answer(outcome);
}

/// What an attempt tells its server of its time.
fn told_timeout<B>(request: &http::Request<B>) -> Duration {
    parse_grpc_timeout(request.headers()["grpc-timeout"].to_str().unwrap()).unwrap()
}

#[tokio::test]
async fn attempt_that_was_refused_has_not_acted_before() {
    let mut server = Server::start().await;
    let call = call(&upstream(&server.url, one_connection), retries(3, None));
    // Twice, since it is sent again once without being a retry.
    for _ in 0..2 {
        server.next().await.respond.send_reset(Reason::REFUSED_STREAM);
    }
    server.next().await.answer(&[0; 5]);
    let outcome = call.await.unwrap();
    assert!(!outcome.may_have_acted_before);
    answer(outcome);
}

#[tokio::test]
async fn retry_stops_at_a_code_that_is_not_retried() {
    let mut server = Server::start().await;
    let call = call(&upstream(&server.url, one_connection), retries(3, None));
    server.next().await.fail("5", &[]);
    let outcome = call.await.unwrap();
    assert_eq!((code(&outcome), outcome.may_have_acted_before), (Code::NotFound, false));
    assert!(server.is_quiet());
}

#[tokio::test]
async fn retries_end_at_max_attempts_with_the_last_answer() {
    let mut server = Server::start().await;
    let call = call(&upstream(&server.url, one_connection), retries(2, None));
    for _ in 0..2 {
        server.next().await.fail("14", &[("grpc-retry-pushback-ms", "1")]);
    }
    let outcome = call.await.unwrap();
    assert_eq!((code(&outcome), outcome.may_have_acted_before), (Code::Unavailable, true));
    assert!(server.is_quiet());
}

#[tokio::test]
async fn negative_pushback_ends_retries() {
    let mut server = Server::start().await;
    let call = call(&upstream(&server.url, one_connection), retries(3, None));
    server.next().await.fail("14", &[("grpc-retry-pushback-ms", "-1")]);
    let outcome = call.await.unwrap();
    assert_eq!((code(&outcome), outcome.may_have_acted_before), (Code::Unavailable, false));
    assert!(server.is_quiet());
}

#[tokio::test]
async fn pushback_beyond_the_deadline_ends_retries_at_once() {
    let mut server = Server::start().await;
    let started = Instant::now();
    let call = call(&upstream(&server.url, one_connection), retries(3, None));
    server.next().await.fail("14", &[("grpc-retry-pushback-ms", "3600000")]);
    assert_eq!(code(&call.await.unwrap()), Code::Unavailable);
    assert!(started.elapsed() < PATIENCE / 2);
}

#[tokio::test]
async fn retries_end_when_the_budget_is_empty() {
    let mut server = Server::start().await;
    let retries = retries(3, None);
    (0..100).for_each(|_| Budget::failed(&retries.budget));
    let call = call(&upstream(&server.url, one_connection), retries);
    server.next().await.fail("14", &[]);
    assert_eq!(code(&call.await.unwrap()), Code::Unavailable);
    assert!(server.is_quiet());
}

#[tokio::test]
async fn retry_budget_grows_by_calls_that_end_with_ok_alone() {
    let mut server = Server::start().await;
    let upstream = upstream(&server.url, one_connection);
    let retries = retries(3, None);
    (0..50).for_each(|_| Budget::failed(&retries.budget));
    for _ in 0..3 {
        let unknown = call(&upstream, retries.clone());
        server.next().await.fail("5", &[]);
        assert_eq!(code(&unknown.await.unwrap()), Code::NotFound);
    }
    assert!(!retries.budget.allows());
    let known = call(&upstream, retries.clone());
    server.next().await.answer(&[0; 5]);
    answer(known.await.unwrap());
    assert!(retries.budget.allows());
}

#[tokio::test]
async fn upstream_that_always_fails_gets_half_the_tokens_of_the_budget_in_retries_at_most() {
    let mut server = Server::start().await;
    let upstream = upstream(&server.url, one_connection);
    let retries = retries(3, None);
    let mut calls = JoinSet::new();
    for _ in 0..200 {
        calls.spawn(Calling { retries: Some(retries.clone()), ..Calling::default() }.unary(Arc::clone(&upstream)));
    }
    let mut attempts = 0;
    while !calls.is_empty() {
        tokio::select! {
            mut received = server.next() => {
                attempts += 1;
                received.fail("14", &[("grpc-retry-pushback-ms", "1")]);
            }
            Some(ended) = calls.join_next() => assert_eq!(code(&ended.unwrap()), Code::Unavailable),
        }
    }
    assert!((201..=250).contains(&attempts), "{attempts} attempts of 200 calls");
}

#[tokio::test]
async fn backoff_takes_no_slot_at_an_endpoint() {
    let mut server = Server::start().await;
    let upstream = upstream(&server.url, one_connection);
    let calling = Calling { within: NEVER * 2, retries: Some(retries(3, None)) };
    let call = tokio::spawn(calling.unary(Arc::clone(&upstream)));
    server.next().await.fail("14", &[("grpc-retry-pushback-ms", "3600000")]);
    let endpoint = Arc::clone(&upstream.endpoints()[0]);
    let given_back = async {
        while endpoint.in_flight() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, given_back).await.unwrap();
    call.abort();
}

#[tokio::test]
async fn deadline_of_an_attempt_is_not_retried() {
    let mut server = Server::start().await;
    let upstream = upstream(&server.url, one_connection);
    let retries = Retries { on: Arc::new([Code::DeadlineExceeded, Code::Unavailable]), ..retries(3, None) };
    let calling = Calling { within: Duration::from_millis(50), retries: Some(retries) };
    let call = tokio::spawn(calling.unary(upstream));
    let mut received = server.next().await;
    assert_eq!(transport_error(&call.await.unwrap().result.unwrap_err()), TransportError::DeadlineExceeded);
    assert_eq!(received.given_up().await, Reason::CANCEL);
    assert!(server.is_quiet());
}

#[tokio::test]
async fn hedged_attempt_that_wins_cancels_the_slow_one() {
    let mut server = Server::start().await;
    let call = call(&upstream(&server.url, one_connection), retries(2, Some(Duration::from_millis(20))));
    let mut slow = server.next().await;
    let mut quick = server.next().await;
    assert_eq!(quick.request.headers()[PREVIOUS_ATTEMPTS], "1");
    quick.answer(&[0; 5]);
    let outcome = call.await.unwrap();
    assert!(outcome.may_have_acted_before, "the slow one may have");
    answer(outcome);
    assert_eq!(slow.given_up().await, Reason::CANCEL);
    assert!(server.is_quiet());
}

#[tokio::test]
async fn hedging_makes_no_second_attempt_after_a_quick_answer() {
    let mut server = Server::start().await;
    let call = call(&upstream(&server.url, one_connection), retries(3, Some(NEVER)));
    server.next().await.answer(&[0; 5]);
    let outcome = call.await.unwrap();
    assert!(!outcome.may_have_acted_before);
    answer(outcome);
}

#[tokio::test]
async fn failed_attempt_of_a_hedged_call_starts_the_next_at_once() {
    let mut server = Server::start().await;
    let call = call(&upstream(&server.url, one_connection), retries(3, Some(NEVER)));
    server.next().await.fail("14", &[]);
    server.next().await.answer(&[0; 5]);
    let outcome = call.await.unwrap();
    assert!(outcome.may_have_acted_before);
    answer(outcome);
}

#[tokio::test]
async fn pushback_delays_the_next_attempt_of_a_hedged_call() {
    let mut server = Server::start().await;
    let call = call(&upstream(&server.url, one_connection), retries(3, Some(NEVER)));
    let mut first = server.next().await;
    let pushed_back = Instant::now();
    first.fail("14", &[("grpc-retry-pushback-ms", "150")]);
    server.next().await.answer(&[0; 5]);
    assert!(pushed_back.elapsed() >= Duration::from_millis(150));
    answer(call.await.unwrap());
}

#[tokio::test]
async fn negative_pushback_lets_the_other_attempt_of_a_hedged_call_win() {
    let mut server = Server::start().await;
    let call = call(&upstream(&server.url, one_connection), retries(5, Some(Duration::from_millis(500))));
    let mut slow = server.next().await;
    server.next().await.fail("14", &[("grpc-retry-pushback-ms", "-1")]);
    slow.answer(&[0; 5]);
    let outcome = call.await.unwrap();
    assert!(outcome.may_have_acted_before);
    answer(outcome);
    assert!(server.is_quiet());
}

#[tokio::test]
async fn retry_after_a_broken_connection_uses_another() {
    let listener = Listener::start().await;
    let call = call(&upstream(&listener.url, one_connection), retries(2, None));
    let mut peer = listener.accept(&[]).await;
    peer.next(DATA).await;
    drop(peer);
    let mut peer = listener.accept(&[]).await;
    let stream = peer.next(DATA).await.stream;
    peer.answer(stream).await;
    let outcome = call.await.unwrap();
    assert!(outcome.may_have_acted_before);
    answer(outcome);
}
