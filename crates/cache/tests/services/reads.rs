//! What is answered from memory, and to whom.

use std::time::Duration;

use accord_api::accord::cache::v1::{Consistency, Outcome, ReadRequest, consistency::Wish};
use accord_api::accord::policy::v1::CacheScope;

use crate::fixture::{ADA, begin, outcome, product, seconds};

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
async fn a_strong_read_goes_to_the_origin() {
    let fixture = begin().await;
    assert_eq!(fixture.version(fixture.get("milk")).await, 1);
    let strong = Some(Consistency { wish: Some(Wish::Strong(true)) });
    assert_eq!(fixture.version(ReadRequest { consistency: strong, ..fixture.get("milk") }).await, 2);
    assert_eq!(fixture.version(fixture.get("milk")).await, 2);
}

#[tokio::test]
async fn a_reader_may_wish_for_less_staleness() {
    let fixture = begin().await;
    assert_eq!(fixture.version(fixture.get("milk")).await, 1);
    let within = |bound| ReadRequest {
        consistency: Some(Consistency { wish: Some(Wish::MaxStaleness(seconds(bound).unwrap())) }),
        ..fixture.get("milk")
    };
    assert_eq!(fixture.version(within(60)).await, 1);
    assert_eq!(fixture.version(within(0)).await, 2);
}
