//! The message types of the tests, and the paths to their fields.

use std::path::Path;
use std::sync::LazyLock;

use accord_wire::{FieldPath, OneofSibling, Scalar, ScalarType, Step, WireType};
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor, Value};

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire");
    let mut compiler = protox::Compiler::new([root]).unwrap();
    compiler.include_imports(true).open_files(["modern.proto", "legacy.proto"]).unwrap();
    DescriptorPool::decode(&*compiler.encode_file_descriptor_set()).unwrap()
});

/// Both ways to any singular scalar: the path, and the descriptors on it.
pub(crate) type Way = (FieldPath, Vec<FieldDescriptor>);

pub(crate) fn modern() -> MessageDescriptor {
    POOL.get_message_by_name("wire.Modern").unwrap()
}

pub(crate) fn legacy() -> MessageDescriptor {
    POOL.get_message_by_name("wire.Legacy").unwrap()
}

/// The paths to all singular scalars of a message type, through at most so many messages.
pub(crate) fn ways(message: &MessageDescriptor, parents: usize) -> Vec<Way> {
    let mut found = Vec::new();
    collect(message, parents, &mut Vec::new(), &mut found);
    found
}

fn collect(message: &MessageDescriptor, parents: usize, way: &mut Vec<FieldDescriptor>, found: &mut Vec<Way>) {
    for field in message.fields().filter(|field| !field.is_list() && !field.is_map() && !field.is_group()) {
        way.push(field.clone());
        match field.kind() {
            Kind::Message(inner) if parents > 0 => collect(&inner, parents - 1, way, found),
            Kind::Message(_) => {}
            _ => found.push((path(way), way.clone())),
        }
        way.pop();
    }
}

fn path(way: &[FieldDescriptor]) -> FieldPath {
    let (leaf, parents) = way.split_last().unwrap();
    let scalar = scalar_type(leaf).unwrap();
    let default = text(&leaf.default_value());
    FieldPath {
        parents: parents.iter().map(step).collect(),
        leaf: step(leaf),
        scalar,
        has_presence: leaf.supports_presence(),
        default: (default != scalar.default_value().text()).then_some(default),
    }
}

fn step(field: &FieldDescriptor) -> Step {
    let members = field.containing_oneof().map(|oneof| oneof.fields().collect::<Vec<_>>()).unwrap_or_default();
    let others = members.iter().filter(|other| *other != field);
    Step {
        number: field.number(),
        oneof_siblings: others
            .map(|other| OneofSibling { number: other.number(), wire_type: wire_type(other) })
            .collect(),
    }
}

pub(crate) fn wire_type(field: &FieldDescriptor) -> WireType {
    match scalar_type(field) {
        Some(scalar) => scalar.wire_type(),
        None if field.is_group() => WireType::StartGroup,
        None => WireType::Bytes,
    }
}

/// By its number in the descriptor, where the crate goes by its kind.
pub(crate) fn scalar_type(field: &FieldDescriptor) -> Option<ScalarType> {
    ScalarType::from_number(field.field_descriptor_proto().r#type.unwrap())
}

/// A decoded value as text.
pub(crate) fn text(value: &Value) -> String {
    let scalar = match value {
        Value::Bool(value) => Scalar::Bool(*value),
        Value::I32(value) | Value::EnumNumber(value) => Scalar::Signed((*value).into()),
        Value::I64(value) => Scalar::Signed(*value),
        Value::U32(value) => Scalar::Unsigned((*value).into()),
        Value::U64(value) => Scalar::Unsigned(*value),
        Value::F32(value) => Scalar::Float(*value),
        Value::F64(value) => Scalar::Double(*value),
        Value::String(text) => Scalar::String(text),
        Value::Bytes(bytes) => Scalar::Bytes(bytes),
        other => unreachable!("{other:?}"),
    };
    scalar.text().into_owned()
}
