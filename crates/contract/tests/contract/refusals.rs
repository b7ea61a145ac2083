//! What a contract is refused for, one test each.

use accord_contract::{Contract, Severity};

use crate::fixture::{Inline, findings, get, reading, refused, shop, source, writing};

const TTL: &str = "ttl: { seconds: 1 }";

#[test]
fn cache_of_a_stream_is_refused() {
    let options = "option idempotency_level = NO_SIDE_EFFECTS;
        option (accord.policy.v1.method) = { access: { public: true } cache: { ttl: { seconds: 1 } } };";
    let stream = shop("", &format!("rpc Get(Request) returns (stream Response) {{ {options} }}"));
    refused(&findings(stream), "cache", "not unary");
}

#[test]
fn cache_of_a_method_with_side_effects_is_refused() {
    refused(&findings(writing(&format!("cache: {{ {TTL} }}"))), "cache", "NO_SIDE_EFFECTS");
}

#[test]
fn cache_without_ttl_is_refused() {
    refused(&findings(reading("cache: { scope: CACHE_SCOPE_SHARED }")), "cache.ttl", "missing");
}

#[test]
fn shared_cache_scope_needs_access_by_permission_alone() {
    let policy = "access: { authenticated: true principal_kinds: PRINCIPAL_KIND_USER }
                  cache: { ttl: { seconds: 1 } scope: CACHE_SCOPE_SHARED }";
    let options =
        format!("option idempotency_level = NO_SIDE_EFFECTS; option (accord.policy.v1.method) = {{ {policy} }};");
    refused(&findings(get(&options)), "cache.scope", "depends on more");
}

#[test]
fn retry_of_a_method_with_side_effects_is_refused() {
    refused(&findings(writing("retry: { max_attempts: 2 }")), "retry", "may act twice");
    refused(&findings(writing("retry: { max_attempts: 2 hedge_after: { seconds: 1 } }")), "retry", "may act twice");
    assert_eq!(findings(writing("retry: { max_attempts: 2 } idempotency: {}")), []);
}

#[test]
fn retry_outside_two_to_five_attempts_is_refused() {
    refused(&findings(reading("retry: {}")), "retry.max_attempts", "0 is not between");
    refused(&findings(reading("retry: { max_attempts: 1 }")), "retry.max_attempts", "1 is not between");
    refused(&findings(reading("retry: { max_attempts: 6 }")), "retry.max_attempts", "6 is not between");
    refused(&findings(reading("retry: { max_attempts: 2 hedge_after: {} }")), "retry.hedge_after", "zero");
    refused(&findings(reading("retry: { max_attempts: 2 attempt_timeout: {} }")), "retry.attempt_timeout", "zero");
    let late = "deadline: { max: { seconds: 8 } } retry: { max_attempts: 2 attempt_timeout: { seconds: 8 } }";
    refused(&findings(reading(late)), "retry.attempt_timeout", "not below deadline.max");
    let late = "deadline: { max: { seconds: 8 } } retry: { max_attempts: 2 hedge_after: { seconds: 8 } }";
    refused(&findings(reading(late)), "retry.hedge_after", "not below deadline.max");
    let in_time = "deadline: { max: { seconds: 8 } } retry: { max_attempts: 2 hedge_after: { seconds: 7 } }";
    assert_eq!(findings(reading(in_time)), []);
}

#[test]
fn retry_idempotency_and_invalidates_of_a_stream_are_refused() {
    for (option, policy) in [
        ("retry", "retry: { max_attempts: 2 }"),
        ("idempotency", "idempotency: {}"),
        ("invalidates", "invalidates: \"all\""),
    ] {
        let options = format!(
            "option idempotency_level = IDEMPOTENT;
            option (accord.policy.v1.method) = {{ access: {{ public: true }} {policy} }};"
        );
        let stream = shop("", &format!("rpc Get(stream Request) returns (Response) {{ {options} }}"));
        refused(&findings(stream), option, "stream");
    }
}

#[test]
fn idempotency_of_a_cached_method_is_refused() {
    refused(
        &findings(reading(&format!("cache: {{ {TTL} }} idempotency: {{ required: true }}"))),
        "idempotency",
        "shared",
    );
}

