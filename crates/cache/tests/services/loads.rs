//! Loads from the upstream, and what becomes of its failures: stale-if-error, deadlines.

use std::time::Duration;

use accord_api::accord::cache::v1::read_through_service_client::ReadThroughServiceClient;
use accord_api::accord::cache::v1::{Outcome, StaleReason, read_response::Result as ReadResult};
use accord_api::accord::fault::v1::Reason;
use accord_cache::config::Config;
use accord_cache::origin::{Loader, MethodCall, OriginCall};
use accord_cache::plan::Plan;
use accord_cache::upstreams::Upstreams;
use accord_readthrough::Origin as _;
use accord_runtime::server::{ListenConfig, TlsConfig};
use accord_runtime::{current_call::CurrentCall, fault, request::RequestId, shutdown::Shutdown};
use accord_test_certificates::Identity;
use accord_upstream::{Client, DiscoveryConfig, Upstream};
use futures_util::future::join_all;
use http::HeaderMap;
use tokio::sync::Semaphore;
use tonic::{Code, Status};

use crate::fixture::{
    ADA, NO_TIME, begin, begin_with, by_answer, by_mesh, failure, get, outcome, product, seconds, status, upstream,
};
use crate::shop::Shop;

#[tokio::test]
async fn origin_failure_is_part_of_the_answer() {
    let fixture = begin().await;
    let details = fault::status(Reason::PermissionMissing, "not yours");
    *fixture.shop.failure.lock().unwrap() = Some(details.clone());
    let answer = fixture.read(get("milk"), ADA).await.unwrap();
    let failure = failure(answer);
    assert_eq!((failure.code, failure.message.as_str(), failure.is_fault), (7, "not yours", false));
    assert_eq!(failure.details, details.details());
}

#[tokio::test]
async fn stale_if_error_serves_where_the_origin_is_down() {
    let fixture = begin_with(|config, _| config.upstream.push(upstream("nowhere", &["http://127.0.0.1:1"]))).await;
    let read = get("milk").cached(|cache| cache.ttl = NO_TIME);
    assert_eq!(fixture.version(read.clone()).await, 1);
    *fixture.shop.failure.lock().unwrap() = Some(Status::unavailable("closed"));
    let answer = fixture.read(read, ADA).await.unwrap();
    assert_eq!(product(&answer).version, 1);
    let freshness = answer.freshness.unwrap();
    assert_eq!(freshness.stale_reason(), StaleReason::OriginFailed);
    assert!(freshness.ttl.unwrap().nanos < 0);

    let nowhere = get("bread").with(|plan| plan.upstream = "nowhere".to_owned());
    let failure = failure(fixture.read(nowhere, Some("north/ada@nowhere")).await.unwrap());
    assert_eq!((failure.code, failure.is_fault), (14, true));
    assert!(failure.message.starts_with("upstream nowhere: "), "{}", failure.message);
    assert_eq!(fault::reason_of(&status(&failure)), Some(Reason::UpstreamUnavailable));
}

#[tokio::test]
async fn stale_if_error_serves_where_the_origin_is_too_slow() {
    let fixture = begin().await;
    let read = get("milk").cached(|cache| cache.ttl = NO_TIME);
    assert_eq!(fixture.version(read.clone()).await, 1);
    fixture.shop.open.forget_permits(Semaphore::MAX_PERMITS);
    for calls in [2, 2] {
        let answer = fixture.send(read.whole(), ADA, Duration::from_millis(500)).await.unwrap();
        assert_eq!(product(&answer).version, 1);
        assert_eq!(answer.freshness.unwrap().stale_reason(), StaleReason::OriginFailed);
        assert_eq!(fixture.shop.calls(), calls, "an origin that keeps its readers waiting is left alone");
    }
}

#[tokio::test]
async fn stale_if_error_serves_as_soon_as_the_origin_is_slower_than_usual_or_declared() {
    for declared in [None, Some(prost_types::Duration { seconds: 0, nanos: 200_000_000 })] {
        let fixture = begin().await;
        let read = get("milk").cached(|cache| (cache.ttl, cache.soft_timeout) = (NO_TIME, declared));
        assert_eq!(fixture.version(read.clone()).await, 1);
        fixture.shop.open.forget_permits(Semaphore::MAX_PERMITS);
        let begun = std::time::Instant::now();
        let answer = fixture.send(read.whole(), ADA, Duration::from_mins(1)).await.unwrap();
        assert_eq!(answer.freshness.unwrap().stale_reason(), StaleReason::OriginFailed);
        assert!(begun.elapsed() >= Duration::from_millis(if declared.is_some() { 200 } else { 100 }));
        assert!(begun.elapsed() < Duration::from_secs(20), "not as long as the reader has");
    }
}

