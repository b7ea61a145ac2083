//! The services on a port of their own.

use std::time::Duration;

use accord_api::accord::cache::v1::invalidation_service_client::InvalidationServiceClient;
use accord_api::accord::cache::v1::read_through_service_client::ReadThroughServiceClient;
use accord_api::accord::cache::v1::tag_template::{FieldPath, Part, Step, part};
use accord_api::accord::cache::v1::{
    Failure, Header, InvalidateRequest, InvalidateResponse, Outcome, Plan, ReadRequest, ReadResponse, TagTemplate,
    read_response::Result as ReadResult,
};
use accord_api::accord::policy::v1::Cache;
use accord_api::catalog::v1::{GetProductRequest, Product};
use accord_cache::config::Config;
use accord_cache::log::LiveEngine;
use accord_cache::upstreams::Upstreams;
use accord_cache::{records::Records, serve, serve::Stores};
use accord_mesh::guard::GuardedServer;
use accord_readthrough::Limits;
use accord_runtime::{health::Health, server::ListenConfig, server::Listener, shutdown::Shutdown};
use accord_store::StoreUrl;
use accord_upstream::UpstreamConfig;
use aws_lc_rs::digest::{SHA256, digest};
use prost::Message;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::shop::{FakeAuth, Shop};

/// The services, an upstream and the records, until it is dropped.
pub(crate) struct Fixture {
    pub url: String,
    pub channel: Channel,
    pub shop: Shop,
    pub upstreams: Upstreams,
    pub records: Records,
    pub stores: Stores,
    pub engine: LiveEngine,
    /// The services without a port.
    pub server: GuardedServer<FakeAuth>,
    shutdown: Shutdown,
    _folder: tempfile::TempDir,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

/// As configured from the start, with the shop as the upstream `shop`.
pub(crate) async fn begin() -> Fixture {
    begin_with(|_, _| {}).await
}

/// As configured by a test, which is told the shop's URL.
pub(crate) async fn begin_with(configure: impl FnOnce(&mut Config, &str)) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let shutdown = Shutdown::new(Duration::ZERO);
    let shop = Shop::open(&ListenConfig::default(), shutdown.clone()).await;
    let mut config = Config { upstream: vec![upstream("shop", &[&shop.url])], ..Config::default() };
    config.leases.max = Duration::ZERO;
    config.records.url = StoreUrl::sqlite(&format!("{}/records.db", folder.path().display()));
    configure(&mut config, &shop.url);
    let stores = Stores::open(&config).await.unwrap();
    let records = stores.idempotency.clone();
    // No test waits for the first lease time that has nothing to do with leases.
    let engine = serve::engine(Limits { first_lease_time: config.leases.max, ..config.limits() });
    let upstreams = Upstreams::new(&config.upstream, &config.discovery).unwrap();
    let (health, replica) = (Health::new(), serve::alone(&config, &engine));
    let server = serve::grpc_server(&config, &health, &replica, &upstreams, &FakeAuth, &stores, &shutdown).unwrap();
    let listener = Listener::bind(&ListenConfig::default()).await.unwrap();
    let url = format!("http://{}", listener.address());
    let channel = Endpoint::from_shared(url.clone()).unwrap().connect_lazy();
    tokio::spawn(listener.serve(server.clone(), shutdown.clone()));
    Fixture { url, channel, shop, upstreams, records, stores, engine, server, shutdown, _folder: folder }
}

/// An upstream of these endpoints.
pub(crate) fn upstream(name: &str, urls: &[&str]) -> UpstreamConfig {
    let urls = urls.iter().map(|url| (*url).to_owned()).collect();
    UpstreamConfig { name: name.to_owned(), urls, ..UpstreamConfig::default() }
}

/// A read, and the plan that it is made under.
#[derive(Clone, Debug)]
pub(crate) struct PlannedRead {
    pub plan: Plan,
    pub read: ReadRequest,
}

impl PlannedRead {
    /// The same under another plan.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Plan)) -> Self {
        change(&mut self.plan);
        self
    }

    /// The same under another cache policy.
    pub(crate) fn cached(self, change: impl FnOnce(&mut Cache)) -> Self {
        self.with(|plan| change(plan.cache.as_mut().unwrap()))
    }

    /// The same with headers of the caller.
    pub(crate) fn with_headers(mut self, headers: &[(&str, &str)]) -> Self {
        let header =
            |(name, value): &(&str, &str)| Header { name: (*name).to_owned(), value: value.as_bytes().to_vec().into() };
        self.read.headers = headers.iter().map(header).collect();
        self
    }

    /// As it travels where the cache does not know the plan.
    pub(crate) fn whole(&self) -> ReadRequest {
        let plan = self.plan.encode_to_vec();
        ReadRequest { plan: plan.into(), ..self.brief() }
    }

    /// As it travels where the cache knows the plan.
    pub(crate) fn brief(&self) -> ReadRequest {
        let plan_digest = digest(&SHA256, &self.plan.encode_to_vec()).as_ref().to_vec().into();
        ReadRequest { plan_digest, ..self.read.clone() }
    }
}