#[test]
fn soft_timeout_that_no_stored_answer_may_stand_in_for_is_refused() {
    let cache = |more: &str| findings(reading(&format!("cache: {{ {TTL} soft_timeout: {{ seconds: 1 }} {more} }}")));
    refused(&cache(""), "cache.soft_timeout", "may stand in");
    assert_eq!(cache("stale_if_error: { seconds: 9 }"), []);
}

#[test]
fn invalidates_of_a_method_without_side_effects_is_refused() {
    refused(&findings(reading("invalidates: \"all\"")), "invalidates", "changes nothing");
    refused(&findings(reading(&format!("cache: {{ {TTL} }} invalidates: \"all\""))), "invalidates", "changes nothing");
    assert_eq!(findings(writing("invalidates: \"all\"")), []);
}

#[test]
fn tag_of_an_unusable_field_is_refused() {
    let tag = |text: &str| findings(reading(&format!("cache: {{ {TTL} tags: \"{text}\" }}")));
    refused(&tag("item/{nothing}"), "cache.tags", "has no field `nothing`");
    refused(&tag("item/{items.id}"), "cache.tags", "repeated");
    refused(&tag("item/{labels}"), "cache.tags", "repeated");
    refused(&tag("item/{item}"), "cache.tags", "is a message");
    refused(&tag("item/{id.x}"), "cache.tags", "not a message");
    refused(&tag("item/{response.items.id}"), "cache.tags", "repeated");
    refused(&tag("item/{response.id}"), "cache.tags", "has no field `id`");
    refused(&tag("item/{price}"), "cache.tags", "floating-point");
    refused(&tag("item/{id"), "cache.tags", "brace");
    refused(&tag(""), "cache.tags", "empty");
}

