//! The services over the wire, before an upstream that tells what it was asked.

#[path = "services/shop.rs"]
mod shop;

use std::time::Duration;

use accord_api::accord::cache::v1::idempotency_service_client::IdempotencyServiceClient;
use accord_api::accord::cache::v1::invalidation_service_client::InvalidationServiceClient;
use accord_api::accord::cache::v1::read_through_service_client::ReadThroughServiceClient;
use accord_api::accord::cache::v1::{
    AnswerTag, BeginRequest, CompleteRequest, Consistency, InvalidateRequest, Origin, Outcome, ReadRequest,
    ReadResponse, StaleReason, StoredAnswer, answer_tag, begin_response::Decision, consistency::Wish,
    read_response::Result as Said,
};
use accord_api::accord::fault::v1::Reason;
use accord_api::accord::policy::v1::{Cache, CacheScope};
use accord_api::catalog::v1::{GetProductRequest, Product};
use accord_cache::config::Config;
use accord_cache::{records::Records, serve};
use accord_runtime::{client, fault, health::Health, server::ListenConfig, server::Listener, shutdown::Shutdown};
use bytes::Bytes;
use http_body_util::Full;
use prost::Message;
use shop::{Doorman, Shop, Timekeeper};
use tokio::sync::Semaphore;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tower::ServiceExt;

struct Fixture {
    channel: Channel,
    shop: Shop,
    records: Records,
    shutdown: Shutdown,
    _folder: tempfile::TempDir,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

async fn begin() -> Fixture {
    begin_with(Config::default()).await
}

async fn begin_with(config: Config) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::open(&format!("sqlite://{}/records.db", folder.path().display())).await.unwrap();
    let shutdown = Shutdown::new(Duration::ZERO);
    let shop = Shop::open(shutdown.clone()).await;
    let engine = serve::engine(&config);
    let surface = serve::surface(&config, &Health::new(), &engine, Doorman, records.clone()).unwrap();
    let listener = Listener::bind(&ListenConfig::default()).await.unwrap();
    let channel = client::lazy(&format!("http://{}", listener.address())).unwrap();
    tokio::spawn(listener.serve(surface, shutdown.clone()));
    Fixture { channel, shop, records, shutdown, _folder: folder }
}

impl Fixture {
    fn get(&self, id: &str) -> ReadRequest {
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        ReadRequest {
            method: "shop.v1.Shop/Get".to_owned(),
            request: GetProductRequest { id: id.to_owned() }.encode_to_vec(),
            origin: Some(Origin { name: "shop".to_owned(), endpoints: vec![self.shop.url.clone()] }),
            key: id.as_bytes().to_vec(),
            policy: Some(Cache { ttl: seconds(60), stale_if_error: seconds(60), ..Cache::default() }),
            tags: vec![format!("product/{id}")],
            ..ReadRequest::default()
        }
    }

    async fn read(&self, read: ReadRequest, passport: Option<&str>) -> Result<ReadResponse, Status> {
        let mut request = by_mesh(read);
        if let Some(passport) = passport {
            request.metadata_mut().insert("x-accord-passport", passport.parse().unwrap());
        }
        let answer = ReadThroughServiceClient::new(self.channel.clone()).read(request).await;
        answer.map(tonic::Response::into_inner)
    }

    async fn invalidate(&self, tags: &[&str], sequence: u64) {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let batch = InvalidateRequest { tags, incarnation: "gateway-1".to_owned(), sequence };
        InvalidationServiceClient::new(self.channel.clone()).invalidate(by_mesh(batch)).await.unwrap();
    }

    /// The version that a read by Ada sees.
    async fn version(&self, read: ReadRequest) -> i64 {
        product(&self.read(read, ADA).await.unwrap()).version
    }
}

const ADA: Option<&str> = Some("north/ada@shop");

fn by_mesh<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", "Bearer mesh".parse().unwrap());
    request.set_timeout(Duration::from_secs(5));
    request
}

fn product(answer: &ReadResponse) -> Product {
    match answer.result.as_ref().unwrap() {
        Said::Message(bytes) => Product::decode(bytes.as_slice()).unwrap(),
        Said::Failure(failure) => panic!("a failure: {failure:?}"),
    }
}

fn outcome(answer: &ReadResponse) -> Outcome {
    answer.freshness.as_ref().unwrap().outcome()
}