#[tokio::test]
async fn call_with_less_time_than_the_median_of_loads_is_refused_and_the_origin_not_asked() {
    let fixture = begin().await;
    fixture.shop.open.forget_permits(Semaphore::MAX_PERMITS);
    let loads = join_all((0..15).map(|n| fixture.read(get(&n.to_string()), ADA)));
    let open = async {
        fixture.shop.saw(15).await;
        // That is how long they take.
        tokio::time::sleep(Duration::from_millis(500)).await;
        fixture.shop.open.add_permits(1_000);
    };
    tokio::join!(loads, open);
    let mut refused = Vec::new();
    for _ in 0..20 {
        let told = fixture.send(get("milk").whole(), ADA, Duration::from_millis(300)).await;
        let told = told.ok().filter(|told| matches!(told.result, Some(ReadResult::Failure(_))));
        refused.extend(told.map(|told| fault::reason_of(&status(&failure(told)))));
    }
    // One in ten is let through, and its answer is stored.
    assert!(refused.iter().all(|reason| *reason == Some(Reason::DeadlineTooShort)), "{refused:?}");
    assert!(fixture.shop.calls() <= 16, "{} calls", fixture.shop.calls());
}

#[tokio::test]
async fn stored_answer_holds_no_spare_memory() {
    let fixture = begin().await;
    let upstreams = Upstreams::new(&[upstream("shop", &[&fixture.shop.url])], &DiscoveryConfig::default()).unwrap();
    let read = get("milk");
    let call = OriginCall::Method(MethodCall {
        plan: Plan::compile([0; 32], read.plan).unwrap().into(),
        upstream: upstreams.find("shop").unwrap(),
        request: read.read.request,
        passport: None,
        headers: HeaderMap::new(),
        holder: None,
        is_retried_outside: false,
        id: RequestId::new(),
        read: CurrentCall::none(),
    });
    let loaded = Loader.load(call, Duration::from_secs(5)).await;
    let message = loaded.load.unwrap();
    let length = message.len();
    assert_eq!(message.try_into_mut().unwrap().capacity(), length);
}

#[tokio::test]
async fn tls_origin_is_verified_by_its_authority() {
    let folder = tempfile::tempdir().unwrap();
    let (cert_file, key_file) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    Identity::self_signed(&["localhost"]).write(&cert_file, &key_file);
    let tls = TlsConfig { cert_file: Some(cert_file.clone()), key_file: Some(key_file), ..TlsConfig::default() };
    let shutdown = Shutdown::new(Duration::ZERO);
    let shop = Shop::open(&ListenConfig { tls: Some(tls), ..ListenConfig::default() }, shutdown.clone()).await;

    let mut safe = upstream("shop", &[&shop.url]);
    let unverified = safe.clone();
    safe.tls.ca_file = Some(cert_file);
    for (upstream, code) in [(safe.clone(), None), (unverified, Some(14))] {
        let fixture = begin_with(|config, _| config.upstream = vec![upstream]).await;
        let answer = fixture.read(get("milk"), ADA).await.unwrap();
        match code {
            None => assert_eq!(product(&answer).id, "milk"),
            Some(code) => assert_eq!(failure(answer).code, code),
        }
    }
    shutdown.begin();
}

#[test]
fn authority_of_an_origin_that_cannot_be_read_is_refused_with_its_key() {
    let mut safe = upstream("shop", &["https://localhost:1"]);
    safe.tls.ca_file = Some("nowhere.pem".into());
    let config = Config { upstream: vec![safe], ..Config::default() };
    assert!(config.unusable().iter().any(|invalid| invalid.key == "upstream.0.tls.ca_file"));
}

#[tokio::test]
async fn concurrent_reads_share_one_load_and_keep_their_deadlines() {
    let fixture = begin().await;
    fixture.shop.open.forget_permits(Semaphore::MAX_PERMITS);
    let reads = (0..50).map(|_| fixture.read(get("milk"), ADA));
    let open = async {
        fixture.shop.saw(1).await;
        fixture.shop.open.add_permits(1);
    };
    let (answers, ()) = tokio::join!(join_all(reads), open);
    assert!(answers.iter().all(|answer| product(answer.as_ref().unwrap()).version == 1));
    assert_eq!(fixture.shop.calls(), 1);

    let late = fixture.send(get("bread").whole(), None, Duration::from_millis(150)).await;
    assert!(late.is_err() || matches!(late.unwrap().result, Some(ReadResult::Failure(_))));
    assert!(fixture.shop.time_left(1) <= Duration::from_millis(150));
}

