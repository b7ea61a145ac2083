//! Connections that are served by workers, each on a thread of its own.

use std::{sync::Arc, time::Duration};

use accord_runtime::{
    server::{ListenConfig, Listener},
    shutdown::Shutdown,
    workers::{self, Workers},
};
use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Barrier,
};
use tower::service_fn;

const GRACE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn connections_at_a_time_are_served_by_different_workers() {
    let workers = Workers::start(2).unwrap();
    let listener = Listener::bind(&ListenConfig::default()).await.unwrap().on(&workers);
    let (address, shutdown) = (listener.address(), Shutdown::new(GRACE));
    let both_are_there = Arc::new(Barrier::new(2));
    let service = service_fn(move |_| {
        let both_are_there = Arc::clone(&both_are_there);
        async move {
            both_are_there.wait().await;
            Ok(Response::new(Full::new(Bytes::from(format!("worker {}", workers::shard())))))
        }
    });
    let served = tokio::spawn(listener.serve(service, shutdown.clone()));
    let ask = async || {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer.split("\r\n\r\n").nth(1).unwrap().to_owned()
    };
    let (first, second) = tokio::join!(ask(), ask());
    let mut answers = [first, second];
    answers.sort();
    assert_eq!(answers, ["worker 1", "worker 2"]);
    shutdown.begin();
    served.await.unwrap();
    workers.stop().await;
}
