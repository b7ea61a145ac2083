//! What calls hold is given back, however they end.

use std::sync::Arc;

use accord_upstream::Upstream;
use http_body_util::{BodyExt, Full};

use crate::server::{PATIENCE, Server};
use crate::{Calling, unary, upstream};

const STREAMS: u32 = 8;
const CALLS: usize = 1000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_flight_slots_are_released_after_random_cancellation() {
    let upstream = tolerant_upstream().await;
    let calls: Vec<_> = (0..CALLS).map(|index| tokio::spawn(call(Arc::clone(&upstream), index))).collect();
    for call in calls {
        for _ in 0..rand::random_range(0..200) {
            tokio::task::yield_now().await;
        }
        call.abort();
    }
    let endpoint = Arc::clone(&upstream.endpoints()[0]);
    let given_back = async {
        while endpoint.in_flight() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, given_back).await.expect("calls are still counted");
    // All streams of all connections, and all places in flight, can be used once more.
    let calls: Vec<_> = (0..CALLS).map(|_| unary(&upstream)).collect();
    for call in calls {
        let result = call.await.unwrap().result;
        assert!(result.is_ok(), "{:?}", result.err());
    }
    assert_eq!(endpoint.in_flight(), 0);
}

/// An upstream of few streams whose server takes any number of cancelled calls.
async fn tolerant_upstream() -> Arc<Upstream> {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(STREAMS);
    // h2 gives a connection up (ENHANCE_YOUR_CALM) when more than 20 calls are cancelled before it has handed them on; this
    // test is about what our side holds.
    builder.max_pending_accept_reset_streams(CALLS);
    let server = Server::with(builder, None).await;
    let url = server.url.clone();
    server.echo();
    upstream(&url, |config| {
        config.max_connections = 2;
        config.max_in_flight = CALLS;
    })
}

/// A unary call, or a stream that is read to its end.
async fn call(upstream: Arc<Upstream>, index: usize) {
    if index.is_multiple_of(2) {
        drop(Calling::default().unary(upstream).await);
    } else if let Ok(response) = Calling::default().stream(upstream, Full::from(vec![7; 100_000])).await {
        let _ = response.into_body().collect().await;
    }
}
