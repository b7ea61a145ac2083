//! The near cache: what a contract may declare of it.

use std::time::Duration;

use accord_contract::{Near, Overlay};

use crate::fixture::{accepted, findings, get, reading, refused};

/// A read that is cached for this many seconds, with this near cache.
fn near(ttl: u32, near: &str) -> accord_contract::Source {
    reading(&format!("cache: {{ ttl: {{ seconds: {ttl} }} tags: \"item/{{id}}\" near: {{ {near} }} }}"))
}

const LEASE: &str = "lease: { nanos: 200000000 }";

#[test]
fn near_cache_is_off_where_no_layer_declares_it() {
    let method = accepted(reading("cache: { ttl: { seconds: 1 } }"), &[]);
    assert_eq!(method.policy.cache.as_ref().unwrap().near, None);
}

#[test]
fn near_lease_is_declared_with_its_source() {
    let method = accepted(near(1, LEASE), &[]);
    assert_eq!(method.policy.cache.as_ref().unwrap().near, Some(Near::Lease(Duration::from_millis(200))));
    let source = method.sources.iter().find(|source| source.field == "cache.near.lease").unwrap();
    assert_eq!((&*source.value, &*source.source), ("200ms", "method test.v1.Shop/Get"));
}

#[test]
fn overlay_replaces_a_lease_by_bounded() {
    let text = "[[rule]]\nselector = \"test.*\"\npolicy = { cache = { near = { bounded = \"100ms\" } } }\n";
    let overlay = Overlay::parse("near.toml", text).unwrap();
    let method = accepted(near(1, LEASE), &[overlay]);
    assert_eq!(method.policy.cache.as_ref().unwrap().near, Some(Near::Bounded(Duration::from_millis(100))));
}

#[test]
fn overlay_with_lease_and_bounded_is_refused() {
    let near = "near = { lease = \"100ms\", bounded = \"100ms\" }";
    let text = format!("[[rule]]\nselector = \"*\"\npolicy = {{ cache = {{ {near} }} }}\n");
    refused(&Overlay::parse("near.toml", &text).unwrap_err(), "cache.near.lease", "stands beside `bounded`");
}

#[test]
fn near_cache_without_cache_is_refused() {
    refused(&findings(reading(&format!("cache: {{ near: {{ {LEASE} }} }}"))), "cache.ttl", "missing");
}

#[test]
fn near_cache_that_says_neither_lease_nor_bounded_is_refused() {
    refused(&findings(near(1, "")), "cache.near", "neither");
}

#[test]
fn near_lease_of_zero_is_refused() {
    refused(&findings(near(1, "lease: {}")), "cache.near.lease", "zero");
    refused(&findings(near(1, "bounded: {}")), "cache.near.bounded", "zero");
}

#[test]
fn near_lease_above_the_longest_is_refused() {
    refused(&findings(near(1, "lease: { nanos: 401000000 }")), "cache.near.lease", "401ms is above 400ms");
    assert_eq!(findings(near(1, "lease: { nanos: 400000000 }")), []);
}

#[test]
fn near_lease_longer_than_the_answer_lives_is_refused() {
    let short = "cache: { ttl: { nanos: 100000000 } tags: \"item/{id}\" near: { lease: { nanos: 200000000 } } }";
    refused(&findings(reading(short)), "cache.near.lease", "above cache.ttl");
}

#[test]
fn near_lease_beside_stale_while_revalidate_is_accepted() {
    let cache = format!(
        "cache: {{ ttl: {{ seconds: 1 }} stale_while_revalidate: {{ seconds: 9 }} tags: \"item/{{id}}\" near: {{ {LEASE} }} }}"
    );
    assert_eq!(findings(reading(&cache)), [], "stale answers get no lease, so each stays true to itself");
}

#[test]
fn near_cache_of_a_method_with_side_effects_is_refused_as_its_cache_is() {
    let policy = format!("access: {{ public: true }} cache: {{ ttl: {{ seconds: 1 }} near: {{ {LEASE} }} }}");
    let found = findings(get(&format!("option (accord.policy.v1.method) = {{ {policy} }};")));
    refused(&found, "cache", "NO_SIDE_EFFECTS");
}
