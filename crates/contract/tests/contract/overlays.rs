//! Overlays: contracts for protos that carry none.

use std::time::Duration;

use accord_contract::{Access, Contract, Criticality, IdempotencyLevel, Overlay, Source, refused};

use crate::fixture::{self, Inline, accepted, source};

/// A service whose protos never heard of Accord.
fn foreign() -> Source {
    let text = "syntax = \"proto3\"; package echo.v1;
        service Echo { rpc Say(Words) returns (Words); rpc Shout(Words) returns (Words); }
        message Words { string text = 1; }";
    source(Inline(vec![("echo.proto", text.to_owned())]))
}

fn overlay(text: &str) -> Overlay {
    Overlay::parse("echo.toml", text).unwrap()
}

#[test]
fn overlay_can_declare_a_whole_contract() {
    let text = r#"
        [[rule]]
        selector = "echo.v1.Echo/Say"
        idempotency_level = "NO_SIDE_EFFECTS"
        http = { get = "/v1/echo/{text}", additional_bindings = [{ post = "/v1/echo", body = "*" }] }
        [rule.policy]
        deadline = { default = "300ms", max = "1.5s" }
        access = { permission = "echo.say", principal_kinds = ["USER", "PRINCIPAL_KIND_SERVICE"] }
        cache = { ttl = "1m", scope = "SHARED", tags = ["echo/{text}"], vary = ["x-voice"], keep_headers = ["x-echo-bin"] }
        rate_limit = [{ requests = 10, by = "TENANT" }, { requests = 1_000, per = "1h" }]
        criticality = "SHEDDABLE_PLUS"
        max_request_bytes = 1024

        [[rule]]
        selector = "echo.v1.Echo/*"
        policy = { access = { authenticated = true }, deadline = { default = "2s" } }
    "#;
    let (contract, findings) = Contract::load(&[foreign()], &[overlay(text)]);
    assert_eq!(findings, []);
    let say = contract.method("echo.v1.Echo/Say").unwrap();
    assert_eq!(say.idempotency_level, IdempotencyLevel::NoSideEffects);
    assert_eq!(say.policy.access, Access::Permission("echo.say".into()));
    assert_eq!(say.policy.deadline.default, Duration::from_millis(300));
    assert_eq!(say.policy.deadline.max, Duration::from_millis(1500));
    assert_eq!(say.policy.criticality, Criticality::SheddablePlus);
    let cache = say.policy.cache.as_ref().unwrap();
    assert_eq!((&cache.vary[..], &cache.keep_headers[..]), (&["x-voice".into()][..], &["x-echo-bin".into()][..]));
    assert_eq!(say.policy.rate_limits.len(), 2);
    assert_eq!(say.http.len(), 2);
    assert_eq!(contract.method("echo.v1.Echo/Shout").unwrap().policy.access, Access::Authenticated);
}

#[test]
fn overlay_gives_a_rate_limit_plans_with_the_period_of_the_limit() {
    let text = r#"
        [[rule]]
        selector = "test.v1.Shop/Get"
        [[rule.policy.rate_limit]]
        requests = 10
        per = "1h"
        plans = [{ role = "gold", requests = 100 }, { role = "silver", requests = 5, per = "1s", burst = 9 }]
    "#;
    let method = accepted(fixture::reading("rate_limit: { requests: 1 }"), &[overlay(text)]);
    let plans = &method.policy.rate_limits[0].plans;
    let figures: Vec<_> = plans.iter().map(|it| (&*it.role, it.requests, it.per.as_secs(), it.burst)).collect();
    assert_eq!(figures, [("gold", 100, 3600, 100), ("silver", 5, 1, 9)]);
    let said = method.sources.iter().find(|source| source.field == "rate_limit").unwrap();
    let plans = "plans: [{role: \"gold\", requests: 100, per: 1h, burst: 100}, {role: \"silver\", requests: 5, per: 1s, burst: 9}]";
    assert!(said.value.contains(plans), "{}", said.value);
}

#[test]
fn overlay_overrides_options() {
    let text = "[[rule]]\nselector = \"test.v1.Shop/Get\"\npolicy = { access = { public = true } }\n";
    let method = accepted(fixture::reading(""), &[overlay(text)]);
    assert_eq!(method.policy.access, Access::Public);
}

#[test]
fn selector_that_matches_nothing_is_found_once_all_upstreams_are_known() {
    let text = "[[rule]]\nselector = \"echo.v1.*\"\npolicy = { access = { public = true } }\n
                [[rule]]\nselector = \"eco.v1.Echo/Say\"\npolicy = { access = { public = true } }\n";
    let overlays = [overlay(text)];
    let (_, findings) = Contract::load_partial(&[foreign()], &overlays);
    assert_eq!(findings, []);
    let (_, findings) = Contract::load(&[foreign()], &overlays);
    fixture::refused(&findings, "selector", "`eco.v1.Echo/Say` matches no method");
    assert_eq!(findings[0].subject, "echo.toml:6");
    assert!(refused(&findings));
}

#[test]
fn selector_that_is_a_slip_suggests_the_one_that_was_meant() {
    for (written, meant) in [
        ("echo.v1.Echo/Shuot", "echo.v1.Echo/Shout"),
        ("Echo/Say", "echo.v1.Echo/Say"),
        ("echo.v1.Eco/*", "echo.v1.Echo/*"),
        ("ehco.v1.*", "echo.v1.*"),
    ] {
        let rule = format!("[[rule]]\nselector = \"{written}\"\npolicy = {{ access = {{ public = true }} }}\n");
        let (_, findings) = Contract::load(&[foreign()], &[overlay(&rule)]);
        let finding = findings.iter().find(|finding| finding.option == "selector").unwrap();
        assert_eq!(finding.remedy, format!("did you mean `{meant}`?"));
    }
}

