//! Retries, hedging and several endpoints of loads.

use std::time::Duration;

use accord_api::accord::fault::v1::Reason;
use accord_api::accord::policy::v1::{Retry, StatusCode};
use accord_runtime::fault;
use accord_upstream::{DiscoveryConfig, HealthStatus, UpstreamConfig};
use tokio::sync::Semaphore;
use tonic::Status;

use crate::fixture::{ADA, Fixture, PlannedRead, begin, begin_with, failure, get, product, status, upstream};

/// Ports that nobody listens on.
const GONE: [&str; 2] = ["http://127.0.0.1:1", "http://127.0.0.1:2"];

fn retried(id: &str, retry: Retry) -> PlannedRead {
    get(id).with(|plan| plan.retry = Some(retry))
}

fn fails_next(fixture: &Fixture, times: usize) {
    fixture.shop.next.lock().unwrap().extend(vec![Status::unavailable("a moment"); times]);
}

#[tokio::test]
async fn unavailable_upstream_is_retried_as_declared() {
    let fixture = begin().await;
    fails_next(&fixture, 2);
    let read = retried("milk", Retry { max_attempts: 3, ..Retry::default() });
    let answer = fixture.read(read, ADA).await.unwrap();
    assert_eq!((product(&answer).version, fixture.shop.calls()), (3, 3));
    assert!(answer.freshness.unwrap().stored);

    fails_next(&fixture, 2);
    let read = retried("bread", Retry { max_attempts: 2, ..Retry::default() });
    assert_eq!(failure(fixture.read(read, ADA).await.unwrap()).message, "a moment");
    assert_eq!(fixture.shop.calls(), 5);
}

#[tokio::test]
async fn retry_is_not_made_undeclared_for_another_code_or_where_the_caller_retries() {
    let fixture = begin().await;
    let usual = Retry { max_attempts: 3, ..Retry::default() };
    let on = vec![StatusCode::Aborted.into()];
    let mut outside = retried("tea", usual.clone());
    outside.read.is_retried_outside = true;
    for (calls, read) in [(1, get("milk")), (2, retried("bread", Retry { on, ..usual })), (3, outside)] {
        fails_next(&fixture, 1);
        let failure = failure(fixture.read(read, ADA).await.unwrap());
        assert_eq!((failure.code, failure.is_fault, fixture.shop.calls()), (14, false, calls));
    }
}

#[tokio::test]
async fn slow_load_is_hedged_where_declared() {
    let fixture = begin().await;
    fixture.shop.open.forget_permits(Semaphore::MAX_PERMITS);
    let hedge_after = Some(prost_types::Duration { seconds: 0, nanos: 20_000_000 });
    let read = retried("milk", Retry { max_attempts: 2, hedge_after, ..Retry::default() });
    let open = async {
        fixture.shop.saw(2).await;
        fixture.shop.open.add_permits(1);
    };
    let (answer, ()) = tokio::join!(fixture.read(read, ADA), open);
    assert_eq!((product(&answer.unwrap()).id.as_str(), fixture.shop.calls()), ("milk", 2));
}

#[tokio::test]
async fn dead_endpoints_among_three_fail_no_read() {
    let fixture =
        begin_with(|config, url| config.upstream[0].urls = vec![GONE[0].into(), url.into(), GONE[1].into()]).await;
    // As served: by the first calls, the dead ones are known.
    fixture.upstreams.keep_checking_health();
    let mut health_status = fixture.upstreams.find("shop").unwrap().watch();
    health_status.wait_for(|health_status| *health_status == HealthStatus::Serving).await.unwrap();
    for read in 0..40 {
        let id = read.to_string();
        assert_eq!(product(&fixture.read(get(&id), ADA).await.unwrap()).id, id);
    }
    assert_eq!(fixture.shop.calls(), 40);
}

