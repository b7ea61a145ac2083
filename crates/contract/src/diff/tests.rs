use std::collections::BTreeSet;

use prost_reflect::{Kind, MessageDescriptor};

use super::rules::RULES;
use super::*;
use crate::options::policy_type;
use crate::overlay::Overlay;
use crate::source::Source;

/// The sample with a policy for one of its methods.
fn with(method: &str, policy: &str) -> Contract {
    service_with("catalog.v1.ProductService", method, policy)
}

fn service_with(service: &str, method: &str, policy: &str) -> Contract {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("overlay.toml");
    std::fs::write(&file, format!("[[rule]]\nselector = \"{service}/{method}\"\n{policy}\n")).unwrap();
    let overlay = Overlay::file(&file).unwrap_or_else(|findings| panic!("{findings:?}"));
    let source = Source::descriptor_set("shop", "shop", accord_api::FILE_DESCRIPTOR_SET).unwrap();
    let source = source.only([service.to_owned()]);
    let (contract, findings) = Contract::load(&[source], &[overlay]);
    assert!(!crate::refused(&findings), "{findings:?}");
    contract
}

/// What it means that one policy of a method is replaced by another: the effect on each field that is otherwise.
fn of(method: &str, old: &str, new: &str) -> Vec<(String, String)> {
    let policy = |policy: &str| format!("policy = {{ {policy} }}");
    let changes = diff(&with(method, &policy(old)), &with(method, &policy(new)));
    changes.into_iter().map(|change| (change.field, change.effect.to_string())).collect()
}

/// The same for a field that alone is otherwise, and for the change back.
fn both_ways(method: &str, old: &str, new: &str) -> (String, String, String) {
    let (there, back) = (of(method, old, new), of(method, new, old));
    let ([(field, forth)], [(_, back)]) = (&there[..], &back[..]) else {
        panic!("{old} -> {new}: {there:?}, {back:?}")
    };
    (field.clone(), forth.clone(), back.clone())
}

/// The paths of all fields of a policy that hold no section, and of what rate limits are made of.
fn leaves(message: &MessageDescriptor, before: &str, found: &mut BTreeSet<String>) {
    for field in message.fields() {
        let path = format!("{before}{}", field.name());
        match field.kind() {
            Kind::Message(inner) if inner.full_name() != "google.protobuf.Duration" => {
                if field.is_list() {
                    found.insert(path.clone());
                }
                leaves(&inner, &format!("{path}."), found);
            }
            _ => _ = found.insert(path),
        }
    }
}

#[test]
fn every_field_of_a_policy_has_a_rule() {
    let mut fields = BTreeSet::new();
    leaves(&policy_type(), "", &mut fields);
    let ruled: BTreeSet<_> = RULES.iter().map(|(field, _)| (*field).to_owned()).collect();
    assert_eq!(fields, ruled, "a field of accord.policy.v1.MethodPolicy needs its line in `RULES`");
    assert_eq!(ruled.len(), RULES.len(), "each once");
}

