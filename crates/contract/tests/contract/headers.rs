//! The headers of cached methods: which answers keep, and which tell answers apart.

use accord_contract::{Contract, Finding, Method, Overlay};

use crate::fixture::{accepted, findings, get, reading, refused, shop};

const BOTH: [&str; 2] = ["keep_headers", "vary"];

fn declared(option: &str, names: &[&str], more: &str) -> Vec<Finding> {
    let names: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
    findings(reading(&format!("cache: {{ ttl: {{ seconds: 1 }} {option}: [{}] {more} }}", names.join(", "))))
}

#[track_caller]
fn each_refused(options: &[&str], names: &[&str], words: &str) {
    for option in options {
        for name in names {
            let found = declared(option, &[name], "");
            refused(&found, &format!("cache.{option}"), words);
            assert_eq!(found[0].subject, "test.v1.Shop/Get");
            assert!(found[0].problem.starts_with(&format!("`{name}` ")), "{}", found[0]);
        }
    }
}

fn told(method: &Method, field: &str) -> String {
    let source = method.sources.iter().find(|source| source.field == field).unwrap();
    format!("{} ({})", source.value, source.source)
}

#[test]
fn header_names_are_compiled_and_explained_as_declared() {
    let method = accepted(
        reading(
            "cache: { ttl: { seconds: 1 } vary: \"accept-language\" keep_headers: [\"etag\", \"price_list.id-bin\"] }",
        ),
        &[],
    );
    let cache = method.policy.cache.as_ref().unwrap();
    assert_eq!(cache.vary, ["accept-language".into()]);
    assert_eq!(cache.keep_headers, ["etag".into(), "price_list.id-bin".into()]);
    assert_eq!(told(&method, "cache.keep_headers"), "[\"etag\", \"price_list.id-bin\"] (method test.v1.Shop/Get)");
    assert_eq!(told(&method, "cache.vary"), "[\"accept-language\"] (method test.v1.Shop/Get)");
    assert_eq!(method.effective.cache.as_ref().unwrap().vary, ["accept-language"]);
}

#[test]
fn header_lists_are_empty_by_default() {
    let method = accepted(reading("cache: { ttl: { seconds: 1 } }"), &[]);
    let cache = method.policy.cache.as_ref().unwrap();
    assert!(cache.vary.is_empty() && cache.keep_headers.is_empty());
}

#[test]
fn header_lists_of_a_nearer_layer_replace_those_of_a_farther_one() {
    let layered = || {
        shop(
            "option (accord.policy.v1.file) = { cache: { keep_headers: \"etag\" vary: \"accept-language\" } };",
            "option (accord.policy.v1.service) = { cache: { ttl: { seconds: 1 } keep_headers: [\"x-total\", \"x-page\"] } };
             rpc Get(Request) returns (Response) {
               option idempotency_level = NO_SIDE_EFFECTS;
               option (accord.policy.v1.method) = { access: { public: true } };
             }",
        )
    };
    let method = accepted(layered(), &[]);
    assert_eq!(told(&method, "cache.keep_headers"), "[\"x-total\", \"x-page\"] (service test.v1.Shop)");
    assert_eq!(told(&method, "cache.vary"), "[\"accept-language\"] (file test.proto)");

    let overlay = "[[rule]]\nselector = \"test.v1.Shop/Get\"\npolicy = { cache = { vary = [\"x-market\"] } }\n";
    let method = accepted(layered(), &[Overlay::parse("shop.toml", overlay).unwrap()]);
    let cache = method.policy.cache.as_ref().unwrap();
    assert_eq!(cache.vary, ["x-market".into()]);
    assert_eq!(cache.keep_headers, ["x-total".into(), "x-page".into()]);
    assert_eq!(told(&method, "cache.vary"), "[\"x-market\"] (overlay shop.toml (test.v1.Shop/Get))");
}

