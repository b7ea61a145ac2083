//! Who calls while processes are restarted. Each product has one writer, so that it is well defined which of its writes came last. A
//! writer goes by each protocol in turn: it writes, and reads until the next write, by when leases have been granted. Beside them are
//! creators: each makes one product after the other under a key, and asks for it again under the same, so that some creation is in
//! flight when a process is killed.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use accord_api::catalog::v1::{
    CreateProductRequest, GetProductRequest, GetProductResponse, Product as Message, UpdateProductRequest,
};
use anyhow::{Result, ensure};
use http::Method;
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    End, Rolling,
    carried_out::{CREATION, ONCE},
    client::{Answer, Broken, Call, Client, Protocol},
    connect::Connector,
};
use crate::{
    soak::judge::{Judge, Product, Seen, Write},
    writers::Writers,
};

/// Clients with connections of their own, among whom the writers are shared out: several calls share one of HTTP/2.
const CLIENTS: usize = 4;
/// How many create products where processes are killed: one for each client. Elsewhere one does, which leaves small machines room.
const CREATORS: usize = CLIENTS;
/// Between two attempts to create a first product.
const AGAIN: Duration = Duration::from_millis(50);
/// How long a writer reads before it writes again, in milliseconds: a tag that was invalidated within the last second is leased to
/// nobody.
const READING: std::ops::Range<u64> = 1_050..1_600;
/// How long the first product of each writer is tried: caches acknowledge nothing in the first time of their lives.
const SETTLED: Duration = Duration::from_mins(1);

/// All writers, and what is known of their products.
pub(super) struct Load {
    clients: Vec<Client>,
    token: String,
    seed: u64,
    /// Whether processes are killed.
    kills: bool,
    /// Between two reads of a writer: the load leaves processes of a small machine room to start.
    pace: Duration,
    products: Vec<Product>,
    judge: Judge,
    /// The request ids of creations that were answered.
    created: Mutex<BTreeSet<String>>,
    counts: Counts,
    is_over: watch::Sender<bool>,
}

/// What came of the calls.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub answered: [AtomicU64; 4],
    /// Those of them that were answered by a record under a key.
    pub replayed: AtomicU64,
    /// Creations under a key that a killed gateway had passed on, of which the service said that they are there when they were repeated.
    pub repeated: AtomicU64,
    /// Calls under a key that were sent again after they broke in flight.
    pub sent_again: AtomicU64,
    /// Calls that may not be repeated, whose connection broke while they were in flight.
    pub broken: AtomicU64,
    /// All others that failed.
    pub failed: AtomicU64,
}

/// A product as an answer tells it.
struct Content {
    number: u64,
    version: u64,
}

impl Load {
    /// Creates the products.
    pub(super) async fn new(gateway: Connector, token: String, rolling: &Rolling) -> Result<Arc<Self>> {
        let mut load = Self {
            clients: (0..CLIENTS).map(|_| rolling.client(gateway.clone())).collect(),
            token,
            seed: rolling.seed,
            kills: rolling.end == End::Killed,
            pace: rolling.pace,
            products: Vec::new(),
            judge: Judge::new(),
            created: Mutex::default(),
            counts: Counts::default(),
            is_over: watch::Sender::new(false),
        };
        for number in 0..rolling.products {
            let created = load.first(&format!("rolling-{number}")).await?;
            load.products.push(created);
        }
        Ok(Arc::new(load))
    }

    /// A product, once its creation and a write of it are answered.
    async fn first(&self, id: &str) -> Result<Product> {
        let begun = Instant::now();
        loop {
            let sent = Instant::now();
            let answer = self.clients[0].send(&create(Protocol::Http1, id).token(&self.token).key(id)).await;
            if let Some(Content { number, version }) =
                answer.as_ref().ok().and_then(|answer| content(Protocol::Http1, answer))
            {
                self.created(id);
                let request_id = "the first".to_owned();
                let write = Write { number, version, gateway: 0, sent, answered: Instant::now(), request_id };
                return Ok(Product::new(id.to_owned(), write));
            }
            ensure!(begun.elapsed() < SETTLED, "the sample creates no product {id}: {answer:?}");
            // A claim of an attempt before may have to end first, by its time.
            sleep(AGAIN).await;
        }
    }

