//! Hits, and who shares them.

use std::time::Duration;

use accord_api::accord::cache::v1::{Consistency, NotStored, Outcome, consistency::Requirement, read_response};
use accord_api::accord::policy::v1::CacheScope;

use crate::fixture::{ADA, PlannedRead, begin, get, outcome, product, seconds};

#[tokio::test]
async fn miss_is_loaded_once_with_propagated_metadata() {
    let fixture = begin().await;
    let first = fixture.read(get("milk"), ADA).await.unwrap();
    assert_eq!((outcome(&first), first.freshness.as_ref().unwrap().stored), (Outcome::UriMiss, true));
    let second = fixture.read(get("milk"), ADA).await.unwrap();
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
async fn answer_is_not_shared_across_principals_or_tenants() {
    let fixture = begin().await;
    let shared = get("milk").cached(|cache| cache.set_scope(CacheScope::Shared));
    for passport in [ADA, Some("north/bob@shop"), Some("south/ada@shop"), None] {
        let answer = fixture.read(get("milk"), passport).await.unwrap();
        assert_eq!(outcome(&answer), Outcome::UriMiss, "{passport:?}");
    }
    assert_eq!(outcome(&fixture.read(shared.clone(), ADA).await.unwrap()), Outcome::UriMiss);
    assert_eq!(outcome(&fixture.read(shared.clone(), Some("north/bob@shop")).await.unwrap()), Outcome::Hit);
    assert_eq!(outcome(&fixture.read(shared, Some("south/ada@shop")).await.unwrap()), Outcome::UriMiss);
}

#[tokio::test]
async fn change_of_roles_ends_the_own_answers_of_a_principal_and_no_shared_ones() {
    let fixture = begin().await;
    let later = Some("north/ada#2@shop");
    let shared = get("bread").cached(|cache| cache.set_scope(CacheScope::Shared));
    for (read, expected) in [(get("milk"), Outcome::UriMiss), (shared, Outcome::Hit)] {
        assert_eq!(outcome(&fixture.read(read.clone(), ADA).await.unwrap()), Outcome::UriMiss);
        assert_eq!(outcome(&fixture.read(read.clone(), ADA).await.unwrap()), Outcome::Hit);
        assert_eq!(outcome(&fixture.read(read, later).await.unwrap()), expected);
    }
}

#[tokio::test]
async fn strong_read_goes_to_the_origin() {
    let fixture = begin().await;
    assert_eq!(fixture.version(get("milk")).await, 1);
    assert_eq!(fixture.version(requiring(get("milk"), Requirement::Strong(true))).await, 2);
    assert_eq!(fixture.version(get("milk")).await, 2);
}

#[tokio::test]
async fn max_staleness_of_a_reader_forces_a_load() {
    let fixture = begin().await;
    assert_eq!(fixture.version(get("milk")).await, 1);
    let within = |bound| requiring(get("milk"), Requirement::MaxStaleness(seconds(bound).unwrap()));
    assert_eq!(fixture.version(within(60)).await, 1);
    assert_eq!(fixture.version(within(0)).await, 2);
}

fn requiring(mut read: PlannedRead, requirement: Requirement) -> PlannedRead {
    read.read.consistency =
        Some(Consistency { requirement: Some(requirement), only_if_cached: false, ..Consistency::default() });
    read
}

#[tokio::test]
async fn only_if_cached_is_answered_from_memory_or_not_at_all() {
    let fixture = begin().await;
    let only = |requirement| {
        let mut read = get("milk");
        read.read.consistency = Some(Consistency { requirement, only_if_cached: true, ..Consistency::default() });
        read
    };
    let absent = Some(read_response::Result::NotStored(NotStored {}));
    assert_eq!(fixture.read(only(None), ADA).await.unwrap().result, absent);
    assert_eq!(fixture.version(get("milk")).await, 1);
    assert_eq!(outcome(&fixture.read(only(None), ADA).await.unwrap()), Outcome::Hit);
    assert_eq!(fixture.read(only(Some(Requirement::Strong(true))), ADA).await.unwrap().result, absent);
    assert_eq!(fixture.shop.calls(), 1);
}

#[tokio::test]
async fn answer_to_only_if_cached_says_which_life_of_the_cache_gave_it() {
    let fixture = begin().await;
    let mut only = get("milk");
    only.read.consistency = Some(Consistency { requirement: None, only_if_cached: true, ..Consistency::default() });
    let absent = fixture.read(only.clone(), ADA).await.unwrap();
    let loaded = fixture.read(get("milk"), ADA).await.unwrap();
    let stored = fixture.read(only, ADA).await.unwrap();
    assert_eq!(loaded.incarnation.len(), 16);
    assert_eq!((absent.incarnation, &stored.incarnation), (loaded.incarnation.clone(), &loaded.incarnation));
}

#[tokio::test]
async fn answers_of_two_plans_are_stored_apart() {
    let fixture = begin().await;
    let other = get("milk").with(|plan| plan.tags.clear());
    assert_eq!(fixture.version(get("milk")).await, 1);
    assert_eq!(fixture.version(other.clone()).await, 2, "a contract with other tags has answers of its own");
    fixture.invalidate(&[], 1).await;
    assert_eq!((fixture.version(get("milk")).await, fixture.version(other.clone()).await), (3, 4));
    fixture.invalidate(&["product/milk"], 2).await;
    assert_eq!((fixture.version(get("milk")).await, fixture.version(other).await), (5, 4));
}

#[tokio::test]
async fn kept_headers_come_with_every_answer_and_others_with_none() {
    let fixture = begin().await;
    let read = get("milk").cached(|cache| cache.keep_headers = vec!["etag".to_owned(), "x-none".to_owned()]);
    let label = |answer: accord_api::accord::cache::v1::ReadResponse| {
        assert!(answer.trailers.is_empty());
        answer.head.into_iter().map(|header| (header.name, header.value.to_vec())).collect::<Vec<_>>()
    };
    for (etag, read, calls) in [
        ("1", read.clone(), 1),
        ("1", read.clone(), 1),
        ("2", requiring(read.clone(), Requirement::Strong(true)), 2),
        ("2", read.clone(), 2),
    ] {
        for (name, value) in [("etag", etag), ("x-secret", "s")] {
            fixture.shop.head.lock().unwrap().insert(name, value.parse().unwrap());
        }
        let stored = label(fixture.read(read, ADA).await.unwrap());
        assert_eq!((stored, fixture.shop.calls()), (vec![("etag".to_owned(), etag.as_bytes().to_vec())], calls));
    }
}

#[tokio::test]
async fn kept_headers_of_not_found_come_with_its_negative_entry() {
    let fixture = begin().await;
    let mut absent = tonic::Status::not_found("sold out");
    absent.metadata_mut().insert("x-until", "monday".parse().unwrap());
    *fixture.shop.failure.lock().unwrap() = Some(absent);
    let read = get("milk").cached(|cache| {
        cache.keep_headers = vec!["x-until".to_owned()];
        cache.negative_ttl = seconds(60);
    });
    for _ in 0..2 {
        let answer = fixture.read(read.clone(), ADA).await.unwrap();
        let stored: Vec<_> = answer.head.iter().chain(&answer.trailers).map(|header| &header.value[..]).collect();
        assert_eq!((stored, fixture.shop.calls()), (vec![&b"monday"[..]], 1));
    }
}

#[tokio::test]
async fn vary_headers_separate_answers_and_reach_the_upstream() {
    let fixture = begin().await;
    let read = |headers: &[(&str, &str)]| {
        let vary = vec!["accept-language".to_owned(), "x-currency".to_owned()];
        get("milk").cached(|cache| cache.vary = vary).with_headers(headers)
    };
    let (german, english) = (("accept-language", "de"), ("accept-language", "en"));
    for (headers, version) in [
        (&[][..], 1),
        (&[german], 2),
        (&[english], 3),
        (&[german, english], 4),
        (&[("x-currency", "de")], 5),
        (&[german, ("x-currency", "eur")], 6),
        (&[("x-currency", "eur"), german], 6),
        (&[german], 2),
        (&[], 1),
    ] {
        assert_eq!(fixture.version(read(headers)).await, version, "{headers:?}");
    }
    let seen = fixture.shop.seen.lock().unwrap();
    let languages: Vec<_> =
        seen[3].metadata.get_all("accept-language").iter().map(|value| value.to_str().unwrap()).collect();
    assert_eq!(languages, ["de", "en"]);
    assert_eq!(seen[5].metadata.get("x-currency").unwrap(), "eur");
    assert!(!seen[0].metadata.contains_key("accept-language"));
}