#[test]
fn header_name_refused_in_an_overlay_names_the_overlay() {
    let overlay = "[[rule]]\nselector = \"test.*\"\npolicy = { cache = { ttl = \"1s\", vary = [\"TE\"] } }\n";
    let (_, found) = Contract::load(&[reading("")], &[Overlay::parse("shop.toml", overlay).unwrap()]);
    refused(&found, "cache.vary", "`TE` is no header name, as overlay shop.toml (test.*) has it");
}

#[test]
fn text_that_is_no_header_name_is_refused() {
    let long = "a".repeat(101);
    let names = ["", "Accept-Language", "accept language", "accept,language", "größe", "a/b", "*", long.as_str()];
    each_refused(&BOTH, &names, "is no header name");
    assert_eq!(declared("vary", &[&long[1..]], ""), []);
}

#[test]
fn pseudo_header_is_refused() {
    each_refused(&BOTH, &[":path", ":authority", ":status"], "pseudo-header");
}

#[test]
fn header_of_accord_is_refused_in_every_spelling() {
    each_refused(&BOTH, &["x-accord-passport", "x_accord_fault", "x-accord_tenant"], "Accord's own hops");
    assert_eq!(declared("vary", &["x-accordion"], ""), []);
}

#[test]
fn header_reserved_by_grpc_is_refused() {
    each_refused(&BOTH, &["grpc-status", "grpc-timeout", "grpc-trace-bin", "grpc-accept-encoding"], "reserved by gRPC");
}

#[test]
fn header_of_one_connection_or_message_is_refused() {
    let names = ["connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "proxy-authorization"];
    each_refused(&BOTH, &names, "one connection or message");
    each_refused(&BOTH, &["host", "content-length", "content-type", "content-encoding"], "one connection or message");
}

#[test]
fn header_of_one_call_is_refused() {
    each_refused(&BOTH, &["x-request-id", "traceparent", "tracestate", "request-timeout"], "differs with each");
}

#[test]
fn header_that_accord_writes_is_not_kept() {
    each_refused(&["keep_headers"], &["age", "cache-status", "date", "ratelimit"], "written by Accord");
}

#[test]
fn header_that_never_reaches_the_origin_does_not_enter_the_key() {
    each_refused(&["vary"], &["cache-control", "pragma", "accept-encoding", "if-none-match", "range"], "has no part");
    assert_eq!(declared("keep_headers", &["cache-control"], ""), []);
}

#[test]
fn credential_is_refused_whatever_the_scope() {
    for scope in ["PER_PRINCIPAL", "SHARED"] {
        for option in BOTH {
            let found = |name| declared(option, &[name], &format!("scope: CACHE_SCOPE_{scope}"));
            refused(&found("authorization"), &format!("cache.{option}"), "stays at the gateway");
            refused(&found("set-cookie"), &format!("cache.{option}"), "a credential to one caller");
        }
    }
}

#[test]
fn cookie_is_refused_where_answers_are_shared() {
    for option in BOTH {
        let found = declared(option, &["etag", "cookie"], "scope: CACHE_SCOPE_SHARED");
        refused(&found, &format!("cache.{option}"), "can't be shared");
        assert_eq!(declared(option, &["cookie"], ""), []);
    }
}

#[test]
fn header_named_twice_is_refused_once() {
    for option in BOTH {
        refused(
            &declared(option, &["etag", "x-page", "etag"], ""),
            &format!("cache.{option}"),
            "`etag` is there twice",
        );
    }
}

#[test]
fn more_than_16_headers_are_refused() {
    let names: Vec<_> = (0..17).map(|number| format!("x-{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    for option in BOTH {
        refused(&declared(option, &names, ""), &format!("cache.{option}"), "has 17 names, more than 16");
        assert_eq!(declared(option, &names[1..], ""), []);
    }
}

#[test]
fn headers_without_a_ttl_are_no_cache() {
    let options = "option idempotency_level = NO_SIDE_EFFECTS;
        option (accord.policy.v1.method) = { access: { public: true } cache: { vary: \"x-market\" } };";
    refused(&findings(get(options)), "cache.ttl", "missing");
}