    pub(super) fn judge(&self) -> &Judge {
        &self.judge
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(super) fn start(self: &Arc<Self>) -> Writers {
        let creators = if self.kills { CREATORS } else { 1 };
        Writers::start(self.products.len() + creators, |at| Arc::clone(self).work_on(at))
    }

    /// Ends what was started, and waits for what is under way.
    pub(super) async fn end(&self, writers: Writers) -> Result<()> {
        self.is_over.send_replace(true);
        writers.end().await
    }

    async fn work_on(self: Arc<Self>, at: usize) {
        if at < self.products.len() { self.write_on(at).await } else { self.create_on(at).await }
    }

    async fn create_on(self: Arc<Self>, at: usize) {
        let mut is_over = self.is_over.subscribe();
        for (number, protocol) in (0..).zip(Protocol::ALL.into_iter().cycle()) {
            self.create_twice(at, &format!("created-{at}-{number}"), protocol).await;
            if timeout(self.pace, is_over.wait_for(|is_over| *is_over)).await.is_ok() {
                return;
            }
        }
    }

    async fn write_on(self: Arc<Self>, at: usize) {
        let mut rng = SmallRng::seed_from_u64(self.seed ^ (at as u64) << 32);
        let mut is_over = self.is_over.subscribe();
        for number in 1.. {
            let protocol = Protocol::ALL[rng.random_range(0..Protocol::ALL.len())];
            self.write(at, number, protocol).await;
            let until = Instant::now() + Duration::from_millis(rng.random_range(READING));
            for protocol in Protocol::ALL.into_iter().cycle() {
                self.read(at, protocol).await;
                if timeout(self.pace, is_over.wait_for(|is_over| *is_over)).await.is_ok() {
                    return;
                }
                if Instant::now() >= until {
                    break;
                }
            }
        }
    }

    async fn write(&self, at: usize, number: u64, protocol: Protocol) {
        let product = &self.products[at];
        let sent = Instant::now();
        let Some((answer, content)) = self.answered(at, ("write", false), update(protocol, &product.id, number)).await
        else {
            return;
        };
        let request_id = request_id(&answer);
        let Content { number, version } = content;
        let write = Write { number, version, gateway: 0, sent, answered: Instant::now(), request_id };
        let writes = &self.judge.writes;
        if answer.header("x-accord-invalidation").is_some() {
            product.deferred(write);
            writes.deferred.fetch_add(1, Ordering::Relaxed);
        } else {
            product.acknowledged(write);
            writes.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Under one key a product is created once, and the second answer is the first one.
    async fn create_twice(&self, at: usize, id: &str, protocol: Protocol) {
        let call = create(protocol, id).key(id);
        for attempt in 0..2 {
            // The second is asked for what is recorded.
            let what = if attempt == 0 { ("creation", self.kills) } else { ("creation asked for again", false) };
            let Some((answer, content)) = self.answered(at, what, call.clone()).await else { return };
            self.created(id);
            let is_replayed = answer.header("idempotency-replayed").is_some();
            self.counts.replayed.fetch_add(u64::from(is_replayed), Ordering::Relaxed);
            if content.version != 1 || (attempt == 1 && !is_replayed) {
                self.failed(format!("creation: it was carried out twice, version {}", content.version));
            }
        }
    }

    async fn read(&self, at: usize, protocol: Protocol) {
        let product = &self.products[at];
        let (expected, sent) = (product.expected(), Instant::now());
        let Some((answer, content)) = self.answered(at, ("read", false), get(protocol, &product.id)).await else {
            return;
        };
        let header = |name| answer.header(name).unwrap_or("none");
        let source = format!("{}, age {}", header("cache-status"), header("age"));
        let (Content { number, version }, request_id) = (content, request_id(&answer));
        let seen = Seen { number, version, gateway: 0, sent, answered: Instant::now(), source, request_id };
        self.judge.read(product, &expected, &seen);
        self.judge.latency.record(seen.answered - seen.sent);
        let is_near = seen.source.starts_with("accord-near; hit");
        self.judge.reads[0].near.fetch_add(u64::from(is_near), Ordering::Relaxed);
    }

    /// A product that was answered with; nothing where none was, which is counted. A creation that breaks in flight may exist when it is
    /// repeated.
    async fn answered(&self, at: usize, (what, may_exist): (&str, bool), call: Call) -> Option<(Answer, Content)> {
        let call = call.token(&self.token);
        let protocol = call.protocol;
        let told = |cause: String| format!("{what} by {protocol:?}: {cause}");
        let answer = match self.clients[at % CLIENTS].send(&call).await {
            Ok(answer) => answer,
            Err(Broken { cause, is_in_flight: true }) if !call.is_repeatable => {
                self.counts.broken.fetch_add(1, Ordering::Relaxed);
                self.judge.failed(told(format!("broke in flight, may not be repeated: {cause}")));
                return None;
            }
            Err(broken) => {
                self.failed(told(broken.cause));
                return None;
            }
        };
        let has_key = call.headers.contains_key("idempotency-key");
        self.counts.sent_again.fetch_add(u64::from(has_key && answer.is_repeated), Ordering::Relaxed);
        if may_exist && answer.is_there_already() {
            // What broke had been carried out, and its key is free again: the service says so.
            self.counts.repeated.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let content = content(protocol, &answer);
        match (answer.refusal(), content) {
            (None, Some(content)) => {
                self.counts.answered[protocol as usize].fetch_add(1, Ordering::Relaxed);
                Some((answer, content))
            }
            (refusal, _) => {
                self.failed(told(refusal.unwrap_or_else(|| "no product".to_owned())));
                None
            }
        }
    }

    fn created(&self, id: &str) {
        let mut created = self.created.lock().unwrap_or_else(PoisonError::into_inner);
        created.insert(format!("{CREATION}{id}"));
    }

    /// The request ids of creations that were answered.
    pub(super) fn all_created(&self) -> BTreeSet<String> {
        self.created.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts what should not have failed, by its cause.
    pub(super) fn failed(&self, cause: String) {
        self.counts.failed.fetch_add(1, Ordering::Relaxed);
        self.judge.failed(cause);
    }
}

fn get(protocol: Protocol, id: &str) -> Call {
    match protocol {
        Protocol::Grpc => {
            Call::grpc("catalog.v1.ProductService/GetProduct", &GetProductRequest { id: id.to_owned() }, true)
        }
        _ => Call::json(protocol, Method::GET, format!("/v1/products/{id}"), None),
    }
}

/// By gRPC it is sent once: a service config has no word for it.
fn update(protocol: Protocol, id: &str, number: u64) -> Call {
    match protocol {
        Protocol::Grpc => {
            let update = UpdateProductRequest { product: Some(message(id, number)) };
            let call = Call::grpc("catalog.v1.ProductService/UpdateProduct", &update, false);
            call.request_id(&format!("{ONCE}{id}-{number}"))
        }
        _ => Call::json(protocol, Method::PUT, format!("/v1/products/{id}"), Some(&document(id, number))),
    }
}

fn create(protocol: Protocol, id: &str) -> Call {
    let call = match protocol {
        Protocol::Grpc => {
            let create = CreateProductRequest { product: Some(message(id, 0)) };
            Call::grpc("catalog.v1.ProductService/CreateProduct", &create, false)
        }
        _ => Call::json(protocol, Method::POST, "/v1/products".to_owned(), Some(&document(id, 0))),
    };
    call.request_id(&format!("{CREATION}{id}"))
}

fn message(id: &str, number: u64) -> Message {
    Message { id: id.to_owned(), title: number.to_string(), ..Message::default() }
}

fn document(id: &str, number: u64) -> Value {
    json!({ "id": id, "title": number.to_string() })
}

fn request_id(answer: &Answer) -> String {
    answer.header("x-request-id").unwrap_or("without a number").to_owned()
}

/// What an answer tells of a product: all three of gRPC have it in the same place.
fn content(protocol: Protocol, answer: &Answer) -> Option<Content> {
    if protocol == Protocol::Grpc {
        let product = answer.message::<GetProductResponse>()?.product?;
        return Some(Content { number: product.title.parse().ok()?, version: product.version.try_into().ok()? });
    }
    let product: Value = serde_json::from_slice(&answer.body).ok()?;
    let number = |name: &str| product.get(name).and_then(Value::as_str)?.parse().ok();
    Some(Content { number: number("title")?, version: number("version")? })
}
