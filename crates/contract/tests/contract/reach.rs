//! Tags of writes that meet no tag of a cached answer.

use accord_contract::{Finding, Severity, Source};

use crate::fixture::{findings, shop};

/// A cached read with these members of its cache, and a write that invalidates this tag.
fn read_and_write(cache: &str, invalidates: &str) -> Source {
    let policy = "option (accord.policy.v1.method) = { access: { public: true }";
    shop(
        "",
        &format!(
            "rpc Get(Request) returns (Response) {{
                option idempotency_level = NO_SIDE_EFFECTS; {policy} cache: {{ ttl: {{ seconds: 1 }} {cache} }} }}; }}
             rpc Put(Request) returns (Response) {{ {policy} invalidates: \"{invalidates}\" }}; }}"
        ),
    )
}

fn warned(findings: &[Finding]) -> String {
    let [finding] = findings else { panic!("not one finding: {findings:#?}") };
    assert_eq!(finding.severity, Severity::Warning);
    finding.to_string()
}

#[test]
fn invalidated_tag_that_no_cached_method_has_is_warned_about() {
    let warning = warned(&findings(read_and_write("tags: \"items/{id}\"", "item/{item.id}")));
    assert_eq!(
        warning,
        "warning: test.v1.Shop/Put: invalidates: no cached method has a tag that begins with `item/`: no read is made invalid \
         by it; write it as `cache.tags` of the read has it; tags there begin with `items/`"
    );
}

#[test]
fn invalidated_tag_that_a_cached_method_may_have_is_accepted() {
    assert_eq!(findings(read_and_write("tags: \"item/{id}\"", "item/{item.id}")), []);
}

#[test]
fn lease_on_answers_without_tags_is_warned_about() {
    let cache = "near: { lease: { nanos: 200000000 } }";
    let found = findings(read_and_write(cache, "item/{item.id}"));
    let about: Vec<_> = found.iter().map(|finding| (&*finding.subject, &*finding.option)).collect();
    assert_eq!(about, [("test.v1.Shop/Get", "cache.near.lease"), ("test.v1.Shop/Put", "invalidates")]);
}

#[test]
fn staleness_bound_of_answers_without_tags_is_accepted() {
    let cache = "tags: \"item/{id}\" near: { bounded: { nanos: 200000000 } }";
    assert_eq!(findings(read_and_write(cache, "item/{item.id}")), []);
}
