//! How the upstream is called, and what becomes of its failures.

use std::fs;
use std::time::Duration;

use accord_api::accord::cache::v1::read_through_service_client::ReadThroughServiceClient;
use accord_api::accord::cache::v1::{ReadRequest, StaleReason, read_response::Result as Said};
use accord_api::accord::fault::v1::Reason;
use accord_cache::config::Config;
use accord_cache::origin::{Call, OriginConfig, Upstreams};
use accord_readthrough::Origin as _;
use accord_runtime::server::{ListenConfig, TlsConfig};
use accord_runtime::{deadline::Deadline, fault, request::RequestId, shutdown::Shutdown};
use http::uri::PathAndQuery;
use tokio::sync::Semaphore;
use tonic::{Code, Status};
use tracing::Span;

use crate::fixture::{ADA, begin, begin_with, by_answer, by_mesh, failure, product, seconds};
use crate::shop::Shop;

#[tokio::test]
async fn a_failure_of_the_origin_is_part_of_the_answer() {
    let fixture = begin().await;
    let details = fault::status(Reason::PermissionMissing, "not yours");
    *fixture.shop.failure.lock().unwrap() = Some(details.clone());
    let answer = fixture.read(fixture.get("milk"), ADA).await.unwrap();
    let failure = failure(answer);
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
    let failure = failure(fixture.read(nowhere, ADA).await.unwrap());
    assert_eq!((failure.code, failure.message.as_str()), (14, "the upstream can't be reached"));
}

#[tokio::test]
async fn a_stored_answer_stands_in_where_the_origin_does_not_answer_in_time() {
    let fixture = begin().await;
    let mut read = fixture.get("milk");
    read.policy.as_mut().unwrap().ttl = Some(prost_types::Duration { seconds: 0, nanos: 1 });
    assert_eq!(fixture.version(read.clone()).await, 1);
    fixture.shop.open.forget_permits(Semaphore::MAX_PERMITS);
    for calls in [2, 2] {
        let mut hurried = by_mesh(read.clone());
        hurried.metadata_mut().insert("x-accord-passport", "north/ada@shop".parse().unwrap());
        hurried.set_timeout(Duration::from_millis(500));
        let answer = ReadThroughServiceClient::new(fixture.channel.clone()).read(hurried).await.unwrap().into_inner();
        assert_eq!(product(&answer).version, 1);
        assert_eq!(answer.freshness.unwrap().stale_reason(), StaleReason::OriginFailed);
        assert_eq!(fixture.shop.calls(), calls, "an origin that keeps its readers waiting is left alone");
    }
}

#[tokio::test]
async fn an_answer_holds_no_more_memory_than_it_needs() {
    let fixture = begin().await;
    let loaded = Upstreams::new(OriginConfig::default()).load(call(&fixture.shop.url, &fixture.get("milk"))).await;
    let message = loaded.load.unwrap();
    let length = message.len();
    assert_eq!(message.try_into_mut().unwrap().capacity(), length);
}

#[tokio::test]
async fn an_origin_behind_tls_is_known_by_its_authority() {
    let folder = tempfile::tempdir().unwrap();
    let (cert_file, key_file) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(&cert_file, own.cert.pem()).unwrap();
    fs::write(&key_file, own.signing_key.serialize_pem()).unwrap();
    let tls = TlsConfig { cert_file: cert_file.clone(), key_file, ..TlsConfig::default() };
    let shutdown = Shutdown::new(Duration::ZERO);
    let shop = Shop::open(&ListenConfig { tls: Some(tls), ..ListenConfig::default() }, shutdown.clone()).await;

    let mut config = Config::default();
    config.origin.tls.ca_file = Some(cert_file);
    config.check().unwrap();
    for (config, code) in [(config, None), (Config::default(), Some(14))] {
        let fixture = begin_with(config).await;
        let mut read = fixture.get("milk");
        read.origin.as_mut().unwrap().endpoints = vec![shop.url.clone()];
        let answer = fixture.read(read, ADA).await.unwrap();
        match code {
            None => assert_eq!(product(&answer).id, "milk"),
            Some(code) => assert_eq!(failure(answer).code, code),
        }
    }
    shutdown.begin();

    let mut missing = Config::default();
    missing.origin.tls.ca_file = Some(folder.path().join("nowhere.pem"));
    assert!(missing.check().unwrap_err().to_string().contains("origin.tls"));
}

fn call(endpoint: &str, read: &ReadRequest) -> Call {
    Call {
        endpoints: [endpoint.to_owned()].into(),
        path: PathAndQuery::from_static("/shop.v1.Shop/Get"),
        request: read.request.clone(),
        passport: None,
        deadline: Deadline::after(Duration::from_secs(5)),
        id: RequestId::new(),
        answer_tags: [].into(),
        span: Span::none(),
    }
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
    let failure = failure(fixture.read(fixture.get("milk"), ADA).await.unwrap());
    assert_eq!(Code::from_i32(failure.code), Code::DeadlineExceeded);
    assert_eq!(fixture.shop.calls(), 1, "a timeout is no reason to ask again");
}

#[tokio::test]
async fn another_endpoint_answers_where_one_is_gone() {
    let fixture = begin().await;
    for id in ["milk", "bread"] {
        let mut read = fixture.get(id);
        read.origin.as_mut().unwrap().endpoints.insert(0, "http://127.0.0.1:1".to_owned());
        assert_eq!(product(&fixture.read(read, ADA).await.unwrap()).id, id);
    }
}

#[tokio::test]
async fn an_absence_is_remembered_only_where_its_tags_are_known() {
    let fixture = begin().await;
    *fixture.shop.failure.lock().unwrap() = Some(Status::not_found("sold out"));
    let mut known = fixture.get("milk");
    known.policy.as_mut().unwrap().negative_ttl = seconds(60);
    let unknown = ReadRequest { answer_tags: vec![by_answer()], ..known.clone() };
    for calls in [1, 2] {
        assert_eq!(failure(fixture.read(unknown.clone(), ADA).await.unwrap()).code, 5);
        assert_eq!(fixture.shop.calls(), calls);
    }
    for _ in 0..2 {
        assert_eq!(failure(fixture.read(known.clone(), ADA).await.unwrap()).message, "sold out");
        assert_eq!(fixture.shop.calls(), 3);
    }
}