#[tokio::test]
async fn a_miss_is_loaded_once_and_carries_what_travels() {
    let fixture = begin().await;
    let first = fixture.read(fixture.get("milk"), ADA).await.unwrap();
    assert_eq!((outcome(&first), first.freshness.as_ref().unwrap().stored), (Outcome::UriMiss, true));
    let second = fixture.read(fixture.get("milk"), ADA).await.unwrap();
    assert_eq!((outcome(&second), product(&second)), (Outcome::Hit, product(&first)));
    assert_eq!(fixture.shop.calls(), 1);

    let left = fixture.shop.time_left(0);
    assert!(left < Duration::from_secs(5), "{left:?} is more than the reader has");
    let seen = fixture.shop.seen.lock().unwrap()[0].clone();
    assert_eq!(seen.id, "milk");
    assert_eq!(seen.metadata.get("x-accord-passport").unwrap(), "north/ada@shop");
    assert!(seen.metadata.get("authorization").is_none(), "the cache's caller is nobody's business at the origin");
    assert!(seen.metadata.contains_key("x-request-id"));
}

#[tokio::test]
async fn no_answer_crosses_principals_or_tenants() {
    let fixture = begin().await;
    let mut shared = fixture.get("milk");
    shared.policy.as_mut().unwrap().set_scope(CacheScope::Shared);
    for passport in [ADA, Some("north/bob@shop"), Some("south/ada@shop"), None] {
        let answer = fixture.read(fixture.get("milk"), passport).await.unwrap();
        assert_eq!(outcome(&answer), Outcome::UriMiss, "{passport:?}");
    }
    assert_eq!(outcome(&fixture.read(shared.clone(), ADA).await.unwrap()), Outcome::UriMiss);
    assert_eq!(outcome(&fixture.read(shared.clone(), Some("north/bob@shop")).await.unwrap()), Outcome::Hit);
    assert_eq!(outcome(&fixture.read(shared, Some("south/ada@shop")).await.unwrap()), Outcome::UriMiss);
}

#[tokio::test]
async fn an_acknowledged_invalidation_is_seen_by_every_later_read() {
    let fixture = begin().await;
    fixture.invalidate(&[], 1).await;
    assert_eq!(fixture.version(fixture.get("milk")).await, 1);
    fixture.invalidate(&["product/bread"], 2).await;
    assert_eq!(fixture.version(fixture.get("milk")).await, 1);
    fixture.invalidate(&["product/milk"], 3).await;
    assert_eq!(fixture.version(fixture.get("milk")).await, 2);
}

#[tokio::test]
async fn a_gap_in_the_invalidations_drops_what_was_loaded_before() {
    let fixture = begin().await;
    fixture.invalidate(&[], 1).await;
    assert_eq!(fixture.version(fixture.get("milk")).await, 1);
    fixture.invalidate(&["product/bread"], 3).await;
    assert_eq!(fixture.version(fixture.get("milk")).await, 2);
}