#[test]
fn response_tag_may_lead_through_a_oneof_and_to_a_declared_default() {
    let tagged = |syntax: &str, response: &str| {
        findings(source(Inline(vec![(
            "test.proto",
            format!(
                "syntax = \"{syntax}\"; package test.v1; import \"accord/policy/v1/policy.proto\";
                 service Shop {{ rpc Get(Response) returns (Response) {{
                   option idempotency_level = NO_SIDE_EFFECTS;
                   option (accord.policy.v1.method) = {{
                     access: {{ public: true }} cache: {{ {TTL} tags: \"item/{{response.item.id}}\" }}
                   }};
                 }} }}
                 message Item {{ optional string id = 1; }}
                 message Response {{ {response} }}"
            ),
        )])))
    };
    assert_eq!(tagged("proto3", "oneof choice { Item item = 1; string text = 2; }"), []);
    assert_eq!(tagged("proto3", "oneof choice { Item item = 1; }"), [], "nothing else can be chosen");
    assert_eq!(tagged("proto3", "optional Item item = 1;"), []);

    let inner = "optional Item item = 1; message Item { optional string id = 1 ";
    assert_eq!(tagged("proto2", &format!("{inner} [default = \"none\"]; }}")), []);
    assert_eq!(tagged("proto2", &format!("{inner}; }}")), []);
    let color = "optional Item item = 1; message Item { optional Color id = 1; } enum Color { COLOR_RED = 1; }";
    assert_eq!(tagged("proto2", color), []);
}

#[test]
fn cache_key_of_an_unusable_field_is_refused() {
    refused(&findings(reading(&format!("cache: {{ {TTL} key: \"nothing\" }}"))), "cache.key", "has no field");
    refused(&findings(reading(&format!("cache: {{ {TTL} key: \"item.tags\" }}"))), "cache.key", "repeated");
    refused(&findings(reading(&format!("cache: {{ {TTL} key: \"item.price\" }}"))), "cache.key", "floating-point");
}

#[test]
fn invalidation_that_expires_nothing_is_refused() {
    refused(&findings(writing("invalidation: INVALIDATION_EXPIRE")), "invalidation", "nothing is invalidated");
}

#[test]
fn acknowledgement_where_nothing_is_invalidated_is_refused() {
    refused(&findings(writing("acknowledgement: ACKNOWLEDGEMENT_LOCAL")), "acknowledgement", "nothing is invalidated");
}

#[test]
fn version_header_that_no_answer_can_have_or_beside_a_field_is_refused() {
    for name in ["Etag", "grpc-status", "x-version-bin", "no name"] {
        refused(
            &findings(reading(&format!("cache: {{ {TTL} version_header: \"{name}\" }}"))),
            "cache.version_header",
            "",
        );
    }
    let both = format!("cache: {{ {TTL} version_field: \"item.change_time\" version_header: \"etag\" }}");
    refused(&findings(reading(&both)), "cache.version_header", "version_field");
}

#[test]
fn invalidation_over_the_response_is_refused() {
    refused(&findings(writing("invalidates: \"item/{response.item.id}\"")), "invalidates", "unknown");
    refused(&findings(writing("invalidates: \"item/{nothing}\"")), "invalidates", "has no field");
}

#[test]
fn default_deadline_above_max_is_refused() {
    refused(
        &findings(reading("deadline: { default: { seconds: 31 } }")),
        "deadline.default",
        "31s is above deadline.max, 30s",
    );
    refused(
        &findings(reading("deadline: { max: { seconds: 1 } }")),
        "deadline.default",
        "5s is above deadline.max, 1s",
    );
}

#[test]
fn malformed_durations_are_refused() {
    refused(&findings(reading("deadline: { default: {} }")), "deadline.default", "zero");
    refused(&findings(reading("deadline: { default: { seconds: -1 } }")), "deadline.default", "negative");
    refused(&findings(reading("deadline: { max: { seconds: -1 } }")), "deadline.max", "negative");
    refused(&findings(reading("deadline: { max: {} }")), "deadline.max", "zero");
    refused(&findings(reading("stream_idle: {}")), "stream_idle", "zero");
    refused(&findings(reading("cache: { ttl: {} }")), "cache.ttl", "zero");
    refused(
        &findings(reading(&format!("cache: {{ {TTL} stale_if_error: {{ seconds: -1 }} }}"))),
        "cache.stale_if_error",
        "negative",
    );
    refused(&findings(writing("idempotency: { window: {} }")), "idempotency.window", "zero");
    refused(&findings(reading("rate_limit: { requests: 1 per: {} }")), "rate_limit.per", "zero");
    refused(&findings(reading("stream_idle: { seconds: 9223372036854775807 }")), "stream_idle", "100 years");
    refused(
        &findings(reading("rate_limit: { requests: 1 per: { seconds: 20000000000 } }")),
        "rate_limit.per",
        "100 years",
    );
}

#[test]
fn rate_limit_beyond_the_clock_is_refused() {
    let limit = |limit: &str| findings(reading(&format!("rate_limit: {{ {limit} }}")));
    refused(&limit("requests: 2 per: { nanos: 1 }"), "rate_limit.requests", "more than one in a nanosecond");
    refused(&limit("requests: 1 per: { seconds: 86400 } burst: 1000000"), "rate_limit.burst", "more than 100 years");
    assert_eq!(limit("requests: 1000000 per: { seconds: 86400 }"), []);
}

#[test]
fn limit_of_zero_is_refused() {
    refused(&findings(reading("rate_limit: { }")), "rate_limit.requests", "zero");
    refused(&findings(reading("rate_limit: { requests: 1 burst: 0 }")), "rate_limit.burst", "zero");
    refused(&findings(reading("max_request_bytes: 0")), "max_request_bytes", "zero");
    refused(&findings(reading("max_response_bytes: 0")), "max_response_bytes", "zero");
    refused(&findings(reading("max_stream_messages: 0")), "max_stream_messages", "zero");
    refused(&findings(reading(&format!("cache: {{ {TTL} max_bytes: 0 }}"))), "cache.max_bytes", "zero");
}

#[test]
fn unenforceable_access_is_refused() {
    let access = |rule: &str| findings(get(&format!("option (accord.policy.v1.method) = {{ access: {{ {rule} }} }};")));
    for (rule, option) in [("public: false", "access.public"), ("authenticated: false", "access.authenticated")] {
        let found = access(rule);
        refused(&found[..1], option, "does not hold");
    }
    refused(&access("permission: \"\"")[..1], "access.permission", "no permission");
    let kinds = |rule: &str, kind: &str| access(&format!("{rule}: true principal_kinds: PRINCIPAL_KIND_{kind}"));
    refused(&kinds("public", "SERVICE"), "access.principal_kinds", "the method is public");
    refused(&kinds("authenticated", "UNSPECIFIED"), "access.principal_kinds", "says nothing");
    assert_eq!(access("public: true principal_kinds: [PRINCIPAL_KIND_SERVICE, PRINCIPAL_KIND_USER]"), []);
}

#[test]
fn unknown_policy_option_is_refused() {
    let policy = include_str!("../../../../proto/accord/policy/v1/policy.proto");
    let newer = |policy: String, option: &str| {
        let shop = format!(
            "syntax = \"proto3\"; package test.v1; import \"accord/policy/v1/policy.proto\";
             service Shop {{ rpc Get(M) returns (M); option (accord.policy.v1.service) = {{ {option} }}; }} message M {{}}"
        );
        findings(source(Inline(vec![("test.proto", shop), ("accord/policy/v1/policy.proto", policy)])))
    };
    let field = policy.replace("Access access = 2;", "Access access = 2; string mood = 99;");
    refused(&newer(field, "access: { public: true } mood: \"good\"")[..1], "(accord.policy.v1.service)", "field 99");
    let nested = policy.replace("bool public = 1;", "bool public = 1; bool friends = 9;");
    refused(
        &newer(nested, "access: { friends: true }")[..1],
        "(accord.policy.v1.service)",
        "field 9 of accord.policy.v1.Access",
    );
    let value = policy.replace("CRITICALITY_CRITICAL = 2;", "CRITICALITY_CRITICAL = 2; CRITICALITY_HUGE = 7;");
    refused(
        &newer(value, "access: { public: true } criticality: CRITICALITY_HUGE")[..1],
        "(accord.policy.v1.service)",
        "value 7",
    );
}

#[test]
fn method_of_two_upstreams_is_refused() {
    let (_, findings) = Contract::load(&[reading(""), reading("")], &[]);
    refused(&findings, "services", "two upstreams");
}

#[test]
fn undeclared_access_is_a_warning_and_denies() {
    let (contract, findings) = Contract::load(&[get("")], &[]);
    assert_eq!(findings.len(), 1);
    assert_eq!((findings[0].severity, findings[0].option.as_str()), (Severity::Warning, "access"));
    assert!(!accord_contract::refused(&findings));
    assert_eq!(contract.method("test.v1.Shop/Get").unwrap().policy.access, accord_contract::Access::Denied);
}

#[test]
fn finding_is_one_line() {
    let line = findings(reading("cache: { ttl: { seconds: 1 } tags: \"a\\nb{x\" }"))[0].to_string();
    assert_eq!(
        line,
        "error: test.v1.Shop/Get: cache.tags: `a\\nb{x`: a brace is not closed or not opened; \
         name a singular field that holds one value, such as `product.id`"
    );
}

#[test]
fn plan_that_can_not_hold_is_refused() {
    let plans = |by: &str, plans: &str| findings(reading(&format!("rate_limit: {{ requests: 1 {by} {plans} }}")));
    let gold = "plans: { role: \"gold\" requests: 9 }";
    assert_eq!(plans("", gold), []);
    assert_eq!(plans("by: RATE_LIMIT_BY_TENANT", gold), []);
    refused(&plans("by: RATE_LIMIT_BY_METHOD", gold), "rate_limit.plans", "neither has a role");
    refused(&plans("by: RATE_LIMIT_BY_ADDRESS", gold), "rate_limit.plans", "neither has a role");
    refused(&plans("", &format!("{gold} {gold}")), "rate_limit.plans.role", "two plans are for the role `gold`");
    refused(&plans("", "plans: { requests: 9 }"), "rate_limit.plans.role", "is missing");
    let many: Vec<_> = (0..17).map(|role| format!("plans: {{ role: \"r{role}\" requests: 1 }}")).collect();
    refused(&plans("", &many.join(" ")), "rate_limit.plans", "17 plans are more than 16");
}

#[test]
fn figure_of_a_plan_that_is_out_of_bounds_is_refused_as_one_of_the_limit() {
    let plan =
        |plan: &str| findings(reading(&format!("rate_limit: {{ requests: 1 plans: {{ role: \"a\" {plan} }} }}")));
    refused(&plan(""), "rate_limit.plans.requests", "zero");
    refused(&plan("requests: 1 burst: 0"), "rate_limit.plans.burst", "zero");
    refused(&plan("requests: 1 per: {}"), "rate_limit.plans.per", "zero");
    refused(&plan("requests: 2 per: { nanos: 1 }"), "rate_limit.plans.requests", "more than one in a nanosecond");
}