#[tokio::test]
async fn reader_with_a_longer_deadline_outlives_the_load_of_a_shorter_one() {
    let fixture = begin().await;
    fixture.shop.open.forget_permits(Semaphore::MAX_PERMITS);
    let mut hurried = by_mesh(get("milk").whole());
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
        answer = fixture.read(get("milk"), ADA) => assert_eq!(product(&answer.unwrap()).version, 2),
        () = open => {}
    }
    let late = hurried.await.unwrap();
    assert!(late.is_err() || matches!(late.unwrap().into_inner().result, Some(ReadResult::Failure(_))));
}

#[tokio::test]
async fn load_that_exceeds_its_deadline_is_not_retried() {
    let fixture = begin().await;
    fixture.shop.open.forget_permits(Semaphore::MAX_PERMITS);
    let late = fixture.send(get("milk").whole(), ADA, Duration::from_millis(200)).await;
    match late {
        Ok(answer) => assert_eq!(Code::from_i32(failure(answer).code), Code::DeadlineExceeded),
        Err(status) => assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}"),
    }
    assert_eq!(fixture.shop.calls(), 1);
}

#[tokio::test]
async fn background_reload_has_the_deadline_of_its_method() {
    let fixture = begin().await;
    let read = get("milk").cached(|cache| {
        cache.ttl = NO_TIME;
        cache.stale_while_revalidate = seconds(60);
    });
    assert_eq!(fixture.version(read.clone()).await, 1);
    let answer = fixture.send(read.whole(), ADA, Duration::from_secs(1)).await.unwrap();
    assert_eq!(answer.freshness.unwrap().stale_reason(), StaleReason::Revalidating);
    fixture.shop.saw(2).await;
    assert!(fixture.shop.time_left(1) > Duration::from_secs(5));

    let shorter = read.with(|plan| plan.load_timeout = Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 }));
    assert_eq!(fixture.version(shorter.clone()).await, 3);
    assert_eq!(fixture.version(shorter).await, 3);
    fixture.shop.saw(4).await;
    assert!(fixture.shop.time_left(3) <= Duration::from_millis(100));
}

/// As many loads as the streams of one connection, and some: they must not take the way of what needs no load.
#[tokio::test]
async fn slow_loads_delay_neither_hits_nor_invalidations() {
    let fixture = begin().await;
    fixture.invalidate(&[], 1).await;
    assert_eq!(fixture.version(get("milk")).await, 1);
    fixture.shop.open.forget_permits(Semaphore::MAX_PERMITS);
    let cache = Upstream::new(&upstream("cache", &[&fixture.url])).unwrap();
    let client = ReadThroughServiceClient::new(Client::new(cache));
    let read = |id: String| {
        let (mut client, mut request) = (client.clone(), by_mesh(get(&id).whole()));
        request.metadata_mut().insert("x-accord-passport", "north/ada@shop".parse().unwrap());
        request.set_timeout(Duration::from_secs(30));
        async move { client.read(request).await.unwrap().into_inner() }
    };
    let fast = async {
        fixture.shop.saw(1 + 250).await;
        assert_eq!(outcome(&read("milk".to_owned()).await), Outcome::Hit);
        fixture.invalidate(&["product/milk"], 2).await;
        fixture.shop.open.add_permits(Semaphore::MAX_PERMITS);
    };
    let slow = join_all((0..250).map(|id| read(format!("slow-{id}"))));
    let (answers, ()) = tokio::join!(slow, fast);
    assert!(answers.iter().all(|answer| product(answer).id.starts_with("slow-")));
}

#[tokio::test]
async fn negative_answer_is_stored_only_with_known_tags() {
    let fixture = begin().await;
    *fixture.shop.failure.lock().unwrap() = Some(Status::not_found("sold out"));
    let known = get("milk").cached(|cache| cache.negative_ttl = seconds(60));
    let unknown = by_answer(known.clone());
    for calls in [1, 2] {
        assert_eq!(failure(fixture.read(unknown.clone(), ADA).await.unwrap()).code, 5);
        assert_eq!(fixture.shop.calls(), calls);
    }
    for _ in 0..2 {
        assert_eq!(failure(fixture.read(known.clone(), ADA).await.unwrap()).message, "sold out");
        assert_eq!(fixture.shop.calls(), 3);
    }
}
