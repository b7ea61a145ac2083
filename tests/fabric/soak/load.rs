//! Writers and readers. Each product has one writer, so that it is well defined which of its writes came last; it is left alone for
//! more than a second after each, since no lease is granted before; then both gateways come by a lease on it, and it is written
//! at one of them while both are read.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use http::Method;
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use serde_json::{Value, json};
use tokio::{
    sync::{Semaphore, watch},
    time::timeout,
};

use super::{
    judge::{Judge, Product, Seen, Write},
    sql::SqlWriter,
};
use crate::{
    http::{HttpCall, HttpResponse},
    rolling::client::reason,
    writers::Writers,
};

/// Products that are read for a lease at a time. Few: a lease is no use to who gets it late.
const BURSTS: usize = 4;
/// Calls at a gateway at a time: a sample that is behind is not driven further back, and a paused gateway holds up none of the other.
const IN_FLIGHT: usize = 32;
/// Reads at a gateway until one is answered near: the first is noted, the second gets the lease.
const MOST_READS: usize = 6;
/// How long such a read is waited for, so that a paused gateway does not keep its product from being written at the other.
const SOON: Duration = Duration::from_millis(300);
/// How long a write may take, and a read after it: longer than any pause.
const BOUND: Duration = Duration::from_secs(10);
/// Reads at each gateway after a write.
const CHECKS: usize = 2;
/// How long a product's creation is tried, and the time between two attempts.
const CREATION: Duration = Duration::from_mins(1);
const BETWEEN_CREATIONS: Duration = Duration::from_millis(250);
/// How long a product is left alone, in milliseconds: a tag that was invalidated within the last second is leased to nobody.
const QUIET: std::ops::Range<u64> = 1_050..1_600;

/// One in so many products is written past Accord alone, and one in so many writes of the others.
const ONE_PAST_ACCORD: usize = 8;

/// By which way a write goes.
#[derive(Clone, Copy)]
enum Writer {
    /// Through this gateway.
    Gateway(usize),
    /// Into the service's database.
    Sql,
}

/// All writers and readers.
pub(super) struct Load {
    gateways: [SocketAddr; 2],
    token: String,
    sql: SqlWriter,
    seed: u64,
    products: Vec<Product>,
    judge: Judge,
    bursts: Semaphore,
    in_flight: [Semaphore; 2],
    is_over: watch::Sender<bool>,
}

impl Load {
    /// Creates the products.
    pub(super) async fn new(
        gateways: [SocketAddr; 2],
        token: String,
        sql: SqlWriter,
        seed: u64,
        products: usize,
    ) -> Result<Arc<Self>> {
        let mut created = Vec::new();
        for number in 0..products {
            created.push(create(gateways[0], &token, format!("soak-{number}")).await?);
        }
        Ok(Arc::new(Self {
            gateways,
            token,
            sql,
            seed,
            products: created,
            judge: Judge::new(),
            bursts: Semaphore::new(BURSTS),
            in_flight: [Semaphore::new(IN_FLIGHT), Semaphore::new(IN_FLIGHT)],
            is_over: watch::Sender::new(false),
        }))
    }

    pub(super) fn judge(&self) -> &Judge {
        &self.judge
    }

    /// Starts a writer for each product.
    pub(super) fn start(self: &Arc<Self>) -> Writers {
        Writers::start(self.products.len(), |at| Arc::clone(self).write_on(at))
    }

    /// Ends what was started, and waits for what is under way.
    pub(super) async fn end(&self, writers: Writers) -> Result<()> {
        self.is_over.send_replace(true);
        self.bursts.close();
        writers.end().await
    }

    async fn write_on(self: Arc<Self>, at: usize) {
        let mut rng = SmallRng::seed_from_u64(self.seed ^ (at as u64) << 32);
        let mut is_over = self.is_over.subscribe();
        for number in 1.. {
            let gateway = rng.random_range(0..self.gateways.len());
            // Of some products, all writes go past Accord: so none of them is made known by another one.
            let is_past = at % ONE_PAST_ACCORD == ONE_PAST_ACCORD - 1 || rng.random_range(0..ONE_PAST_ACCORD) == 0;
            let writer = if is_past { Writer::Sql } else { Writer::Gateway(gateway) };
            self.round(at, number, writer).await;
            let quiet = Duration::from_millis(rng.random_range(QUIET));
            if timeout(quiet, is_over.wait_for(|is_over| *is_over)).await.is_ok() {
                return;
            }
        }
    }

