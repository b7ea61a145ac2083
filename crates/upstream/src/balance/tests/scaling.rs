use std::sync::atomic::{AtomicBool, Ordering};

use accord_runtime::deadline::Deadline;
use accord_runtime::request::RequestId;
use http::uri::PathAndQuery;
use tokio::task::JoinSet;

use super::*;
use crate::call::Call;

static PATH: PathAndQuery = PathAndQuery::from_static("/shop.v1.Shop/Buy");

/// No step of a test takes so long.
const PATIENCE: Duration = Duration::from_mins(1);

/// A server that answers each call after a time.
struct Server {
    url: String,
    /// How many connections are open.
    open: watch::Receiver<usize>,
    /// How many calls have come.
    calls: watch::Receiver<usize>,
    _task: JoinSet<()>,
}

impl Server {
    async fn start(takes: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (opened, open) = watch::channel(0);
        let (came, calls) = watch::channel(0);
        let mut task = JoinSet::new();
        task.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                opened.send_modify(|open| *open += 1);
                let (opened, came) = (opened.clone(), came.clone());
                tokio::spawn(async move {
                    // How a connection ends is the caller's to choose.
                    let _ = serve(socket, takes, &came).await;
                    opened.send_modify(|open| *open -= 1);
                });
            }
        });
        Self { url, open, calls, _task: task }
    }
}

async fn serve(socket: tokio::net::TcpStream, takes: Duration, came: &watch::Sender<usize>) -> Result<(), h2::Error> {
    let mut connection = h2::server::handshake(socket).await?;
    while let Some(call) = connection.accept().await {
        let (_request, mut respond) = call?;
        came.send_modify(|calls| *calls += 1);
        tokio::spawn(async move {
            tokio::time::sleep(takes).await;
            let mut head = Response::new(());
            *head.headers_mut() = super::head();
            let mut body = respond.send_response(head, false)?;
            body.send_data(Bytes::from_static(&[0; 5]), false)?;
            body.send_trailers(HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]))
        });
    }
    Ok(())
}

/// Callers that call one after the other until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    made: watch::Receiver<usize>,
    callers: JoinSet<()>,
}

impl Load {
    fn start(upstream: &Arc<Upstream>, callers: usize) -> Self {
        let (made, stop) = (watch::Sender::new(0), Arc::new(AtomicBool::new(false)));
        let mut load = Self { stop, made: made.subscribe(), callers: JoinSet::new() };
        for _ in 0..callers {
            let (upstream, stop, made) = (Arc::clone(upstream), Arc::clone(&load.stop), made.clone());
            load.callers.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    call(&upstream).await;
                    made.send_modify(|made| *made += 1);
                }
            });
        }
        load
    }

    /// Lets so many calls more come to their end.
    async fn make(&mut self, calls: usize) {
        let until = *self.made.borrow() + calls;
        let all = tokio::time::timeout(PATIENCE, self.made.wait_for(|made| *made >= until));
        all.await.expect("the load stands still").unwrap();
    }

    /// Ends when all callers have. A call that failed fails the test.
    async fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.callers.join_next().await {
            ended.unwrap();
        }
    }
}

async fn call(upstream: &Arc<Upstream>) {
    let (metadata, id) = (HeaderMap::new(), RequestId::new());
    let (deadline, path) = (Deadline::after(PATIENCE), &PATH);
    let (record, retries, caller) = (None, None, None);
    let (criticality, timed) = (Criticality::CriticalPlus, None);
    let call = Call {
        path,
        metadata: &metadata,
        deadline,
        id: &id,
        record,
        max_response_bytes: 100,
        retries,
        caller,
        criticality,
        timed,
    };
    let answer = upstream.unary(&call, b"").await.result;
    answer.expect("a call was lost").result.expect("a call failed");
}

async fn servers(times: impl IntoIterator<Item = Duration>) -> Vec<Server> {
    let mut servers = Vec::new();
    for takes in times {
        servers.push(Server::start(takes).await);
    }
    servers
}

fn urls(servers: &[Server]) -> Vec<&str> {
    servers.iter().map(|server| server.url.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scaling_from_one_endpoint_to_fifty_and_back_loses_no_call_and_closes_connections() {
    let mut servers = servers([Duration::from_millis(5); 50]).await;
    let (upstream, told) = discovered(&urls(&servers[..1]));
    let mut load = Load::start(&upstream, 64);
    for count in [1, 5, 20, 50] {
        discover(&upstream, &told, &urls(&servers[..count])).await;
        load.make(500).await;
    }
    for server in &mut servers {
        let called = tokio::time::timeout(PATIENCE, server.calls.wait_for(|calls| *calls > 0));
        called.await.expect("an endpoint gets no call").unwrap();
    }
    for count in [20, 5, 1] {
        discover(&upstream, &told, &urls(&servers[..count])).await;
        load.make(200).await;
    }
    for server in &mut servers[1..] {
        let closed = tokio::time::timeout(PATIENCE, server.open.wait_for(|open| *open == 0));
        closed.await.expect("a connection to an endpoint that is gone stays open").unwrap();
    }
    load.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_endpoint_among_three_gets_a_small_share() {
    let servers = servers([1, 1, 50].map(Duration::from_millis)).await;
    let (upstream, _told) = discovered(&urls(&servers));
    let mut load = Load::start(&upstream, 8);
    load.make(2_000).await;
    load.stop().await;
    let [first, second, slow] = [0, 1, 2].map(|index: usize| *servers[index].calls.borrow());
    assert!(slow * 10 < first + second, "{first}, {second}, and {slow} at the slow one");
}
