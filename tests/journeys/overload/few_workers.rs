//! An upstream with few workers, which keeps account of its queue.

use crate::scripted_upstream::reflection;
use anyhow::{Context, Result};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Collected, Full};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{future::ready, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinError,
    time::{sleep, timeout},
};
use tonic::{body::Body, service::Routes};

/// The longest that it may take until a queue is as it should be.
const BOUND: Duration = Duration::from_mins(1);

/// It works on every call that came, also where its caller has left, as many services do.
#[derive(Clone)]
pub(super) struct FewWorkers(Arc<State>);

struct State {
    url: String,
    workers: Semaphore,
    service: Duration,
    account: watch::Sender<Account>,
    reflection: Routes,
}

/// Calls since the account was opened.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Account {
    /// Those that wait for a worker now, and the most that did.
    pub queued: usize,
    pub most_queued: usize,
    /// Those that a worker was done with, and of these whose callers had left.
    pub worked_on: usize,
    pub in_vain: usize,
}

impl Account {
    fn queue(&mut self) {
        self.queued += 1;
        self.most_queued = self.most_queued.max(self.queued);
    }
}

/// A call whose caller waits, until it is dropped.
struct Caller(watch::Sender<bool>);

impl Drop for Caller {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

impl FewWorkers {
    /// Begins to serve so many calls at a time, each for so long.
    pub(super) async fn start(workers: usize, service: Duration) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let (workers, account, reflection) = (Semaphore::new(workers), watch::Sender::default(), reflection()?);
        let upstream = Self(Arc::new(State { url, workers, service, account, reflection }));
        tokio::spawn(upstream.clone().serve(listener));
        Ok(upstream)
    }

    /// Where it serves.
    pub(super) fn url(&self) -> &str {
        &self.0.url
    }

    /// Opens a new account.
    pub(super) fn open_account(&self) {
        self.0.account.send_modify(|account| {
            let queued = account.queued;
            *account = Account { queued, most_queued: queued, ..Account::default() };
        });
    }

    /// Waits until the account is so, and says how it is then.
    pub(super) async fn await_account(&self, wanted: impl Fn(&Account) -> bool) -> Result<Account> {
        let mut accounts = self.0.account.subscribe();
        let reached = timeout(BOUND, accounts.wait_for(&wanted)).await.map(|reached| reached.map(|account| *account));
        reached.with_context(|| format!("it stays {:?}", *self.0.account.borrow()))?.context("the upstream is gone")
    }

    async fn serve(self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let upstream = self.clone();
            let service = service_fn(move |request| upstream.clone().answer(request));
            let mut server = http2::Builder::new(TokioExecutor::new());
            // No stream waits for another: what queues, queues for a worker.
            tokio::spawn(server.max_concurrent_streams(10_000).serve_connection(TokioIo::new(stream), service));
        }
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Body>, JoinError> {
        if !request.uri().path().starts_with("/echo.v1.EchoService/") {
            let told = tower::ServiceExt::oneshot(self.0.reflection.clone(), request).await;
            return Ok(told.unwrap_or_else(|never| match never {}));
        }
        let (caller, upstream) = (watch::Sender::new(false), self.clone());
        let has_left = caller.subscribe();
        let _caller = Caller(caller);
        let body = request.into_body().collect().await.map(Collected::to_bytes).unwrap_or_default();
        tokio::spawn(async move { upstream.work(&has_left).await }).await?;
        let status = (HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"));
        let trailers = HeaderMap::from_iter([status]);
        let mut response = Response::new(Body::new(Full::new(body).with_trailers(ready(Some(Ok(trailers))))));
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        Ok(response)
    }

    async fn work(&self, has_left: &watch::Receiver<bool>) {
        self.0.account.send_modify(Account::queue);
        let _worker = self.0.workers.acquire().await;
        self.0.account.send_modify(|account| account.queued -= 1);
        sleep(self.0.service).await;
        self.0.account.send_modify(|account| {
            account.worked_on += 1;
            account.in_vain += usize::from(*has_left.borrow());
        });
    }
}
