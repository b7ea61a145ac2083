//! A gRPC server on h2 alone, on one thread: the cheapest that there is in Rust, so that what stands before it is what is measured.

use std::{net::SocketAddr, rc::Rc, time::Duration};

use anyhow::Result;
use bytes::Bytes;
use h2::{RecvStream, SendStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task,
    time::sleep,
};

use crate::item;

/// As much as no case has in flight, so that nobody waits for a window.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
const STREAMS: u32 = 10_000;

/// What every call is answered with.
#[derive(Clone)]
pub(crate) struct Reply {
    message: Bytes,
    says_paths: bool,
    capacity: Option<Capacity>,
}

impl Reply {
    /// This message, at once.
    pub(crate) fn new(message: Bytes) -> Self {
        Self { message, says_paths: false, capacity: None }
    }

    /// Says which methods are called.
    pub(crate) fn saying_paths(self) -> Self {
        Self { says_paths: true, ..self }
    }

    /// No more calls than there is capacity for.
    pub(crate) fn within(self, capacity: Capacity) -> Self {
        Self { capacity: Some(capacity), ..self }
    }
}

/// Workers, and how long a call takes one of them.
#[derive(Clone)]
pub(crate) struct Capacity {
    workers: Rc<Semaphore>,
    service: Duration,
}

impl Capacity {
    /// So many workers, for so long.
    pub(crate) fn new(workers: usize, service: Duration) -> Self {
        Self { workers: Rc::new(Semaphore::new(workers)), service }
    }

    async fn work(&self) {
        let _worker = self.workers.acquire().await;
        sleep(self.service).await;
    }
}

/// Answers every call with this, until the process ends.
pub(crate) async fn serve(listen: SocketAddr, reply: Reply) -> Result<()> {
    let listener = TcpListener::bind(listen).await?;
    let local = task::LocalSet::new();
    local
        .run_until(async move {
            loop {
                let (socket, _) = listener.accept().await?;
                task::spawn_local(connection(socket, reply.clone()));
            }
        })
        .await
}

/// One that breaks is its peer's to make anew.
async fn connection(socket: TcpStream, reply: Reply) -> Result<(), h2::Error> {
    let _ = socket.set_nodelay(true);
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
    let mut connection = builder.max_concurrent_streams(STREAMS).handshake(socket).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        task::spawn_local(answer(request, respond, reply.clone()));
    }
    Ok(())
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    Reply { message, says_paths, capacity }: Reply,
) -> Result<(), h2::Error> {
    let (head, mut body) = request.into_parts();
    if says_paths {
        println!("{}", head.uri.path());
    }
    let mut received = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        received.extend_from_slice(&chunk);
    }
    if let Some(capacity) = capacity {
        capacity.work().await;
    }
    let mut response = Response::new(());
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let mut send = respond.send_response(response, false)?;
    if head.uri.path().ends_with("/Watch") {
        for _ in 0..item::asked_for(&received) {
            send_in_window(&mut send, message.clone()).await?;
        }
    } else if head.uri.path().ends_with("/Echo") {
        // As large as a message may be: it leaves as windows have room for it.
        send.send_data(received.into(), false)?;
    } else {
        send.send_data(message, false)?;
    }
    let status = (http::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"));
    send.send_trailers(HeaderMap::from_iter([status]))
}

/// Waits for room, so that a slow reader holds no more than its window.
async fn send_in_window(send: &mut SendStream<Bytes>, message: Bytes) -> Result<(), h2::Error> {
    send.reserve_capacity(message.len());
    while send.capacity() < message.len() {
        match std::future::poll_fn(|context| send.poll_capacity(context)).await {
            Some(granted) => granted?,
            None => return Ok(()),
        };
    }
    send.send_data(message, false)
}