#[tokio::test]
async fn upstreams_of_another_configuration_are_asked_from_the_next_load_on() {
    let fixture = begin().await;
    fixture.shop.open.forget_permits(Semaphore::MAX_PERMITS);
    let url = fixture.shop.url.clone();
    let other = |id| get(id).with(|plan| plan.upstream = "other".to_owned());
    let ada = Some("north/ada@other");
    let change = async {
        fixture.shop.saw(1).await;
        // The upstream of the load that is under way goes, and another one comes.
        fixture.upstreams.reconfigure(&[upstream("other", &[&url])], &DiscoveryConfig::default()).await.unwrap();
        fixture.shop.open.add_permits(2);
    };
    let (under_way, ()) = tokio::join!(fixture.read(get("milk"), ADA), change);
    assert_eq!(product(&under_way.unwrap()).id, "milk");
    assert_eq!(product(&fixture.read(other("bread"), ada).await.unwrap()).id, "bread");
    let gone = fixture.read(get("eggs"), ADA).await.unwrap_err();
    assert_eq!(fault::reason_of(&gone), Some(Reason::UpstreamUnknown));

    let wrong = UpstreamConfig { urls: vec!["no url".to_owned()], ..upstream("shop", &[]) };
    assert!(fixture.upstreams.reconfigure(&[wrong], &DiscoveryConfig::default()).await.is_err());
    fixture.shop.open.add_permits(1);
    assert_eq!(product(&fixture.read(other("salt"), ada).await.unwrap()).id, "salt");
}

#[tokio::test]
async fn upstream_beyond_max_in_flight_is_resource_exhausted_with_retry_after() {
    let fixture = begin_with(|config, url| {
        config.upstream.push(upstream("small", &[url]));
        config.upstream[1].max_in_flight = 1;
    })
    .await;
    fixture.shop.open.forget_permits(Semaphore::MAX_PERMITS);
    let small = |id| get(id).with(|plan| plan.upstream = "small".to_owned());
    let ada = Some("north/ada@small");
    let second = async {
        fixture.shop.saw(1).await;
        let refused = failure(fixture.read(small("bread"), ada).await.unwrap());
        fixture.shop.open.add_permits(1);
        refused
    };
    let (first, refused) = tokio::join!(fixture.read(small("milk"), ada), second);
    assert_eq!(product(&first.unwrap()).id, "milk");
    assert_eq!((refused.code, refused.is_fault), (8, true));
    assert_eq!(fault::reason_of(&status(&refused)), Some(Reason::UpstreamOverloaded));
}

#[tokio::test]
async fn loads_of_one_principal_leave_places_at_the_upstream_to_others() {
    let fixture = begin_with(|config, _| config.upstream[0].max_in_flight = 4).await;
    fixture.shop.open.forget_permits(Semaphore::MAX_PERMITS);
    let others = async {
        fixture.shop.saw(2).await;
        let refused = failure(fixture.read(get("tea"), ADA).await.unwrap());
        let open = async {
            fixture.shop.saw(3).await;
            fixture.shop.open.add_permits(3);
        };
        let (of_bob, ()) = tokio::join!(fixture.read(get("rice"), Some("north/bob@shop")), open);
        (refused, of_bob)
    };
    let (milk, bread) = (fixture.read(get("milk"), ADA), fixture.read(get("bread"), ADA));
    let (_, _, (refused, of_bob)) = tokio::join!(milk, bread, others);
    assert_eq!(fault::reason_of(&status(&refused)), Some(Reason::UpstreamOverloaded));
    assert_eq!(product(&of_bob.unwrap()).id, "rice");
}

#[tokio::test]
async fn answer_is_bounded_by_its_contract_alone() {
    const MIB: usize = 1 << 20;
    let fixture = begin().await;
    fixture.shop.size.store(6 * MIB, std::sync::atomic::Ordering::Relaxed);
    let bounded = |limit: u64| get("milk").with(|plan| plan.max_response_bytes = limit << 20);
    let time = Duration::from_secs(30);
    let answer = fixture.send(bounded(16).whole(), ADA, time).await.unwrap();
    assert_eq!(product(&answer).title.len(), 6 * MIB);
    assert!(!answer.freshness.unwrap().stored, "`cache.max_bytes` is another bound");
    let failure = failure(fixture.send(bounded(5).whole(), ADA, time).await.unwrap());
    assert_eq!((failure.code, failure.is_fault), (8, true));
    assert_eq!(fault::reason_of(&status(&failure)), Some(Reason::ResponseTooLarge));
}
