//! The services on a port of their own.

use std::time::Duration;

use accord_api::accord::cache::v1::invalidation_service_client::InvalidationServiceClient;
use accord_api::accord::cache::v1::read_through_service_client::ReadThroughServiceClient;
use accord_api::accord::cache::v1::{
    AnswerTag, Failure, InvalidateRequest, Origin, Outcome, ReadRequest, ReadResponse, answer_tag,
    read_response::Result as Said,
};
use accord_api::accord::policy::v1::Cache;
use accord_api::catalog::v1::{GetProductRequest, Product};
use accord_cache::config::Config;
use accord_cache::{records::Records, serve};
use accord_runtime::{client, health::Health, server::ListenConfig, server::Listener, shutdown::Shutdown};
use prost::Message;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::shop::{Doorman, Shop};

/// The services, an upstream and the records, until it is dropped.
pub struct Fixture {
    pub channel: Channel,
    pub shop: Shop,
    pub records: Records,
    shutdown: Shutdown,
    _folder: tempfile::TempDir,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

/// As configured from the start.
pub async fn begin() -> Fixture {
    begin_with(Config::default()).await
}

/// As configured by a test.
pub async fn begin_with(config: Config) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::open(&format!("sqlite://{}/records.db", folder.path().display())).await.unwrap();
    let shutdown = Shutdown::new(Duration::ZERO);
    let shop = Shop::open(&ListenConfig::default(), shutdown.clone()).await;
    let engine = serve::engine(&config);
    let surface = serve::surface(&config, &Health::new(), &engine, Doorman, records.clone()).unwrap();
    let listener = Listener::bind(&ListenConfig::default()).await.unwrap();
    let channel = client::lazy(&format!("http://{}", listener.address())).unwrap();
    tokio::spawn(listener.serve(surface, shutdown.clone()));
    Fixture { channel, shop, records, shutdown, _folder: folder }
}

impl Fixture {
    /// A read of a product that may be kept for a minute.
    pub fn get(&self, id: &str) -> ReadRequest {
        ReadRequest {
            method: "shop.v1.Shop/Get".to_owned(),
            request: GetProductRequest { id: id.to_owned() }.encode_to_vec().into(),
            origin: Some(Origin { name: "shop".to_owned(), endpoints: vec![self.shop.url.clone()] }),
            key: id.to_owned().into(),
            policy: Some(Cache { ttl: seconds(60), stale_if_error: seconds(60), ..Cache::default() }),
            tags: vec![format!("product/{id}")],
            ..ReadRequest::default()
        }
    }

    /// Reads under a passport.
    pub async fn read(&self, read: ReadRequest, passport: Option<&str>) -> Result<ReadResponse, Status> {
        let mut request = by_mesh(read);
        if let Some(passport) = passport {
            request.metadata_mut().insert("x-accord-passport", passport.parse().unwrap());
        }
        let answer = ReadThroughServiceClient::new(self.channel.clone()).read(request).await;
        answer.map(tonic::Response::into_inner)
    }

    /// Sends a batch.
    pub async fn invalidate(&self, tags: &[&str], sequence: u64) {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let batch = InvalidateRequest { tags, incarnation: "gateway-1".to_owned(), sequence };
        InvalidationServiceClient::new(self.channel.clone()).invalidate(by_mesh(batch)).await.unwrap();
    }

    /// The version that a read by Ada sees.
    pub async fn version(&self, read: ReadRequest) -> i64 {
        product(&self.read(read, ADA).await.unwrap()).version
    }
}

/// Who reads where it does not matter.
pub const ADA: Option<&str> = Some("north/ada@shop");

/// A call by a workload that may.
pub fn by_mesh<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", "Bearer mesh".parse().unwrap());
    request.set_timeout(Duration::from_secs(5));
    request
}

/// The product of an answer.
pub fn product(answer: &ReadResponse) -> Product {
    match answer.result.as_ref().unwrap() {
        Said::Message(bytes) => Product::decode(bytes.clone()).unwrap(),
        Said::Failure(failure) => panic!("a failure: {failure:?}"),
    }
}

/// Where an answer came from.
pub fn outcome(answer: &ReadResponse) -> Outcome {
    answer.freshness.as_ref().unwrap().outcome()
}

/// The failure of an answer.
pub fn failure(answer: ReadResponse) -> Failure {
    match answer.result.unwrap() {
        Said::Failure(failure) => failure,
        Said::Message(_) => panic!("a message"),
    }
}

/// A stretch of time as the protos write it.
#[expect(clippy::unnecessary_wraps, reason = "every duration of a message is optional")]
pub fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// `product/` and the id in the answer.
pub fn by_answer() -> AnswerTag {
    let part = |part| answer_tag::Part { part: Some(part) };
    let id = answer_tag::FieldPath { numbers: vec![1], r#type: 9 };
    let parts = [answer_tag::part::Part::Literal("product/".to_owned()), answer_tag::part::Part::Field(id)];
    AnswerTag { parts: parts.map(part).into() }
}
