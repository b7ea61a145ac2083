//! Schemas that nobody wrote: every combination of kinds, labels, numbers and names, in both syntaxes.

use std::{collections::BTreeMap, sync::Arc};

use accord_transcode::{Limits, Plan, Schema};
use proptest::{collection, prelude::*, sample};
use prost_reflect::{DescriptorPool, MessageDescriptor};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};

/// A schema, and a plan for a method that takes and returns its first message.
pub(crate) struct Invented {
    pub message: MessageDescriptor,
    pub plan: Plan,
    pub text: String,
}

impl std::fmt::Debug for Invented {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.text)
    }
}

const KINDS: [&str; 15] = [
    "bool", "int32", "sint32", "sfixed32", "uint32", "fixed32", "int64", "sint64", "sfixed64", "uint64", "fixed64",
    "string", "bytes", "float", "double",
];
/// The first twelve of them may be keys of a map.
const KEYS: usize = 12;

const MESSAGES: [&str; 17] = [
    "M0",
    "M1",
    "M2",
    "google.protobuf.Timestamp",
    "google.protobuf.Duration",
    "google.protobuf.FieldMask",
    "google.protobuf.Struct",
    "google.protobuf.Value",
    "google.protobuf.ListValue",
    "google.protobuf.Any",
    "google.protobuf.Empty",
    "google.protobuf.BoolValue",
    "google.protobuf.StringValue",
    "google.protobuf.BytesValue",
    "google.protobuf.Int64Value",
    "google.protobuf.UInt32Value",
    "google.protobuf.DoubleValue",
];

/// What is behind the label of a field, and what the label is.
#[derive(Debug, Clone)]
enum Field {
    One(&'static str),
    Maybe(&'static str),
    /// Packed or not, where that can be said.
    Many(&'static str, Option<bool>),
    Map(&'static str, &'static str),
    /// A member of the message's only oneof.
    Choice(&'static str),
    /// A group in the older syntax, a message in the newer.
    Group(&'static str),
}

pub(crate) fn schema() -> impl Strategy<Value = Arc<Invented>> {
    (any::<bool>(), [fields(), fields(), fields()])
        .prop_map(|(older, messages)| Arc::new(Invented::new(older, &messages)))
}

/// By number. The gaps are where unknown fields land.
fn fields() -> impl Strategy<Value = BTreeMap<u32, Field>> {
    let number = prop_oneof![4 => 1_u32..40, 1 => 1_u32..18_999, 1 => 20_000_u32..(1 << 29)];
    collection::btree_map(number, field(), 0..12)
}

fn field() -> impl Strategy<Value = Field> {
    let scalar =
        || prop_oneof![8 => sample::select(&KINDS[..]), 1 => Just("E"), 1 => Just("google.protobuf.NullValue")];
    let either = || prop_oneof![scalar(), sample::select(&MESSAGES[..])];
    prop_oneof![
        either().prop_map(Field::One),
        either().prop_map(Field::Maybe),
        (scalar(), any::<Option<bool>>()).prop_map(|(kind, packed)| Field::Many(kind, packed)),
        either().prop_map(|kind| Field::Many(kind, None)),
        (sample::select(&KINDS[..KEYS]), either()).prop_map(|(key, value)| Field::Map(key, value)),
        either().prop_map(Field::Choice),
        scalar().prop_map(Field::Group),
    ]
}

impl Invented {
    fn new(older: bool, messages: &[BTreeMap<u32, Field>]) -> Self {
        let mut text = format!("syntax = \"{}\"; package x;\n", if older { "proto2" } else { "proto3" });
        for known in ["any", "duration", "empty", "field_mask", "struct", "timestamp", "wrappers"] {
            text.extend(["import \"google/protobuf/", known, ".proto\";\n"]);
        }
        // A closed enum may begin anywhere.
        text += if older { "enum E { A = 3; B = -1; }\n" } else { "enum E { A = 0; B = -1; C = 7; }\n" };
        for (index, fields) in messages.iter().enumerate() {
            text += &message(index, fields, older);
        }
        text += "service S { rpc Do(M0) returns (M0); }\n";
        let pool = compiled(&text);
        let schema = Arc::new(Schema::compile(&pool));
        let method = pool.get_service_by_name("x.S").unwrap().methods().next().unwrap();
        let plan = Plan::compile(&schema, &method, None, Limits::default()).unwrap();
        Self { message: method.input(), plan, text }
    }
}

fn message(index: usize, fields: &BTreeMap<u32, Field>, older: bool) -> String {
    let statements = |choice| {
        let wanted = fields.iter().filter(move |(_, field)| matches!(field, Field::Choice(_)) == choice);
        wanted
            .map(|(number, field)| {
                statement(*number, field, older)
                    + "
"
            })
            .collect::<String>()
    };
    let (plain, choices) = (statements(false), statements(true));
    let oneof = if choices.is_empty() {
        String::new()
    } else {
        format!(
            "oneof choice {{
{choices}}}
"
        )
    };
    format!("message M{index} {{\n{plain}{oneof}}}\n")
}

fn statement(number: u32, field: &Field, older: bool) -> String {
    // Names whose JSON form differs, and some that say theirs.
    let name = format!("f_{number}_x");
    let option = if number.is_multiple_of(3) { format!("json_name = \"@{number} \\\"é\"") } else { String::new() };
    let options = |other: String| {
        let given: Vec<_> = [option.clone(), other].into_iter().filter(|option| !option.is_empty()).collect();
        if given.is_empty() { String::new() } else { format!(" [{}]", given.join(", ")) }
    };
    match field {
        Field::One(kind) if older => format!("required {kind} {name} = {number}{};", options(String::new())),
        Field::One(kind) | Field::Choice(kind) => format!("{kind} {name} = {number}{};", options(String::new())),
        Field::Maybe(kind) => format!("optional {kind} {name} = {number}{};", options(String::new())),
        Field::Many(kind, packed) => {
            let packable = !matches!(*kind, "string" | "bytes");
            let packed = packed.filter(|_| packable).map(|packed| format!("packed = {packed}")).unwrap_or_default();
            format!("repeated {kind} {name} = {number}{};", options(packed))
        }
        Field::Map(key, value) => format!("map<{key}, {value}> {name} = {number}{};", options(String::new())),
        Field::Group(kind) if older => {
            let label = if number.is_multiple_of(2) { "repeated" } else { "optional" };
            format!("{label} group G{number} = {number} {{ optional {kind} a = 1; repeated {kind} b = 2; }}")
        }
        Field::Group(kind) => format!("repeated {kind} {name} = {number}{};", options(String::new())),
    }
}

fn compiled(text: &str) -> DescriptorPool {
    struct One(String);
    impl FileResolver for One {
        fn open_file(&self, name: &str) -> Result<File, protox::Error> {
            if name == "x.proto" { File::from_source(name, &self.0) } else { Err(protox::Error::file_not_found(name)) }
        }
    }
    let mut resolver = ChainFileResolver::new();
    resolver.add(One(text.to_owned()));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).open_file("x.proto").unwrap_or_else(|error| panic!("{error:?} in\n{text}"));
    DescriptorPool::decode(&*compiler.encode_file_descriptor_set()).unwrap()
}
