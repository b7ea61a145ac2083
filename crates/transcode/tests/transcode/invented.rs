//! Schemas that nobody wrote: every combination of kinds, labels, numbers and names, in both syntaxes, and each as an edition.

mod edition;

use std::{collections::BTreeMap, sync::Arc};

use accord_contract::Source;
use accord_transcode::{Limits, Plan, Schema};
use proptest::{collection, prelude::*, sample};
use prost_reflect::{DescriptorPool, MessageDescriptor};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};

/// A schema, and a plan for a method that takes and returns its first message.
pub(crate) struct Invented {
    pub message: MessageDescriptor,
    pub plan: Plan,
    pub text: String,
    /// The `google.protobuf.FileDescriptorSet`.
    set: Vec<u8>,
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
    /// An extension in the older syntax, where it may be a list.
    Extension(&'static str, bool),
}

pub(crate) fn schema() -> impl Strategy<Value = Arc<Invented>> {
    let field = || prop_oneof![7 => field(), 1 => extension()];
    messages(field).prop_map(|(older, messages)| Arc::new(Invented::new(older, &messages)))
}

pub(crate) fn schema_without_extensions() -> impl Strategy<Value = Arc<Invented>> {
    messages(field).prop_map(|(older, messages)| Arc::new(Invented::new(older, &messages)))
}

/// The fields of three messages, by number. The gaps are where unknown fields land.
fn messages<F: Strategy<Value = Field>>(
    field: impl Fn() -> F,
) -> impl Strategy<Value = (bool, [BTreeMap<u32, Field>; 3])> {
    let number = || prop_oneof![4 => 1_u32..40, 1 => 1_u32..18_999, 1 => 20_000_u32..(1 << 29)];
    let fields = || collection::btree_map(number(), field(), 0..12);
    (any::<bool>(), [fields(), fields(), fields()])
}

fn scalar() -> impl Strategy<Value = &'static str> {
    prop_oneof![8 => sample::select(&KINDS[..]), 1 => Just("E"), 1 => Just("google.protobuf.NullValue")]
}

fn either() -> impl Strategy<Value = &'static str> {
    prop_oneof![scalar(), sample::select(&MESSAGES[..])]
}

fn extension() -> impl Strategy<Value = Field> {
    (either(), any::<bool>()).prop_map(|(kind, is_list)| Field::Extension(kind, is_list))
}

fn field() -> impl Strategy<Value = Field> {
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
        // A closed enum may begin anywhere. Of two names for a number the oracle writes the last, so that there are none.
        text += if older { "enum E { A = 3; B = -1; }\n" } else { "enum E { A = 0; B = -1; C = 7; }\n" };
        for (index, fields) in messages.iter().enumerate() {
            text += &message(index, fields, older);
        }
        text += "service S { rpc Do(M0) returns (M0); }\n";
        let set = compiled(&text);
        let (message, plan) = planned(&DescriptorPool::decode(&*set).unwrap());
        Self { message, plan, text, set }
    }

    /// A plan for the same messages, declared in edition 2023.
    pub(crate) fn as_edition(&self) -> Plan {
        let set = edition::of_set(&self.set);
        planned(&Source::descriptor_set("x", "x.proto", &set).unwrap().pool).1
    }
}

fn planned(pool: &DescriptorPool) -> (MessageDescriptor, Plan) {
    let schema = Arc::new(Schema::compile(pool));
    let method = pool.get_service_by_name("x.S").unwrap().methods().next().unwrap();
    (method.input(), Plan::compile(&schema, &method, None, Limits::default()).unwrap())
}

fn message(index: usize, fields: &BTreeMap<u32, Field>, older: bool) -> String {
    let is_extension = |field: &Field| older && matches!(field, Field::Extension(..));
    let statements = |wanted: &dyn Fn(&Field) -> bool| {
        let wanted = fields.iter().filter(|(_, field)| wanted(field));
        wanted.map(|(number, field)| statement(*number, field, older) + "\n").collect::<Vec<_>>().concat()
    };
    let plain = statements(&|field| !matches!(field, Field::Choice(_)) && !is_extension(field));
    let choices = statements(&|field| matches!(field, Field::Choice(_)));
    let extensions = statements(&|field| is_extension(field));
    let ranges =
        fields.iter().filter(|(_, field)| is_extension(field)).map(|(number, _)| format!("extensions {number};\n"));
    let ranges = ranges.collect::<Vec<_>>().concat();
    let oneof = if choices.is_empty() { choices } else { format!("oneof choice {{\n{choices}}}\n") };
    let extend = if extensions.is_empty() { extensions } else { format!("extend M{index} {{\n{extensions}}}\n") };
    // Within the message, so that names of extensions are those of no other message.
    format!("message M{index} {{\n{plain}{oneof}{ranges}{extend}}}\n")
}

fn statement(number: u32, field: &Field, older: bool) -> String {
    // Names whose JSON form differs, and some that say theirs.
    let name = format!("f_{number}_x");
    let is_named = number.is_multiple_of(3) && !matches!(field, Field::Extension(..));
    let option = if is_named { format!("json_name = \"@{number} \\\"é\"") } else { String::new() };
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
        Field::Extension(kind, is_list) => {
            let label = if *is_list { "repeated" } else { "optional" };
            format!("{label} {kind} {name} = {number};")
        }
        Field::Group(kind) => format!("repeated {kind} {name} = {number}{};", options(String::new())),
    }
}

fn compiled(text: &str) -> Vec<u8> {
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
    compiler.encode_file_descriptor_set()
}
