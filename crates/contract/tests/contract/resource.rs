//! Access that is decided about an object of the request.

use accord_contract::{Contract, Source};

use crate::fixture::{findings, get, refused, shop};

/// A method that asks for a permission on this object, with this beside it.
fn about(resource: &str, policy: &str) -> Source {
    let access = format!("access: {{ permission: \"p\" resource: \"{resource}\" }}");
    get(&format!(
        "option idempotency_level = NO_SIDE_EFFECTS; option (accord.policy.v1.method) = {{ {access} {policy} }};"
    ))
}

/// What it makes of a request.
fn named(resource: &str, request: &[u8]) -> Option<String> {
    let contract = Contract::load(&[about(resource, "")], &[]).0;
    let method = contract.method("test.v1.Shop/Get").unwrap();
    assert!(method.is_read);
    method.policy.resource.as_ref().unwrap().of(request).unwrap()
}

#[test]
fn object_is_named_by_its_type_and_the_field_of_the_request() {
    let request = b"\x0a\x0242\x12\x04\x0a\x02eu";
    assert_eq!(named("Product/{id}", request).as_deref(), Some("Product/42"));
    assert_eq!(named("Shop/of-{item.id}", request).as_deref(), Some("Shop/of-eu"));
    assert_eq!(named("Hue/{item.color}", b"\x12\x02\x28\x01").as_deref(), Some("Hue/1"));
}

#[test]
fn last_of_two_values_is_the_object_as_every_decoder_has_it() {
    assert_eq!(named("Product/{id}", b"\x0a\x02\x34\x32\x12\x00\x0a\x02\x34\x33").as_deref(), Some("Product/43"));
}

#[test]
fn request_without_the_field_or_with_an_id_out_of_bounds_names_no_object() {
    let long = [&[0x0a, 0x81, 0x02][..], &[b'x'; 257]].concat();
    for request in [&b""[..], b"\x0a\x00", b"\x12\x00", &long] {
        assert_eq!(named("Product/{id}", request), None, "{request:?}");
    }
    assert_eq!(named("Hue/{item.color}", b""), None, "the default is no object");
}

#[test]
fn object_of_a_field_that_has_no_one_value_is_refused() {
    for (resource, problem) in [
        ("Product/{nothing}", "no field `nothing`"),
        ("Product/{items}", "is repeated"),
        ("Product/{labels}", "is repeated"),
        ("Product/{item}", "is a message"),
        ("Product/{price}", "floating-point"),
        ("Product/{response.count}", "needs the answer"),
    ] {
        refused(&findings(about(resource, "")), "access.resource", problem);
    }
}

#[test]
fn object_without_a_type_or_of_several_fields_is_refused() {
    for (resource, problem) in [
        ("{id}", "one field"),
        ("Product", "one field"),
        ("Product/{id}-{other}", "one field"),
        ("Product/{id}x", "one field"),
        ("/{id}", "no type"),
        ("Product:{id}", "no type"),
        ("Product/a b{id}", "no type"),
        ("Product/{id", "brace"),
    ] {
        refused(&findings(about(resource, "")), "access.resource", problem);
    }
}

#[test]
fn object_without_a_permission_or_of_a_stream_is_refused() {
    let open = "option (accord.policy.v1.method) = { access: { authenticated: true resource: \"Product/{id}\" } };";
    refused(&findings(get(open)), "access.resource", "no policy is asked");
    let options = "option (accord.policy.v1.method) = { access: { permission: \"p\" resource: \"Product/{id}\" } };";
    for streams in ["rpc Get(stream Request) returns (Response)", "rpc Get(Request) returns (stream Response)"] {
        refused(&findings(shop("", &format!("{streams} {{ {options} }}"))), "access.resource", "not read");
    }
}

#[test]
fn shared_answers_about_several_objects_under_one_key_are_refused() {
    let cache = |key: &str| format!("cache: {{ ttl: {{ seconds: 1 }} scope: CACHE_SCOPE_SHARED {key} }}");
    refused(&findings(about("Product/{id}", &cache("key: \"other\""))), "cache.key", "would be one");
    assert_eq!(findings(about("Product/{id}", &cache("key: [\"other\", \"id\"]"))), []);
    assert_eq!(findings(about("Product/{id}", &cache(""))), []);
}