    async fn round(self: &Arc<Self>, at: usize, number: u64, writer: Writer) {
        let Ok(burst) = self.bursts.acquire().await else { return };
        let near: [bool; 2] = tokio::join!(self.read_near(at, 0), self.read_near(at, 1)).into();
        drop(burst);
        let is_written = AtomicBool::new(false);
        let write = async {
            match writer {
                Writer::Gateway(gateway) => self.write(&self.products[at], number, gateway, near[1 - gateway]).await,
                Writer::Sql => self.write_past(&self.products[at], number).await,
            }
            is_written.store(true, Ordering::Relaxed);
            tokio::join!(self.check(at, 0), self.check(at, 1));
        };
        let reads = async {
            // First where nobody writes.
            let first = if let Writer::Gateway(0) = writer { 1 } else { 0 };
            let mut gateways = [first, 1 - first].into_iter().cycle();
            while let Some(gateway) = gateways.next().filter(|_| !is_written.load(Ordering::Relaxed)) {
                if self.read_soon(at, gateway).await.is_none() {
                    return;
                }
            }
        };
        tokio::join!(write, reads);
    }

    /// Reads until a gateway answers from its memory; whether it did.
    async fn read_near(self: &Arc<Self>, at: usize, gateway: usize) -> bool {
        for _ in 0..MOST_READS {
            match self.read_soon(at, gateway).await {
                None => return false,
                Some(true) => return true,
                Some(false) => {}
            }
        }
        false
    }

    async fn check(&self, at: usize, gateway: usize) {
        for _ in 0..CHECKS {
            if self.read(at, gateway).await.is_none() {
                return;
            }
        }
    }

    /// The same as `read`, but waits for the answer no longer than some leases take. A paused gateway gets what was granted to it
    /// when it goes on, and must not keep it then: so the read is not taken back.
    async fn read_soon(self: &Arc<Self>, at: usize, gateway: usize) -> Option<bool> {
        let load = Arc::clone(self);
        let read = tokio::spawn(async move { load.read(at, gateway).await });
        timeout(SOON, read).await.ok()?.ok()?
    }

    /// Reads and judges; whether it was answered near, where it was answered.
    async fn read(&self, at: usize, gateway: usize) -> Option<bool> {
        let (product, reads) = (&self.products[at], &self.judge.reads[gateway]);
        let _slot = self.in_flight[gateway].acquire().await.ok()?;
        let (expected, began_at) = (product.expected(), reads.disturbances());
        let sent = Instant::now();
        let call = HttpCall::new(self.gateways[gateway], Method::GET, &path(product)).token(&self.token);
        let answer = match answered(call).await {
            Ok(answer) => answer,
            Err(cause) => {
                reads.count(false, began_at);
                self.judge.failed(format!("read: {cause}"));
                return None;
            }
        };
        let Some((number, version)) = content(&answer) else {
            self.judge.failed(format!("read: answered with {}", answer.text()));
            return None;
        };
        let (source, request_id) = (source(&answer), request_id(&answer));
        let seen = Seen { number, version, gateway, sent, answered: Instant::now(), source, request_id };
        self.judge.read(product, &expected, &seen);
        reads.count(true, began_at);
        self.judge.latency.record(seen.answered - seen.sent);
        let is_near = seen.source.starts_with("accord-near; hit");
        reads.near.fetch_add(u64::from(is_near), Ordering::Relaxed);
        Some(is_near)
    }