/// A read of a product that may be kept for a minute.
pub(crate) fn get(id: &str) -> PlannedRead {
    let plan = Plan {
        method: "shop.v1.Shop/Get".to_owned(),
        upstream: "shop".to_owned(),
        cache: Some(Cache { ttl: seconds(60), stale_if_error: seconds(60), ..Cache::default() }),
        max_response_bytes: 4 << 20,
        load_timeout: seconds(10),
        tags: vec![tag(part::Part::Request)],
        ..Plan::default()
    };
    let request = GetProductRequest { id: id.to_owned() }.encode_to_vec().into();
    PlannedRead { plan, read: ReadRequest { request, key: id.to_owned().into(), ..ReadRequest::default() } }
}

impl Fixture {
    /// Reads under a passport.
    pub(crate) async fn read(&self, read: PlannedRead, passport: Option<&str>) -> Result<ReadResponse, Status> {
        self.send(read.whole(), passport, Duration::from_secs(5)).await
    }

    /// Sends a read of a caller with so much time.
    pub(crate) async fn send(
        &self,
        read: ReadRequest,
        passport: Option<&str>,
        time: Duration,
    ) -> Result<ReadResponse, Status> {
        let mut request = by_mesh(read);
        request.set_timeout(time);
        if let Some(passport) = passport {
            request.metadata_mut().insert("x-accord-passport", passport.parse().unwrap());
        }
        let client = ReadThroughServiceClient::new(self.channel.clone());
        let answer = client.max_decoding_message_size(usize::MAX).read(request).await;
        answer.map(tonic::Response::into_inner)
    }

    /// Sends a batch.
    pub(crate) async fn invalidate(&self, tags: &[&str], sequence: u64) {
        self.invalidate_as(tags, "gateway-1", sequence).await;
    }

    /// Sends a batch of this gateway.
    pub(crate) async fn invalidate_as(&self, tags: &[&str], gateway: &str, sequence: u64) -> InvalidateResponse {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let incarnation = gateway.to_owned();
        let batch = InvalidateRequest { tags, incarnation, sequence, ..Default::default() };
        let mut client = InvalidationServiceClient::new(self.channel.clone());
        client.invalidate(by_mesh(batch)).await.unwrap().into_inner()
    }

    /// Lets what has these tags expire, as the batch of a gateway.
    pub(crate) async fn expire(&self, tags: &[&str], sequence: u64) {
        let expired_tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let incarnation = "gateway-1".to_owned();
        let batch = InvalidateRequest { expired_tags, incarnation, sequence, ..Default::default() };
        InvalidationServiceClient::new(self.channel.clone()).invalidate(by_mesh(batch)).await.unwrap();
    }

    /// The version that a read by Ada sees.
    pub(crate) async fn version(&self, read: PlannedRead) -> i64 {
        product(&self.read(read, ADA).await.unwrap()).version
    }
}

/// Who reads where it does not matter.
pub(crate) const ADA: Option<&str> = Some("north/ada@shop");

/// A call by a workload that may.
pub(crate) fn by_mesh<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", "Bearer mesh".parse().unwrap());
    request.set_timeout(Duration::from_secs(5));
    request
}

/// The product of an answer.
pub(crate) fn product(answer: &ReadResponse) -> Product {
    match answer.result.as_ref().unwrap() {
        ReadResult::Message(bytes) => Product::decode(bytes.clone()).unwrap(),
        other => panic!("no message: {other:?}"),
    }
}

/// Where an answer came from.
pub(crate) fn outcome(answer: &ReadResponse) -> Outcome {
    answer.freshness.as_ref().unwrap().outcome()
}

/// The failure of an answer.
pub(crate) fn failure(answer: ReadResponse) -> Failure {
    match answer.result.unwrap() {
        ReadResult::Failure(failure) => failure,
        other => panic!("no failure: {other:?}"),
    }
}

/// The status that a failure stands for.
pub(crate) fn status(failure: &Failure) -> Status {
    Status::with_details(failure.code.into(), failure.message.clone(), failure.details.clone())
}

/// A stretch of time as the protos write it.
#[expect(clippy::unnecessary_wraps, reason = "every duration of a message is optional")]
pub(crate) fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// As short as a time can be.
pub(crate) const NO_TIME: Option<prost_types::Duration> = Some(prost_types::Duration { seconds: 0, nanos: 1 });

/// `product/` and the id in the request or the answer, both of which have it as their first field.
pub(crate) fn tag(of: fn(FieldPath) -> part::Part) -> TagTemplate {
    let id =
        FieldPath { parents: vec![], leaf: Some(Step { number: 1, oneof_siblings: vec![] }), r#type: 9, default: None };
    let parts = [part::Part::Literal("product/".to_owned()), of(id)];
    TagTemplate { parts: parts.map(|part| Part { part: Some(part) }).into() }
}

/// Under the tag of the answer alone.
pub(crate) fn by_answer(read: PlannedRead) -> PlannedRead {
    read.with(|plan| plan.tags = vec![tag(part::Part::Answer)])
}
