//! More calls than streams, and more than may be in flight.

use std::sync::Arc;
use std::time::Duration;

use accord_api::accord::fault::v1::Reason;
use accord_runtime::fault;
use accord_upstream::{Failure, Retries, TransportError, Upstream};
use http_body_util::BodyExt;
use tokio::time::timeout;
use tonic::Code;
use tonic_types::StatusExt;

use crate::raw::{DATA, Listener};
use crate::server::{PATIENCE, Server};
use crate::{Calling, answer, nothing, one_connection, stream, transport_error, unary, upstream};

#[tokio::test]
async fn calls_beyond_the_streams_of_a_connection_open_others_up_to_the_most_and_then_queue() {
    let mut server = Server::with_streams(2).await;
    let upstream = upstream(&server.url, |config| {
        one_connection(config);
        config.max_connections = 3;
    });
    let calls: Vec<_> = (0..9).map(|_| unary(&upstream)).collect();
    let mut received = Vec::new();
    for _ in 0..6 {
        received.push(server.next().await);
    }
    assert_eq!(server.connections(), 3);
    assert!(server.is_quiet(), "the rest waits for a stream");
    for call in &mut received {
        call.answer(&[0; 5]);
    }
    for _ in 0..3 {
        server.next().await.answer(&[0; 5]);
    }
    for call in calls {
        answer(call.await.unwrap());
    }
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn slow_call_does_not_delay_others() {
    let mut server = Server::with_streams(1).await;
    let upstream = upstream(&server.url, one_connection);
    let slow = unary(&upstream);
    let mut held = server.next().await;
    for _ in 0..3 {
        let quick = unary(&upstream);
        server.next().await.answer(&[0; 5]);
        answer(quick.await.unwrap());
    }
    held.answer(&[0; 5]);
    answer(slow.await.unwrap());
}

#[tokio::test]
async fn call_that_waits_for_a_connection_takes_a_stream_that_is_free_before() {
    let listener = Listener::start().await;
    let upstream = upstream(&listener.url, |config| {
        one_connection(config);
        config.connect_timeout = Duration::from_hours(1);
    });
    let first = unary(&upstream);
    // SETTINGS_MAX_CONCURRENT_STREAMS: 1
    let mut peer = listener.accept(&[0, 3, 0, 0, 0, 1]).await;
    let stream = peer.next(DATA).await.stream;
    let second = unary(&upstream);
    let _never_stands = listener.accept_silently().await;
    peer.answer(stream).await;
    answer(first.await.unwrap());
    let stream = peer.next(DATA).await.stream;
    peer.answer(stream).await;
    answer(second.await.unwrap());
}

/// Whether one more call is refused; it is told to the server where it is not.
async fn is_full(upstream: &Arc<Upstream>, server: &mut Server) -> bool {
    let mut call = unary(upstream);
    tokio::select! {
        mut received = server.next() => {
            received.answer(&[0; 5]);
            answer(call.await.unwrap());
            false
        }
        outcome = &mut call => {
            assert!(matches!(outcome, Ok(outcome) if matches!(outcome.result, Err(Failure::Overloaded))));
            true
        }
    }
}

fn one_in_flight(url: &str) -> Arc<Upstream> {
    upstream(url, |config| {
        one_connection(config);
        config.max_in_flight = 1;
    })
}

#[tokio::test]
async fn call_beyond_max_in_flight_is_refused_with_retry_after() {
    let mut server = Server::start().await;
    let upstream = one_in_flight(&server.url);
    let _first = unary(&upstream);
    let _held = server.next().await;
    let failure = unary(&upstream).await.unwrap().result.unwrap_err();
    assert!(failure.is_unprocessed() && failure.code() == Code::ResourceExhausted);
    let status = failure.status("shop");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(fault::reason_of(&status), Some(Reason::UpstreamOverloaded));
    let delay = status.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!(!delay.is_zero());
    assert!(matches!(stream(&upstream, nothing()).await.unwrap(), Err(Failure::Overloaded)));
}

#[tokio::test]
async fn in_flight_slot_is_released_after_the_last_byte() {
    let mut server = Server::start().await;
    let upstream = one_in_flight(&server.url);
    let call = stream(&upstream, nothing());
    let mut body = server.next().await.head();
    let mut response = call.await.unwrap().unwrap().into_body();
    body.send_data("some".into(), false).unwrap();
    response.frame().await.unwrap().unwrap();
    assert!(is_full(&upstream, &mut server).await);
    body.send_data("".into(), true).unwrap();
    while response.frame().await.is_some() {}
    assert!(!is_full(&upstream, &mut server).await, "though the body itself is still there");
}

#[tokio::test]
async fn in_flight_slot_is_released_when_the_response_is_dropped() {
    let mut server = Server::start().await;
    let upstream = one_in_flight(&server.url);
    let call = stream(&upstream, nothing());
    let _body = server.next().await.head();
    let response = call.await.unwrap().unwrap();
    assert!(is_full(&upstream, &mut server).await);
    drop(response);
    assert!(!is_full(&upstream, &mut server).await);
}

#[tokio::test]
async fn in_flight_slot_is_released_after_an_error_and_after_the_deadline() {
    let mut server = Server::start().await;
    let upstream = one_in_flight(&server.url);
    let call = stream(&upstream, nothing());
    let mut body = server.next().await.head();
    let mut response = call.await.unwrap().unwrap().into_body();
    body.send_reset(h2::Reason::INTERNAL_ERROR);
    response.frame().await.unwrap().unwrap_err();
    assert!(!is_full(&upstream, &mut server).await);

    let calling = Calling { within: Duration::from_millis(30), ..Calling::default() };
    let call = tokio::spawn(calling.unary(Arc::clone(&upstream)));
    let _never_answered = server.next().await;
    assert!(call.await.unwrap().result.unwrap_err().is_deadline());
    assert!(!is_full(&upstream, &mut server).await);
}

#[tokio::test]
async fn call_ends_with_its_deadline_while_no_endpoint_is_known() {
    let upstream = upstream("http://nobody.invalid:1", |config| config.connect_timeout = Duration::from_hours(1));
    let calling = || Calling { within: Duration::from_millis(50), retries: None };
    let retries = |hedge_after| {
        let retries = Retries {
            max_attempts: 2,
            on: [Code::Unavailable].into(),
            hedge_after,
            attempt_timeout: None,
            budget: Arc::default(),
        };
        Calling { retries: Some(retries), ..calling() }
    };
    for calling in [calling(), retries(None), retries(Some(Duration::from_secs(1)))] {
        let outcome = timeout(PATIENCE, calling.unary(Arc::clone(&upstream))).await.expect("it waits for discovery");
        assert_eq!(transport_error(&outcome.result.unwrap_err()), TransportError::DeadlineExceeded);
    }
    let streamed = timeout(PATIENCE, calling().stream(upstream, nothing())).await.expect("it waits for discovery");
    assert_eq!(transport_error(&streamed.unwrap_err()), TransportError::DeadlineExceeded);
}
