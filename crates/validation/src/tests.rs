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

const TREE: &str = r#"
    syntax = "proto3";
    package shop.v1;
    message Node { repeated Node nodes = 1; repeated int32 numbers = 2; repeated fixed64 wide = 3; string text = 4; }
"#;

/// How many times its bytes a request takes as a tree.
fn growth(encoded: &[u8]) -> u64 {
    let rules = Compiler::default().rules(&message(TREE, "shop.v1.Node")).unwrap();
    rules.weight(encoded).unwrap() / encoded.len() as u64
}

#[test]
fn tree_of_small_things_takes_many_times_their_bytes() {
    let value = size_of::<prost_reflect::Value>() as u64;
    let empty_nodes = [0x0a, 0].repeat(1000);
    assert!(growth(&empty_nodes) >= value / 2, "{}", growth(&empty_nodes));
    let nodes_with_something = [0x0a, 2, 0x22, 0].repeat(1000);
    assert!(growth(&nodes_with_something) >= 11 * value / 4, "{}", growth(&nodes_with_something));
    let packed = [&[0x12, 0xe8, 0x07][..], &[1; 1000]].concat();
    assert!(growth(&packed) >= value, "{}", growth(&packed));
}

#[test]
fn tree_of_large_things_takes_little_more_than_their_bytes() {
    let text = [&[0x22, 0x80, 0x80, 0x04][..], &vec![b'x'; 1 << 16]].concat();
    assert_eq!(growth(&text), 1);
    let wide = [&[0x1a, 0x80, 0x80, 0x04][..], &vec![1; 1 << 16]].concat();
    assert!(growth(&wide) < 20, "{}", growth(&wide));
}

#[test]
fn tree_of_what_is_no_message_has_no_weight() {
    let rules = Compiler::default().rules(&message(TREE, "shop.v1.Node")).unwrap();
    let deep = (0..200).fold(Vec::new(), |inner: Vec<u8>, _| {
        let mut outer = vec![0x0a];
        prost::encode_length_delimiter(inner.len(), &mut outer).unwrap();
        outer.extend(inner);
        outer
    });
    for unreadable in [&[0x0a][..], &[0x0a, 5, 0], &[0x12, 1, 0xff], &deep] {
        assert_eq!(rules.weight(unreadable), Err(Unreadable));
    }
}