/// A change of each field, with what it does there and back.
const CHANGES: &[(&str, &str, &str, &str, &str, &str)] = &[
    (
        "deadline.default",
        "GetProduct",
        "deadline = { default = \"1s\" }",
        "deadline = { default = \"2s\" }",
        "loosens",
        "breaks",
    ),
    ("deadline.max", "GetProduct", "deadline = { max = \"5s\" }", "deadline = { max = \"9s\" }", "loosens", "breaks"),
    (
        "access",
        "UpdateProduct",
        "access = { permission = \"a\" }",
        "access = { authenticated = true }",
        "loosens",
        "breaks",
    ),
    (
        "access",
        "UpdateProduct",
        "access = { permission = \"a\" }",
        "access = { permission = \"b\" }",
        "breaks and loosens",
        "breaks and loosens",
    ),
    ("access", "UpdateProduct", "access = { authenticated = true }", "access = { public = true }", "loosens", "breaks"),
    (
        "access.principal_kinds",
        "UpdateProduct",
        "access = { principal_kinds = [\"PRINCIPAL_KIND_USER\"] }",
        "",
        "loosens",
        "breaks",
    ),
    (
        "access.resource",
        "GetProduct",
        "access = { permission = \"p\", resource = \"Product/{id}\" }",
        "access = { permission = \"p\", resource = \"Offer/{id}\" }",
        "breaks and loosens",
        "breaks and loosens",
    ),
    ("cache.ttl", "GetProduct", "cache = { ttl = \"1s\" }", "cache = { ttl = \"2s\" }", "loosens", "changes"),
    (
        "cache.stale_while_revalidate",
        "GetProduct",
        "cache = { stale_while_revalidate = \"1s\" }",
        "cache = { stale_while_revalidate = \"2s\" }",
        "loosens",
        "changes",
    ),
    (
        "cache.stale_if_error",
        "GetProduct",
        "cache = { stale_if_error = \"1s\" }",
        "cache = { stale_if_error = \"2s\" }",
        "loosens",
        "changes",
    ),
    ("cache.negative_ttl", "GetProduct", "", "cache = { negative_ttl = \"2s\" }", "loosens", "changes"),
    (
        "cache.scope",
        "GetProduct",
        "cache = { scope = \"CACHE_SCOPE_PER_PRINCIPAL\" }",
        "cache = { scope = \"CACHE_SCOPE_SHARED\" }",
        "loosens",
        "changes",
    ),
    ("cache.key", "ListProducts", "", "cache = { key = [\"page_size\"] }", "loosens", "changes"),
    (
        "cache.tags",
        "GetProduct",
        "cache = { tags = [\"a\", \"b\"] }",
        "cache = { tags = [\"b\"] }",
        "loosens",
        "changes",
    ),
    ("cache.max_bytes", "GetProduct", "cache = { max_bytes = 5 }", "cache = { max_bytes = 6 }", "changes", "changes"),
    ("cache.keep_headers", "GetProduct", "cache = { keep_headers = [\"etag\"] }", "", "breaks", "changes"),
    ("cache.vary", "GetProduct", "cache = { vary = [\"accept-language\"] }", "", "loosens", "changes"),
    ("cache.soft_timeout", "GetProduct", "", "cache = { soft_timeout = \"50ms\" }", "loosens", "changes"),
    ("cache.ignore_cache_control", "GetProduct", "", "cache = { ignore_cache_control = true }", "breaks", "changes"),
    (
        "cache.version_field",
        "GetProduct",
        "cache = { version_field = \"product.version\" }",
        "cache = { version_field = \"product.update_time\" }",
        "loosens",
        "loosens",
    ),
    ("cache.near.lease", "GetProduct", "", "cache = { near = { lease = \"100ms\" } }", "changes", "changes"),
    ("cache.near.bounded", "GetProduct", "", "cache = { near = { bounded = \"100ms\" } }", "loosens", "changes"),
    (
        "cache.version_header",
        "GetProduct",
        "cache = { version_header = \"etag\" }",
        "cache = { version_header = \"x-version\" }",
        "loosens",
        "loosens",
    ),
    (
        "invalidation",
        "UpdateProduct",
        "invalidation = \"INVALIDATION_DELETE\"",
        "invalidation = \"INVALIDATION_EXPIRE\"",
        "loosens",
        "changes",
    ),
    (
        "acknowledgement",
        "UpdateProduct",
        "acknowledgement = \"ACKNOWLEDGEMENT_ALL_REPLICAS\"",
        "acknowledgement = \"ACKNOWLEDGEMENT_LOCAL\"",
        "loosens",
        "changes",
    ),
    ("invalidates", "UpdateProduct", "invalidates = [\"a\", \"b\"]", "invalidates = [\"b\"]", "loosens", "changes"),
    (
        "rate_limit",
        "UpdateProduct",
        "rate_limit = [{ requests = 5 }]",
        "rate_limit = [{ requests = 9 }]",
        "loosens",
        "breaks",
    ),
    ("rate_limit", "UpdateProduct", "rate_limit = [{ requests = 5 }]", "", "loosens", "breaks"),
    (
        "rate_limit",
        "UpdateProduct",
        "rate_limit = [{ requests = 5, burst = 9 }]",
        "rate_limit = [{ requests = 7, burst = 8 }]",
        "breaks and loosens",
        "breaks and loosens",
    ),
    (
        "rate_limit",
        "UpdateProduct",
        "rate_limit = [{ requests = 5, per = \"2s\" }]",
        "rate_limit = [{ requests = 5 }]",
        "loosens",
        "breaks",
    ),
    (
        "rate_limit",
        "UpdateProduct",
        "rate_limit = [{ requests = 5 }]",
        "rate_limit = [{ requests = 5, plans = [{ role = \"gold\", requests = 9 }] }]",
        "loosens",
        "breaks",
    ),
    (
        "retry.max_attempts",
        "GetProduct",
        "retry = { max_attempts = 2 }",
        "retry = { max_attempts = 4 }",
        "loosens",
        "changes",
    ),
    (
        "retry.on",
        "GetProduct",
        "",
        "retry = { on = [\"STATUS_CODE_UNAVAILABLE\", \"STATUS_CODE_ABORTED\"] }",
        "loosens",
        "changes",
    ),
    ("retry.hedge_after", "GetProduct", "", "retry = { hedge_after = \"20ms\" }", "loosens", "changes"),
    ("retry.attempt_timeout", "GetProduct", "", "retry = { attempt_timeout = \"1s\" }", "loosens", "changes"),
    ("idempotency.required", "CreateProduct", "", "idempotency = { required = false }", "loosens", "breaks"),
    ("idempotency.window", "CreateProduct", "", "idempotency = { window = \"48h\" }", "changes", "breaks"),
    ("criticality", "UpdateProduct", "", "criticality = \"CRITICALITY_CRITICAL_PLUS\"", "loosens", "breaks"),
    ("max_request_bytes", "UpdateProduct", "max_request_bytes = 5", "max_request_bytes = 6", "loosens", "breaks"),
    ("max_response_bytes", "UpdateProduct", "max_response_bytes = 5", "max_response_bytes = 6", "loosens", "breaks"),
    ("max_stream_messages", "WatchProducts", "max_stream_messages = 5", "", "loosens", "breaks"),
    ("stream_idle", "WatchProducts", "stream_idle = \"5s\"", "", "loosens", "breaks"),
    ("on_cache_failure", "GetProduct", "on_cache_failure = \"ON_CACHE_FAILURE_FAIL\"", "", "loosens", "breaks"),
    ("validate", "ListProducts", "validate = false", "", "breaks", "loosens"),
    ("validate", "ListProducts", "", "validate = true", "breaks", "loosens"),
    ("json.defaults", "GetProduct", "", "json = { defaults = true }", "breaks", "breaks"),
    ("json.names", "GetProduct", "", "json = { names = \"JSON_NAMES_PROTO\" }", "breaks", "breaks"),
    ("json.enums", "GetProduct", "", "json = { enums = \"JSON_ENUMS_NUMBERS\" }", "breaks", "breaks"),
    ("json.success", "GetProduct", "", "json = { success = 203 }", "breaks", "breaks"),
    ("json.ignored_parameters", "GetProduct", "", "json = { ignored_parameters = [\"utm_*\"] }", "loosens", "breaks"),
];