    async fn write(&self, product: &Product, number: u64, gateway: usize, is_against_lease: bool) {
        let Ok(_slot) = self.in_flight[gateway].acquire().await else { return };
        let sent = Instant::now();
        let call = HttpCall::new(self.gateways[gateway], Method::PUT, &path(product)).token(&self.token);
        let call = call.json(&json!({ "id": product.id, "title": number.to_string() }));
        let writes = &self.judge.writes;
        let answer = match answered(call).await {
            Ok(answer) => answer,
            Err(cause) => {
                writes.failed.fetch_add(1, Ordering::Relaxed);
                return self.judge.failed(format!("write: {cause}"));
            }
        };
        let Some((number, version)) = content(&answer) else {
            return self.judge.failed(format!("write: answered with {}", answer.text()));
        };
        let request_id = request_id(&answer);
        let write = Write { number, version, gateway, sent, answered: Instant::now(), request_id };
        if answer.header("x-accord-invalidation").is_some() {
            product.deferred(write);
            writes.deferred.fetch_add(1, Ordering::Relaxed);
            return;
        }
        product.acknowledged(write);
        writes.acknowledged.fetch_add(1, Ordering::Relaxed);
        writes.against_lease.fetch_add(u64::from(is_against_lease), Ordering::Relaxed);
    }
}

impl Load {
    /// Writes into the database of the service. Nobody tells the cache: it is seen within what the contract declares.
    async fn write_past(&self, product: &Product, number: u64) {
        let (sent, writes) = (Instant::now(), &self.judge.writes);
        match self.sql.write(&product.id, number.to_string()).await {
            Ok(version) => {
                let request_id = "none, by SQL".to_owned();
                product.deferred(Write { number, version, gateway: 0, sent, answered: Instant::now(), request_id });
                writes.by_sql.fetch_add(1, Ordering::Relaxed);
            }
            Err(problem) => {
                writes.failed.fetch_add(1, Ordering::Relaxed);
                self.judge.failed(format!("write by SQL: {problem}"));
            }
        }
    }
}

/// Creates a product: under a key, so that it can be tried again where a busy machine is too slow for it, once the claim of the
/// attempt before is over.
async fn create(gateway: SocketAddr, token: &str, id: String) -> Result<Product> {
    let begun = Instant::now();
    loop {
        let sent = Instant::now();
        let call = HttpCall::new(gateway, Method::POST, "/v1/products").token(token).header("idempotency-key", &id);
        match answered(call.json(&json!({ "id": id, "title": "0" }))).await {
            Ok(answer) => {
                let (number, version) = content(&answer).context("a product")?;
                let request_id = request_id(&answer);
                let created = Write { number, version, gateway: 0, sent, answered: Instant::now(), request_id };
                return Ok(Product::new(id, created));
            }
            Err(cause) => ensure!(begun.elapsed() < CREATION, "the sample creates no product {id}: {cause}"),
        }
        tokio::time::sleep(BETWEEN_CREATIONS).await;
    }
}

/// A successful answer, or why there is none.
async fn answered(call: HttpCall) -> Result<HttpResponse, String> {
    match timeout(BOUND, call.send()).await {
        Err(_) => Err(format!("not answered within {BOUND:?}")),
        Ok(Err(_)) => Err("the connection failed".to_owned()),
        Ok(Ok(answer)) if answer.status.is_success() => Ok(answer),
        Ok(Ok(answer)) => Err(format!("{} {}", answer.status.as_u16(), reason(&answer.text()))),
    }
}

/// The number of the write that a product comes from, and the version that its origin gave it.
fn content(answer: &HttpResponse) -> Option<(u64, u64)> {
    let product = answer.json().ok()?;
    let number = |name: &str| product.get(name).and_then(Value::as_str)?.parse().ok();
    Some((number("title")?, number("version")?))
}

fn path(product: &Product) -> String {
    format!("/v1/products/{}", product.id)
}

/// Where an answer comes from, as its headers say.
fn source(answer: &HttpResponse) -> String {
    let header = |name| answer.header(name).unwrap_or("none");
    format!("{}, age {}", header("cache-status"), header("age"))
}

fn request_id(answer: &HttpResponse) -> String {
    answer.header("x-request-id").unwrap_or("without a number").to_owned()
}
