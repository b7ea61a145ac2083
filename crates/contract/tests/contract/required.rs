//! Fields that a request must set.

use accord_contract::Source;
use prost::Message;
use prost_reflect::{DynamicMessage, ReflectMessage};

use crate::fixture::{Inline, accepted, source};

fn demanding() -> Source {
    let text = "syntax = \"proto3\"; package test.v1;
        import \"accord/policy/v1/policy.proto\"; import \"google/api/field_behavior.proto\";
        service Shop {
          rpc Get(Order) returns (Order) { option (accord.policy.v1.method) = { access: { public: true } }; }
        }
        message Order {
          string id = 1 [(google.api.field_behavior) = REQUIRED];
          optional int32 count = 2 [(google.api.field_behavior) = REQUIRED];
          Line first = 3;
          repeated Line lines = 4 [(google.api.field_behavior) = REQUIRED];
          string note = 5 [(google.api.field_behavior) = OPTIONAL];
        }
        message Line { string sku = 1 [(google.api.field_behavior) = REQUIRED]; Line part = 2; }";
    source(Inline(vec![("test.proto", text.to_owned())]))
}

#[test]
fn missing_required_field_is_named_by_its_path() {
    let method = accepted(demanding(), &[]);
    let missing = |json: &str| {
        let mut reader = serde_json::Deserializer::from_str(json);
        let order = DynamicMessage::deserialize(method.descriptor.input(), &mut reader).unwrap();
        assert_eq!(order.descriptor().full_name(), "test.v1.Order");
        method.missing(&order.encode_to_vec()).unwrap()
    };
    for (json, first) in [
        ("{}", Some("id")),
        (r#"{"id": "a"}"#, Some("count")),
        (r#"{"id": "a", "count": 0}"#, Some("lines")),
        (r#"{"id": "a", "count": 0, "lines": [{"sku": "x"}]}"#, None),
        (r#"{"id": "a", "count": 1, "first": {"part": {}}, "lines": [{}]}"#, Some("first.sku")),
        (r#"{"id": "a", "count": 1, "first": {"sku": "x", "part": {}}, "lines": [{}]}"#, Some("first.part.sku")),
        (r#"{"id": "a", "count": 1, "lines": [{"sku": "x"}, {}, {}]}"#, Some("lines[1].sku")),
    ] {
        assert_eq!(missing(json).as_deref(), first, "{json}");
    }
}

#[test]
fn one_of_required_fields_in_a_oneof_is_enough() {
    let text = "syntax = \"proto3\"; package test.v1;
        import \"accord/policy/v1/policy.proto\"; import \"google/api/field_behavior.proto\";
        service Shop {
          rpc Get(Vote) returns (Vote) { option (accord.policy.v1.method) = { access: { public: true } }; }
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
fn canonical_form_joins_a_message_in_pieces() {
    let method = accepted(demanding(), &[]);
    let pieces = [&b"\x0a\x01a\x10\x01\x22\x03\x0a\x01x"[..], b"\x1a\x00", b"\x1a\x03\x0a\x01x"].concat();
    assert_eq!(method.missing(&pieces).unwrap(), None);
    assert!(method.missing(b"\x0a\x05a").is_err());
    let said_to_be_empty = [&b"\x0a\x00"[..], &pieces[3..]].concat();
    assert_eq!(method.missing(&said_to_be_empty).unwrap().as_deref(), Some("id"), "nothing, at length");
}
