//! Calls of workers, each with connections of its own.

use std::convert::Infallible;
use std::sync::Arc;

use accord_runtime::server::{ListenConfig, Listener};
use accord_runtime::shutdown::Shutdown;
use accord_runtime::workers::Workers;
use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower::service_fn;

use crate::server::{PATIENCE, Server};
use crate::{Calling, one_connection, upstream};

#[tokio::test]
async fn calls_of_two_workers_share_no_connection() {
    let workers = Workers::start(2).unwrap();
    let mut server = Server::start().await;
    let upstream = upstream(&server.url, one_connection);
    let listener = Listener::bind(&ListenConfig::default()).await.unwrap().on(&workers);
    let (address, shutdown) = (listener.address(), Shutdown::new(PATIENCE));
    let service = service_fn(move |_| {
        let call = Calling::default().unary(Arc::clone(&upstream));
        async move {
            call.await.result.unwrap();
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
        }
    });
    let serving = tokio::spawn(listener.serve(service, shutdown.clone()));
    let ask = async || {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n").await.unwrap();
        socket
    };
    // Both are there at a time, and so at one worker each.
    let mut callers = [ask().await, ask().await];
    let mut calls = [server.next().await, server.next().await];
    let mut connections = calls.each_ref().map(|call| call.connection);
    connections.sort_unstable();
    assert_eq!(connections, [0, 1]);
    for call in &mut calls {
        let message = call.body().await.unwrap();
        call.try_answer(&message).unwrap();
    }
    for caller in &mut callers {
        caller.read_to_end(&mut Vec::new()).await.unwrap();
    }
    shutdown.begin();
    serving.await.unwrap();
    workers.stop().await;
}