#[tokio::test]
async fn a_tag_that_only_the_answer_tells_invalidates_too() {
    let fixture = begin().await;
    let part = |part| answer_tag::Part { part: Some(part) };
    let id = answer_tag::FieldPath { numbers: vec![1], r#type: 9 };
    let parts =
        vec![part(answer_tag::part::Part::Literal("product/".to_owned())), part(answer_tag::part::Part::Field(id))];
    let read = ReadRequest { tags: vec![], answer_tags: vec![AnswerTag { parts }], ..fixture.get("milk") };
    fixture.invalidate(&[], 1).await;
    assert_eq!(fixture.version(read.clone()).await, 1);
    assert_eq!(fixture.version(read.clone()).await, 1);
    fixture.invalidate(&["product/milk"], 2).await;
    assert_eq!(fixture.version(read).await, 2);
}

#[tokio::test]
async fn a_strong_read_goes_to_the_origin() {
    let fixture = begin().await;
    assert_eq!(fixture.version(fixture.get("milk")).await, 1);
    let strong = Some(Consistency { wish: Some(Wish::Strong(true)) });
    assert_eq!(fixture.version(ReadRequest { consistency: strong, ..fixture.get("milk") }).await, 2);
    assert_eq!(fixture.version(fixture.get("milk")).await, 2);
}

#[tokio::test]
async fn a_failure_of_the_origin_is_part_of_the_answer() {
    let fixture = begin().await;
    let details = fault::status(Code::PermissionDenied, Reason::PermissionMissing, "not yours");
    *fixture.shop.failure.lock().unwrap() = Some(details.clone());
    let answer = fixture.read(fixture.get("milk"), ADA).await.unwrap();
    let Some(Said::Failure(failure)) = answer.result else { panic!("a message") };
    assert_eq!((failure.code, failure.message.as_str()), (7, "not yours"));
    assert_eq!(failure.details, details.details());
}

#[tokio::test]
async fn a_stored_answer_stands_in_where_the_origin_is_gone() {
    let fixture = begin().await;
    let no_time = Some(prost_types::Duration { seconds: 0, nanos: 1 });
    let mut read = fixture.get("milk");
    read.policy.as_mut().unwrap().ttl = no_time;
    assert_eq!(fixture.version(read.clone()).await, 1);
    *fixture.shop.failure.lock().unwrap() = Some(Status::unavailable("closed"));
    let answer = fixture.read(read, ADA).await.unwrap();
    assert_eq!(product(&answer).version, 1);
    let freshness = answer.freshness.unwrap();
    assert_eq!(freshness.stale_reason(), StaleReason::OriginFailed);
    assert!(freshness.ttl.unwrap().nanos < 0);

    let mut nowhere = fixture.get("bread");
    nowhere.origin.as_mut().unwrap().endpoints = vec!["http://127.0.0.1:1".to_owned()];
    let Some(Said::Failure(failure)) = fixture.read(nowhere, ADA).await.unwrap().result else { panic!("a message") };
    assert_eq!((failure.code, failure.message.as_str()), (14, "the upstream can't be reached"));
}

#[tokio::test]
async fn a_crowd_waits_for_one_load_and_the_deadline_of_a_caller_holds() {
    let fixture = begin().await;
    fixture.shop.open.forget_permits(Semaphore::MAX_PERMITS);
    let reads = (0..50).map(|_| fixture.read(fixture.get("milk"), ADA));
    let open = async {
        fixture.shop.saw(1).await;
        fixture.shop.open.add_permits(1);
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(reads), open);
    assert!(answers.iter().all(|answer| product(answer.as_ref().unwrap()).version == 1));
    assert_eq!(fixture.shop.calls(), 1);

    let mut hurried = by_mesh(fixture.get("bread"));
    hurried.set_timeout(Duration::from_millis(150));
    let late = ReadThroughServiceClient::new(fixture.channel.clone()).read(hurried).await;
    assert!(late.is_err() || matches!(late.unwrap().into_inner().result, Some(Said::Failure(_))));
    assert!(fixture.shop.time_left(1) <= Duration::from_millis(150));
}

#[tokio::test]
async fn a_reader_with_more_time_does_not_fail_with_one_in_a_hurry() {
    let fixture = begin().await;
    fixture.shop.open.forget_permits(Semaphore::MAX_PERMITS);
    let mut hurried = by_mesh(fixture.get("milk"));
    hurried.metadata_mut().insert("x-accord-passport", "north/ada@shop".parse().unwrap());
    hurried.set_timeout(Duration::from_millis(300));
    let mut client = ReadThroughServiceClient::new(fixture.channel.clone());
    let hurried = tokio::spawn(async move { client.read(hurried).await });
    fixture.shop.saw(1).await;
    let open = async {
        fixture.shop.saw(2).await;
        fixture.shop.open.add_permits(2);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answer = fixture.read(fixture.get("milk"), ADA) => assert_eq!(product(&answer.unwrap()).version, 2),
        () = open => {}
    }
    let late = hurried.await.unwrap();
    assert!(late.is_err() || matches!(late.unwrap().into_inner().result, Some(Said::Failure(_))));
}

#[tokio::test]
async fn a_load_ends_by_the_timeout_of_its_origin() {
    let mut config = Config::default();
    config.origin.timeout = Duration::from_millis(100);
    let fixture = begin_with(config).await;
    fixture.shop.open.forget_permits(Semaphore::MAX_PERMITS);
    let Some(Said::Failure(failure)) = fixture.read(fixture.get("milk"), ADA).await.unwrap().result else {
        panic!("a message")
    };
    assert_eq!(Code::from_i32(failure.code), Code::DeadlineExceeded);
    assert_eq!(fixture.shop.calls(), 1, "a timeout is no reason to ask again");
}

#[tokio::test]
async fn strangers_and_nonsense_are_refused() {
    let fixture = begin().await;
    let mut client = ReadThroughServiceClient::new(fixture.channel.clone());
    let stranger = client.read(fixture.get("milk")).await.unwrap_err();
    assert_eq!(stranger.code(), Code::Unauthenticated);
    let elsewhere = fixture.read(fixture.get("milk"), Some("north/ada@bank")).await.unwrap_err();
    assert_eq!(elsewhere.code(), Code::Unauthenticated);
    let good = fixture.get("milk");
    for nonsense in [
        ReadRequest { method: "shop.v1.Shop".to_owned(), ..good.clone() },
        ReadRequest { method: "shop.v1.Shop/Get?x".to_owned(), ..good.clone() },
        ReadRequest { origin: None, ..good.clone() },
        ReadRequest { policy: None, ..good },
    ] {
        let status = fixture.read(nonsense, ADA).await.unwrap_err();
        assert_eq!(fault::reason_of(&status), Some(Reason::RequestMalformed));
    }
    assert_eq!(fixture.shop.calls(), 0);
}

#[tokio::test]
async fn a_keyed_call_runs_once_and_without_records_not_at_all() {
    let fixture = begin().await;
    let mut client = IdempotencyServiceClient::new(fixture.channel.clone());
    let ask = BeginRequest {
        method: "shop.v1.Shop/Order".to_owned(),
        owner: "north/ada".to_owned(),
        key: "order-17".to_owned(),
        request_digest: vec![1; 32],
        window: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        lease: Some(prost_types::Duration { seconds: 10, nanos: 0 }),
    };
    let first = client.begin(by_mesh(ask.clone())).await.unwrap().into_inner();
    let Some(Decision::Claim(claim)) = first.decision else { panic!("a new key is free") };
    let second = client.begin(by_mesh(ask.clone())).await.unwrap().into_inner();
    assert!(matches!(second.decision, Some(Decision::InFlight(_))));
    let answer = StoredAnswer { code: 0, response: vec![1, 2, 3], ..StoredAnswer::default() };
    let complete = CompleteRequest { claim_id: claim.id, answer: Some(answer.clone()) };
    client.complete(by_mesh(complete)).await.unwrap();
    let third = client.begin(by_mesh(ask.clone())).await.unwrap().into_inner();
    assert_eq!(third.decision, Some(Decision::Answer(answer)));

    fixture.records.close().await;
    let refused = client.begin(by_mesh(ask)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(fault::reason_of(&refused), Some(Reason::IdempotencyUnavailable));
}

#[tokio::test]
async fn every_method_has_the_deadline_that_its_contract_declares() {
    for (method, default, max) in [
        ("ReadThroughService/Read", 5, 30),
        ("InvalidationService/Invalidate", 1, 5),
        ("IdempotencyService/Begin", 2, 5),
        ("IdempotencyService/Complete", 2, 5),
        ("IdempotencyService/Abandon", 2, 5),
    ] {
        assert_eq!(granted(method, None).await, default, "{method}");
        assert_eq!(granted(method, Some("99S")).await, max, "{method}");
    }
}

/// The seconds that a call of a method gets, as [`Timekeeper`] saw them.
async fn granted(method: &str, asked: Option<&str>) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::open(&format!("sqlite://{}/records.db", folder.path().display())).await.unwrap();
    let config = Config::default();
    let surface = serve::surface(&config, &Health::new(), &serve::engine(&config), Timekeeper, records).unwrap();
    let call = http::Request::post(format!("/accord.cache.v1.{method}")).header("content-type", "application/grpc");
    let call = asked.into_iter().fold(call, |call, asked| call.header("grpc-timeout", asked));
    // An empty message in its five bytes of frame.
    let answer = surface.oneshot(call.body(Full::new(Bytes::from_static(&[0; 5]))).unwrap()).await.unwrap();
    Status::from_header_map(answer.headers()).unwrap().message().parse().unwrap()
}

/// Surfaces are built from what their services declare: a service that is not listed would not be found.
#[tokio::test]
async fn the_services_are_listed() {
    let health = Health::new();
    let folder = tempfile::tempdir().unwrap();
    let records = Records::open(&format!("sqlite://{}/records.db", folder.path().display())).await.unwrap();
    let config = Config::default();
    serve::surface(&config, &health, &serve::engine(&config), Doorman, records).unwrap();
    assert_eq!(
        health.services(),
        [
            "accord.cache.v1.IdempotencyService",
            "accord.cache.v1.InvalidationService",
            "accord.cache.v1.ReadThroughService"
        ]
    );
}
