use prost_protovalidate_types::DESCRIPTOR_POOL;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use protox::Compiler as Protox;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};

use prost::Message;

use super::*;

/// Files in memory: one of a test, and the published rules.
struct Files(&'static str);

impl FileResolver for Files {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match DESCRIPTOR_POOL.get_file_by_name(name).filter(|_| name.starts_with("buf/")) {
            Some(file) => Ok(File::decode_file_descriptor_proto(&*file.encode_to_vec()).unwrap()),
            None if name == "shop.proto" => File::from_source(name, self.0),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}

fn message(proto: &'static str, name: &str) -> MessageDescriptor {
    let mut files = ChainFileResolver::new();
    files.add(Files(proto));
    files.add(GoogleFileResolver::new());
    let mut compiler = Protox::with_file_resolver(files);
    let set = compiler.include_imports(true).open_file("shop.proto").unwrap().encode_file_descriptor_set();
    DescriptorPool::decode(set.as_slice()).unwrap().get_message_by_name(name).unwrap()
}

const SHOP: &str = r#"
    syntax = "proto3";
    package shop.v1;
    import "buf/validate/validate.proto";
    message Order {
      option (buf.validate.message).cel = {
        id: "order.lines", message: "more than five need lines", expression: "this.count <= 5u || size(this.lines) > 0"
      };
      string email = 1 [(buf.validate.field).string.email = true];
      uint32 count = 2 [(buf.validate.field).uint32 = { gte: 1, lte: 10 }];
      repeated Line lines = 3;
    }
    message Line { string sku = 1 [(buf.validate.field).string.min_len = 3]; }
    message Ratio {
      option (buf.validate.message).cel = { id: "ratio", message: "is uneven", expression: "10 / this.divisor > 1" };
      int64 divisor = 1;
    }
"#;

fn broken(name: &str, json: &str) -> Vec<Violation> {
    let message = message(SHOP, name);
    let mut text = serde_json::Deserializer::from_str(json);
    let request = DynamicMessage::deserialize(message.clone(), &mut text).unwrap().encode_to_vec();
    Compiler::default().rules(&message).unwrap().violations(&request).unwrap()
}

#[test]
fn request_within_its_rules_has_no_violation() {
    assert_eq!(broken("shop.v1.Order", r#"{"email": "ada@example.org", "count": 9, "lines": [{"sku": "oak"}]}"#), []);
}

#[test]
fn each_broken_rule_is_named_with_its_field() {
    let broken = broken("shop.v1.Order", r#"{"email": "ada", "count": 11, "lines": [{"sku": "oak"}, {"sku": "o"}]}"#);
    let fields: Vec<_> = broken.iter().map(|it| it.field.as_str()).collect();
    assert_eq!(fields, ["email", "count", "lines[1].sku"], "{broken:?}");
    assert!(broken[0].problem.contains("string.email"), "{broken:?}");
}

#[test]
fn rule_in_cel_is_evaluated() {
    let broken = broken("shop.v1.Order", r#"{"email": "ada@example.org", "count": 6}"#);
    assert_eq!(
        broken,
        [Violation { field: String::new(), problem: "more than five need lines (order.lines)".to_owned() }]
    );
}

#[test]
fn rule_that_cannot_be_evaluated_for_a_request_counts_as_broken() {
    assert_eq!(broken("shop.v1.Ratio", r#"{"divisor": "2"}"#), []);
    assert!(broken("shop.v1.Ratio", "{}")[0].problem.contains("can't be evaluated"));
}

#[test]
fn value_that_breaks_a_rule_is_not_repeated() {
    let broken = broken("shop.v1.Order", r#"{"email": "s3cret", "count": 1}"#);
    assert!(!format!("{broken:?}").contains("s3cret"));
}

#[test]
fn rules_that_cannot_be_compiled_are_refused_with_their_message_however_deep() {
    const WRONG: &str = r#"
        syntax = "proto3";
        package shop.v1;
        import "buf/validate/validate.proto";
        message Outer { repeated Inner inner = 1; }
        message Inner {
          option (buf.validate.message).cel = { id: "x", message: "x", expression: "this.count >" };
          uint32 count = 1;
        }
    "#;
    let error = Compiler::default().rules(&message(WRONG, "shop.v1.Outer")).unwrap_err();
    assert_eq!(error.message, "shop.v1.Inner");
}

#[test]
fn bytes_that_are_not_the_message_are_unreadable() {
    let rules = Compiler::default().rules(&message(SHOP, "shop.v1.Order")).unwrap();
    assert_eq!(rules.violations(&[0x0a, 0xff]), Err(Unreadable));
}