#[test]
fn change_of_each_field_breaks_or_loosens_what_its_rule_says() {
    for (field, method, old, new, forth, back) in CHANGES {
        let expected = ((*field).to_owned(), (*forth).to_owned(), (*back).to_owned());
        assert_eq!(both_ways(method, old, new), expected, "{method}: {old} -> {new}");
    }
}

#[test]
fn change_of_every_field_is_tested() {
    let tested: BTreeSet<_> = CHANGES.iter().map(|(field, ..)| *field).collect();
    let compared = RULES.iter().filter(|(_, rule)| !matches!(rule, rules::Rule::Elsewhere));
    let untested: Vec<_> = compared.map(|(field, _)| *field).filter(|field| !tested.contains(field)).collect();
    assert_eq!(untested, ["access.public"], "which is told as `access`");
}

#[test]
fn cache_that_is_new_is_one_change() {
    let basket = |policy| service_with("orders.v1.OrderService", "GetBasket", policy);
    let cache = "policy = { cache = { ttl = \"1s\", tags = [\"a\"] } }";
    let changes = diff(&basket("required = true"), &basket(cache));
    let fields: Vec<_> = changes.iter().map(|change| &*change.field).collect();
    assert_eq!(fields, ["cache.ttl"], "{changes:?}");
}

#[test]
fn dropped_binding_breaks_and_a_new_one_does_not() {
    let (bound, unbound) = (with("GetProduct", "required = true"), with("GetProduct", "required = true\nhttp = false"));
    let told = |old: &Contract, new: &Contract| diff(old, new).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        told(&bound, &unbound),
        [
            "breaks: catalog.v1.ProductService/GetProduct: http: nothing, was GET /v1/products/{id}: calls of this path are not found"
        ]
    );
    assert_eq!(
        told(&unbound, &bound),
        ["changes: catalog.v1.ProductService/GetProduct: http: GET /v1/products/{id}: it can be called by this path"]
    );
}

#[test]
fn removed_service_breaks_once() {
    let changes = diff(&with("GetProduct", "required = true"), &Contract::default());
    let told: Vec<_> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["breaks: catalog.v1.ProductService: removed: calls of all its methods fail with UNIMPLEMENTED"]);
}

#[test]
fn method_that_is_new_neither_breaks_nor_loosens() {
    let changes = diff(&Contract::default(), &with("GetProduct", "required = true"));
    assert!(changes.len() == 5 && changes.iter().all(|change| change.effect == Effect::NONE), "{changes:?}");
}

#[test]
fn checks_of_required_fields_that_are_dropped_loosen() {
    let changes = diff(&with("CreateProduct", "required = true"), &with("CreateProduct", "required = false"));
    let told: Vec<_> = changes.iter().map(|change| (&*change.field, change.effect)).collect();
    assert_eq!(told, [("required", Effect::LOOSENS)]);
}

#[test]
fn idempotency_level_that_falls_breaks() {
    let level = |level: &str| with("WatchProducts", &format!("idempotency_level = \"{level}\""));
    let changes = diff(&level("NO_SIDE_EFFECTS"), &level("IDEMPOTENT"));
    assert_eq!((&*changes[0].field, changes[0].effect), ("idempotency_level", Effect::BREAKS));
}

#[test]
fn same_contract_has_no_changes() {
    assert_eq!(diff(&with("GetProduct", "required = true"), &with("GetProduct", "required = true")), []);
}
