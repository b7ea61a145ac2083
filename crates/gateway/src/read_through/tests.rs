use super::*;
use accord_api::accord::cache::v1::{Freshness, Outcome, StaleReason};
use accord_contract::CacheScope;
use http::{HeaderMap, header};

fn policy() -> CachePolicy {
    CachePolicy {
        ttl: Duration::ZERO,
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        soft_timeout: None,
        negative_ttl: Duration::ZERO,
        scope: CacheScope::Shared,
        key: Vec::new(),
        tags: Vec::new(),
        max_bytes: 1,
        keep_headers: Vec::new(),
        vary: Vec::new(),
        ignore_cache_control: false,
        near: None,
        version: None,
    }
}

#[test]
fn freshness_is_written_as_cache_status_and_age() {
    let mut head = HeaderMap::new();
    let duration = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let mut freshness = Freshness { age: duration(3), ttl: duration(27), ..Freshness::default() };
    freshness.set_outcome(Outcome::Hit);
    add_freshness(&freshness, &mut head);
    assert_eq!(head[CACHE_STATUS], "accord; hit; ttl=27");
    assert_eq!(head[header::AGE], "3");
}

#[test]
fn hit_from_the_second_level_says_so_in_its_detail() {
    let mut head = HeaderMap::new();
    let mut freshness = Freshness { from_second_level: true, ..Freshness::default() };
    freshness.set_outcome(Outcome::Hit);
    add_freshness(&freshness, &mut head);
    assert_eq!(head[CACHE_STATUS], "accord; hit; detail=second-level");
}

#[test]
fn version_is_written_as_a_string_and_an_older_one_as_the_detail() {
    let mut head = HeaderMap::new();
    let mut freshness = Freshness { version: Some(1_764_000_000_000_000_005), ..Freshness::default() };
    freshness.set_outcome(Outcome::Stale);
    freshness.set_stale_reason(StaleReason::OlderVersion);
    add_freshness(&freshness, &mut head);
    assert_eq!(head[CACHE_STATUS], "accord; fwd=stale; detail=older-version; version=\"1764000000000000005\"");
}

#[test]
fn min_fresh_is_met_by_every_answer_of_the_age_asked_for() {
    let seconds = Duration::from_secs;
    for (ttl, negative_ttl, left, age) in [(100, 0, 30, 60), (100, 50, 30, 15), (100, 0, 95, 0)] {
        let policy = CachePolicy { ttl: seconds(ttl), negative_ttl: seconds(negative_ttl), ..policy() };
        assert_eq!(old_enough_by(seconds(left), &policy), seconds(age), "{ttl} {negative_ttl} {left}");
    }
}

#[test]
fn age_is_rounded_up_and_ttl_down() {
    let (mut head, duration) = (HeaderMap::new(), |seconds, nanos| Some(prost_types::Duration { seconds, nanos }));
    let mut freshness = Freshness { age: duration(3, 1), ttl: duration(-2, -1), ..Freshness::default() };
    freshness.set_outcome(Outcome::Hit);
    add_freshness(&freshness, &mut head);
    assert_eq!(
        (&head[CACHE_STATUS], &head[header::AGE]),
        (&"accord; hit; ttl=-3".parse().unwrap(), &"4".parse().unwrap())
    );
    freshness.ttl = duration(2, 999_999_999);
    add_freshness(&freshness, &mut head);
    assert_eq!(head[CACHE_STATUS], "accord; hit; ttl=2");
}
