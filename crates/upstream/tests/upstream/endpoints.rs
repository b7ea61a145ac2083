//! Several endpoints, one of which dies.

use std::sync::Arc;

use accord_upstream::{Retries, Upstream};
use tokio::task::AbortHandle;
use tonic::Code;

use crate::server::Server;
use crate::{Calling, upstream};

const STREAMS: usize = 4;
const CALLS: usize = 200;

/// An upstream of three endpoints, and the life of one of them.
async fn three_endpoints() -> (Arc<Upstream>, AbortHandle) {
    let (first, second, third) = (Server::start().await, Server::start().await, Server::start().await);
    let urls = [&first, &second, &third].map(|server| server.url.clone());
    let life = first.life();
    for server in [first, second, third] {
        server.echo();
    }
    (upstream("", |config| config.urls = urls.into()), life)
}

/// Makes calls one after another, in several streams of them, while an endpoint dies. How many calls of each stream failed.
async fn failed_while_an_endpoint_dies(retries: Option<Retries>) -> Vec<usize> {
    let (upstream, life) = three_endpoints().await;
    let streams: Vec<_> = (0..STREAMS)
        .map(|stream| {
            let (upstream, life, retries) = (Arc::clone(&upstream), life.clone(), retries.clone());
            tokio::spawn(async move {
                let mut failed = 0;
                for call in 0..CALLS {
                    // In the middle of the others' calls.
                    if (stream, call) == (0, CALLS / 4) {
                        life.abort();
                    }
                    let calling = Calling { retries: retries.clone(), ..Calling::default() };
                    failed += usize::from(calling.unary(Arc::clone(&upstream)).await.result.is_err());
                }
                failed
            })
        })
        .collect();
    let mut failed = Vec::new();
    for stream in streams {
        failed.push(stream.await.unwrap());
    }
    failed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dying_endpoint_fails_one_call_of_a_stream_at_most() {
    let failed = failed_while_an_endpoint_dies(None).await;
    assert!(failed.iter().all(|failed| *failed <= 1), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dying_endpoint_fails_no_call_that_is_retried() {
    let retries = Retries {
        max_attempts: 3,
        on: Arc::new([Code::Unavailable]),
        hedge_after: None,
        attempt_timeout: None,
        budget: Arc::default(),
    };
    assert_eq!(failed_while_an_endpoint_dies(Some(retries)).await, [0; STREAMS]);
}
