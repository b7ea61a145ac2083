//! Fields that a request must set.

use accord_contract::{Contract, Method, Overlay, Source};
use prost::Message;
use prost_reflect::DynamicMessage;

use crate::fixture::{Inline, accepted, source};

fn demanding() -> Source {
    let text = "syntax = \"proto3\"; package test.v1;
        import \"accord/policy/v1/policy.proto\"; import \"google/api/field_behavior.proto\";
        import \"google/protobuf/field_mask.proto\";
        service Shop {
          rpc Get(Update) returns (Update) {
            option (accord.policy.v1.method) = { access: { public: true } invalidates: \"order\" };
          }
          rpc Pass(Update) returns (Update) { option (accord.policy.v1.method) = { access: { public: true } }; }
        }
        message Update {
          Order order = 1 [(google.api.field_behavior) = REQUIRED];
          google.protobuf.FieldMask update_mask = 2;
        }
        message Order {
          string id = 1 [(google.api.field_behavior) = REQUIRED];
          optional int32 count = 2 [(google.api.field_behavior) = REQUIRED];
          Line first = 3;
          repeated Line lines = 4 [(google.api.field_behavior) = REQUIRED];
          string note = 5 [(google.api.field_behavior) = OPTIONAL];
        }
        message Line { optional string sku = 1 [(google.api.field_behavior) = REQUIRED]; Line part = 2; }";
    source(Inline(vec![("test.proto", text.to_owned())]))
}

fn missing(method: &Method, json: &str) -> Option<String> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let update = DynamicMessage::deserialize(method.descriptor.input(), &mut reader).unwrap();
    method.missing(&update.encode_to_vec()).unwrap()
}

#[test]
fn missing_required_field_is_named_by_its_path() {
    let method = accepted(demanding(), &[]);
    for (json, first) in [
        ("{}", Some("order")),
        (r#"{"order": {}}"#, Some("order.count")),
        (r#"{"order": {"count": 0}}"#, None),
        (r#"{"order": {"count": 1, "first": {"part": {}}, "lines": [{}]}}"#, Some("order.first.sku")),
        (r#"{"order": {"count": 1, "first": {"sku": "x", "part": {}}, "lines": [{}]}}"#, Some("order.first.part.sku")),
        (r#"{"order": {"count": 1, "lines": [{"sku": "x"}, {}, {}]}}"#, Some("order.lines[1].sku")),
    ] {
        assert_eq!(missing(&method, json).as_deref(), first, "{json}");
    }
}

#[test]
fn one_of_required_fields_in_a_oneof_is_enough() {
    let text = "syntax = \"proto3\"; package test.v1;
        import \"accord/policy/v1/policy.proto\"; import \"google/api/field_behavior.proto\";
        service Shop {
          rpc Get(Vote) returns (Vote) {
            option (accord.policy.v1.method) = { access: { public: true } invalidates: \"votes\" };
          }
        }
        message Vote {
          oneof reply {
            string yes = 1 [(google.api.field_behavior) = REQUIRED];
            string no = 2 [(google.api.field_behavior) = REQUIRED];
          }
        }";
    let method = accepted(source(Inline(vec![("test.proto", text.to_owned())])), &[]);
    let missing = |wire: &[u8]| method.missing(wire).unwrap();
    assert_eq!((missing(b"\x0a\x01a"), missing(b"\x12\x01a")), (None, None));
    assert_eq!(missing(b"").as_deref(), Some("yes"));
}

#[test]
fn required_field_outside_the_field_mask_is_not_missing() {
    let method = accepted(demanding(), &[]);
    for (json, first) in [
        (r#"{"order": {"note": "a"}, "updateMask": "note"}"#, None),
        (r#"{"order": {}, "updateMask": "count"}"#, Some("order.count")),
        (r#"{"order": {}, "updateMask": "*"}"#, Some("order.count")),
        (r#"{"order": {"first": {}}, "updateMask": "first"}"#, Some("order.first.sku")),
        (r#"{"order": {"first": {}}, "updateMask": "first.sku"}"#, Some("order.first.sku")),
        (r#"{"order": {"first": {}}, "updateMask": "first.part"}"#, None),
        (r#"{"order": {"first": {"part": {}}}, "updateMask": "first.part"}"#, Some("order.first.part.sku")),
        (r#"{"order": {"first": {}}, "updateMask": "firstly"}"#, None),
        (r#"{"updateMask": "note"}"#, Some("order")),
        (r#"{"order": {}, "updateMask": ""}"#, Some("order.count")),
    ] {
        assert_eq!(missing(&method, json).as_deref(), first, "{json}");
    }
}

#[test]
fn method_whose_requests_are_not_read_requires_nothing() {
    let (contract, _) = Contract::load(&[demanding()], &[]);
    let method = contract.method("test.v1.Shop/Pass").unwrap();
    assert_eq!(missing(method, "{}"), None);
    assert_eq!(method.sources.last().unwrap().value, "not checked, as no request is read");
}

#[test]
fn overlay_switches_required_fields_off() {
    let text = "[[rule]]\nselector = \"test.v1.Shop/Get\"\nrequired = false\n";
    let method = accepted(demanding(), &[Overlay::parse("mine.toml", text).unwrap()]);
    assert_eq!(missing(&method, "{}"), None);
    let source = method.sources.last().unwrap();
    assert_eq!((&*source.field, &*source.source), ("required", "overlay mine.toml (test.v1.Shop/Get)"));
}

#[test]
fn required_fields_are_explained() {
    let source = accepted(demanding(), &[]).sources.last().unwrap().clone();
    assert_eq!((&*source.value, &*source.source), ("Update.order, Order.count, Line.sku", "message test.v1.Update"));
}

#[test]
fn message_in_pieces_is_looked_at_as_one() {
    let method = accepted(demanding(), &[]);
    // Two pieces of `order`: its count, and its first line in two pieces as well.
    let pieces = b"\x0a\x02\x10\x01\x0a\x07\x1a\x00\x1a\x03\x0a\x01x";
    assert_eq!(method.missing(pieces).unwrap(), None);
    assert_eq!(method.missing(&pieces[..8]).unwrap_err(), accord_wire::Malformed::CutShort);
}
