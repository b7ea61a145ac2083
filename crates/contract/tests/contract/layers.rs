//! Layers of a policy, merged field by field.

use std::time::Duration;

use accord_contract::{Access, CacheScope, Contract, Criticality, Kinds, Overlay, PrincipalKind, RateLimitBy, Source};
use tonic::Code;

use crate::fixture::{accepted, findings, get, reading, refused, shop, writing};

fn layered() -> Source {
    shop(
        "option (accord.policy.v1.file) = {
           deadline: { default: { seconds: 2 } max: { seconds: 10 } } access: { authenticated: true }
           criticality: CRITICALITY_SHEDDABLE
         };",
        "option (accord.policy.v1.service) = {
           deadline: { max: { seconds: 20 } } cache: { ttl: { seconds: 60 } stale_if_error: { seconds: 9 } tags: \"all\" }
           access: { permission: \"shop.read\" }
         };
         rpc Get(Request) returns (Response) {
           option idempotency_level = NO_SIDE_EFFECTS;
           option deprecated = true;
           option (accord.policy.v1.method) = { cache: { ttl: { seconds: 5 } stale_if_error: {} tags: \"item/{id}\" } };
         }",
    )
}

#[test]
fn field_of_a_nearer_layer_wins_and_others_stay() {
    let method = accepted(layered(), &[]);
    let policy = &method.policy;
    assert_eq!((policy.deadline.default, policy.deadline.max), (Duration::from_secs(2), Duration::from_secs(20)));
    assert_eq!(policy.access, Access::Permission("shop.read".into()));
    assert_eq!(policy.criticality, Criticality::Sheddable);
    let cache = policy.cache.as_ref().unwrap();
    assert_eq!((cache.ttl, cache.stale_if_error), (Duration::from_secs(5), Duration::ZERO));
    let tags: Vec<_> = cache.tags.iter().map(|tag| tag.expand(b"\x0a\x01x", None).unwrap().unwrap()).collect();
    assert_eq!(tags, ["item/x"]);
    assert!(method.deprecated);
}

#[test]
fn explain_names_the_layer_of_every_field() {
    let overlay =
        "[[rule]]\nselector = \"test.*\"\npolicy = { access = { public = true }, cache = { ttl = \"1m 30s\" } }\n";
    let method = accepted(layered(), &[Overlay::parse("shop.toml", overlay).unwrap()]);
    let told: Vec<_> = method
        .sources
        .iter()
        .map(|source| format!("{} = {} ({})", source.field, source.value, source.source))
        .collect();
    assert_eq!(
        told,
        [
            "deadline.default = 2s (file test.proto)",
            "deadline.max = 20s (service test.v1.Shop)",
            "access.public = true (overlay shop.toml (test.*))",
            "cache.ttl = 1m 30s (overlay shop.toml (test.*))",
            "cache.stale_while_revalidate = 0s (default)",
            "cache.stale_if_error = 0s (method test.v1.Shop/Get)",
            "cache.negative_ttl = 0s (default)",
            "cache.scope = CACHE_SCOPE_PER_PRINCIPAL (default)",
            "cache.tags = [\"item/{id}\"] (method test.v1.Shop/Get)",
            "cache.max_bytes = 1048576 (default)",
            "criticality = CRITICALITY_SHEDDABLE (file test.proto)",
            "max_request_bytes = 4194304 (default)",
            "max_response_bytes = 4194304 (default)",
            "on_cache_failure = ON_CACHE_FAILURE_BYPASS (default)",
            "idempotency_level = NO_SIDE_EFFECTS (method test.v1.Shop/Get)",
        ]
    );
}

/// What `explain` says of the paths that begin so, in a policy under this overlay.
fn told(overlay: &str, path: &str) -> Vec<String> {
    let overlay = format!("[[rule]]\nselector = \"test.*\"\npolicy = {overlay}\n");
    let method = accepted(layered(), &[Overlay::parse("shop.toml", &overlay).unwrap()]);
    let of_path = method.sources.iter().filter(|source| source.field.starts_with(path));
    of_path.map(|source| format!("{} = {} ({})", source.field, source.value, source.source)).collect()
}

#[test]
fn section_that_a_layer_unsets_does_not_hold_whatever_weaker_layers_say() {
    assert_eq!(told("{ unset = [\"cache\"] }", "cache"), ["cache = unset (overlay shop.toml (test.*))"]);
    let overlay = "[[rule]]\nselector = \"*\"\npolicy = { unset = [\"rate_limit\", \"retry\"] }\n";
    let limited = reading("rate_limit: { requests: 7 } retry: { max_attempts: 3 }");
    let method = accepted(limited, &[Overlay::parse("shop.toml", overlay).unwrap()]);
    assert!(method.policy.rate_limits.is_empty() && method.policy.retry.is_none());
}

#[test]
fn what_a_layer_says_of_a_section_that_it_unsets_is_all_of_it() {
    assert_eq!(
        told("{ unset = [\"cache\"], cache = { ttl = \"7s\" } }", "cache"),
        [
            "cache.ttl = 7s (overlay shop.toml (test.*))",
            "cache.stale_while_revalidate = 0s (default)",
            "cache.stale_if_error = 0s (default)",
            "cache.negative_ttl = 0s (default)",
            "cache.scope = CACHE_SCOPE_PER_PRINCIPAL (default)",
            "cache.max_bytes = 1048576 (default)",
        ]
    );
}

#[test]
fn field_that_a_layer_unsets_has_its_default_and_its_neighbours_stay() {
    let overlay = "{ unset = [\"deadline.max\", \"cache.tags\"] }";
    assert_eq!(told(overlay, "deadline"), ["deadline.default = 2s (file test.proto)", "deadline.max = 30s (default)"]);
    assert_eq!(
        told(overlay, "cache.t"),
        ["cache.ttl = 5s (method test.v1.Shop/Get)", "cache.tags = unset (overlay shop.toml (test.*))"]
    );
}

#[test]
fn layer_unsets_what_weaker_layers_say_and_no_stronger_one() {
    let overlay = "[[rule]]\nselector = \"*\"\npolicy = { retry = { max_attempts = 2 } }\n";
    let method = accepted(reading("unset: \"retry\""), &[Overlay::parse("shop.toml", overlay).unwrap()]);
    assert_eq!(method.policy.retry.as_ref().unwrap().max_attempts, 2);
}

#[test]
fn method_whose_access_is_unset_is_denied_to_all() {
    let overlay = "[[rule]]\nselector = \"*\"\npolicy = { unset = [\"access\"] }\n";
    let (contract, findings) = Contract::load(&[layered()], &[Overlay::parse("shop.toml", overlay).unwrap()]);
    assert_eq!(contract.method("test.v1.Shop/Get").unwrap().policy.access, Access::Denied);
    assert!(findings.iter().any(|finding| finding.problem.contains("denied")), "{findings:?}");
}

#[test]
fn unset_of_what_is_no_field_is_refused() {
    let paths = ["cahe", "cache.tll", "deadline.max.seconds", "unset", "rate_limit.burst", "", "cache."];
    // Without its `permission`, the `public` of a weaker layer would hold.
    for path in paths.into_iter().chain(["access.permission", "cache.near.lease"]) {
        refused(&findings(reading(&format!("unset: \"{path}\""))), "unset", "leads to no field of a policy");
    }
}

#[test]
fn defaults_fill_undeclared_fields() {
    let method =
        accepted(reading("cache: { ttl: { seconds: 1 } } retry: { max_attempts: 3 } rate_limit: { requests: 7 }"), &[]);
    let policy = &method.policy;
    assert_eq!((policy.deadline.default, policy.deadline.max), (Duration::from_secs(5), Duration::from_secs(30)));
    assert_eq!(policy.kinds, Kinds::ALL);
    assert_eq!(policy.cache.as_ref().unwrap().scope, CacheScope::PerPrincipal);
    assert_eq!(policy.retry.as_ref().unwrap().on, [Code::Unavailable]);
    let limit = &policy.rate_limits[0];
    assert_eq!((limit.burst, limit.per, limit.by), (7, Duration::from_secs(1), RateLimitBy::Principal));
    assert!(policy.idempotency.is_none() && policy.stream_idle.is_none() && policy.max_stream_messages.is_none());
    assert_eq!(method.effective.rate_limit[0].burst, Some(7));
}

#[test]
fn idempotent_mutation_is_retried_only_with_its_key() {
    let method = accepted(writing("idempotency: {} invalidates: \"item/{item.id}\""), &[]);
    assert_eq!(method.policy.idempotency.unwrap().window, Duration::from_hours(24));
    assert!(method.may_repeat(true) && !method.may_repeat(false));
    let keyless = accepted(writing("invalidates: \"item/{item.id}\""), &[]);
    assert!(!keyless.may_repeat(true), "a key that nobody keeps is worth nothing");
}

#[test]
fn principal_kinds_are_those_listed() {
    let options = "option (accord.policy.v1.method) = {
        access: { authenticated: true principal_kinds: PRINCIPAL_KIND_SERVICE }
    };";
    let (contract, _) = Contract::load(&[get(options)], &[]);
    let kinds = contract.method("test.v1.Shop/Get").unwrap().policy.kinds;
    assert!(kinds.accepts(PrincipalKind::Service) && !kinds.accepts(PrincipalKind::User));
}