#[test]
fn overlay_mistake_is_reported_with_its_line() {
    let wrong =
        |rule: &str| Overlay::parse("echo.toml", &format!("[[rule]]\nselector = \"echo.*\"\n{rule}\n")).unwrap_err();
    let cases = [
        ("polcy = {}", "polcy", "no key"),
        ("policy = { cahe = {} }", "cahe", "no key"),
        ("policy = { cache = { tll = \"1s\" } }", "cache.tll", "no key"),
        ("policy = { cache = { varry = [\"a\"] } }", "cache.varry", "no key"),
        ("policy = { cache = { keep-headers = [\"a\"] } }", "cache.keep-headers", "no key"),
        ("policy = { cache = { vary = \"a\" } }", "cache.vary", "not a list"),
        ("policy = { cache = { vary = [\"a\", 1] } }", "cache.vary", "not a string"),
        ("policy = { cache = { keep_headers = [] } }", "cache.keep_headers", "empty or zero"),
        ("policy = 3", "policy", "not a table"),
        ("policy = { cache = { ttl = 5 } }", "cache.ttl", "not a duration"),
        ("policy = { cache = { ttl = \"soon\" } }", "cache.ttl", "not a duration"),
        ("policy = { cache = { scope = \"ALL\" } }", "cache.scope", "not one of PER_PRINCIPAL, SHARED"),
        ("http = true", "http", "not a table"),
        ("required = \"no\"", "required", "neither true nor false"),
        ("policy = { cache = { tags = \"a\" } }", "cache.tags", "not a list"),
        ("policy = { cache = { tags = [] } }", "cache.tags", "empty or zero"),
        ("policy = { cache = { scope = \"UNSPECIFIED\" } }", "cache.scope", "empty or zero"),
        ("policy = { retry = { max_attempts = 0 } }", "retry.max_attempts", "empty or zero"),
        ("policy = { rate_limit = [] }", "rate_limit", "empty or zero"),
        ("policy = { max_request_bytes = -1 }", "max_request_bytes", "whole number"),
        ("policy = { access = { public = true, permission = \"a\" } }", "access.public", "only one"),
        ("idempotency_level = \"SURE\"", "idempotency_level", "not a level"),
        ("http = { gett = \"/\" }", "http.gett", "no key"),
        ("policy = {", "overlay", ""),
    ];
    for (rule, option, words) in cases {
        let findings = wrong(rule);
        fixture::refused(&findings, option, words);
        assert!(findings[0].subject.starts_with("echo.toml:"), "{}", findings[0]);
        assert_ne!(findings[0].subject, "echo.toml:1", "{}", findings[0]);
    }
    assert_eq!(Overlay::parse("f", "[[rule]]\n").unwrap_err()[0].problem, "is missing");
    assert_eq!(Overlay::parse("f", "\nrules = 1").unwrap_err()[0].subject, "f:2");
    assert_eq!(Overlay::parse("f", "[[rule]]\nselector = \"**\"").unwrap_err()[0].option, "selector");
}

#[test]
fn negative_duration_is_refused_at_its_method() {
    let text =
        "[[rule]]\nselector = \"echo.*\"\npolicy = { access = { public = true }, deadline = { max = \"-1s\" } }\n";
    let (_, findings) = Contract::load(&[foreign()], &[overlay(text)]);
    let found = findings.iter().find(|finding| finding.option == "deadline.max").unwrap();
    assert!(found.problem.contains("negative"), "{found}");
    assert!(found.problem.contains("overlay echo.toml (echo.*)"), "the method alone does not say where: {found}");
}

#[test]
fn mistake_of_an_overlay_is_reported_once_for_all_its_methods() {
    let text =
        "[[rule]]\nselector = \"echo.*\"\npolicy = { access = { public = true }, deadline = { default = \"31s\" } }\n";
    let (_, findings) = Contract::load(&[foreign()], &[overlay(text)]);
    let found: Vec<_> = findings.iter().map(|finding| (&*finding.option, &*finding.subject)).collect();
    assert_eq!(found, [("deadline.default", "echo.v1.Echo/Say and 1 more")]);
}

#[test]
fn explain_names_the_layer_of_a_section_not_of_its_defaults() {
    let text = "[[rule]]\nselector = \"echo.*\"\npolicy = { access = { public = true }, cache = { ttl = \"1s\" } }\n";
    let (_, findings) = Contract::load(&[foreign()], &[overlay(text)]);
    let found = findings.iter().find(|finding| finding.option == "cache").unwrap();
    assert!(found.problem.contains("overlay echo.toml (echo.*)"), "{found}");
}

#[test]
fn missing_file_is_a_finding() {
    let directory = tempfile::tempdir().unwrap();
    let findings = Overlay::file(&directory.path().join("none.toml")).unwrap_err();
    fixture::refused(&findings, "overlay", "can't be read");
}

#[test]
fn slip_in_a_key_of_an_overlay_suggests_the_key_that_was_meant() {
    for (rule, meant) in [
        ("policy = { acess = { public = true } }", "did you mean `access`?"),
        ("polcy = { access = { public = true } }", "did you mean `policy`?"),
        ("colour = 1", "known here: `selector`"),
    ] {
        let text = format!("[[rule]]\nselector = \"echo.v1.Echo/Say\"\n{rule}\n");
        let found = Overlay::parse("echo.toml", &text).unwrap_err()[0].to_string();
        assert!(found.contains(meant), "{found}");
    }
}
