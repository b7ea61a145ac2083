//! A path to one field of a message, read from the wire without decoding the rest.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::encoding::WireType;
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor, Value as Reflected};

use crate::wire::{self, Malformed, Value};

/// The way to a singular scalar field, compiled to field numbers.
#[derive(Clone)]
pub struct FieldPath {
    text: String,
    steps: Vec<Step>,
    leaf: FieldDescriptor,
    default: String,
}

/// A path that names no singular scalar field. Each variant holds the message type and the field's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// There is no such field.
    #[error("`{0}` has no field `{1}`")]
    Unknown(String, String),
    /// Which of its values is meant is not said.
    #[error("`{1}` of `{0}` is repeated")]
    Repeated(String, String),
    /// A scalar has no fields.
    #[error("`{1}` of `{0}` is not a message and has no field of its own")]
    NotMessage(String, String),
    /// A message has no one value.
    #[error("`{1}` of `{0}` is a message, not a value")]
    NotScalar(String, String),
    /// Groups are not read.
    #[error("`{1}` of `{0}` is a group")]
    Group(String, String),
}

#[derive(Clone, Debug)]
struct Step {
    number: u32,
    wire_type: WireType,
    /// The other members of the same oneof: each, when it comes later, takes the field away.
    rivals: Vec<(u32, WireType)>,
}

impl FieldPath {
    /// Compiles `product.id` for a message type.
    pub fn compile(text: &str, root: &MessageDescriptor) -> Result<Self, PathError> {
        let mut message = root.clone();
        let mut steps = Vec::new();
        let mut names = text.split('.').peekable();
        loop {
            let name = names.next().unwrap_or_default();
            let field = singular(&message, name)?;
            steps.push(Step::to(&field));
            message = match (field.kind(), names.peek().is_some()) {
                (Kind::Message(inner), true) => inner,
                (Kind::Message(_), false) => return Err(at(&message, name, PathError::NotScalar)),
                (_, true) => return Err(at(&message, name, PathError::NotMessage)),
                (kind, false) => {
                    let default = reflected_text(&kind, &field.default_value());
                    return Ok(Self { text: text.to_owned(), steps, leaf: field, default });
                }
            };
        }
    }

    /// The field numbers from the root.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        self.steps.iter().map(|step| step.number)
    }

    /// The field at the end.
    pub fn leaf(&self) -> &FieldDescriptor {
        &self.leaf
    }

    /// Whether another member of a oneof can take the field away, or a message on the way to it.
    pub fn is_in_oneof(&self) -> bool {
        self.steps.iter().any(|step| !step.rivals.is_empty())
    }

    /// Whether its default is the one of its type, and not one that the field declares (proto2).
    pub fn has_plain_default(&self) -> bool {
        let plain = match self.leaf.kind() {
            Kind::String | Kind::Bytes => "",
            Kind::Bool => "false",
            _ => "0",
        };
        self.default == plain
    }

    /// The value as text: integers and enums in decimal, bytes in base64url. None where the field, or a message on the
    /// way to it, is absent; a field without presence reads as its default.
    pub fn read<'a>(&'a self, wire: &'a [u8]) -> Result<Option<Cow<'a, str>>, Malformed> {
        let mut found = Found::default();
        find(&self.steps, 0, wire, &mut found)?;
        match found.value {
            Some(value) => text(&self.leaf.kind(), value).map(Some),
            None if found.reached + 1 < self.steps.len() || self.leaf.supports_presence() => Ok(None),
            None => Ok(Some(Cow::Borrowed(&self.default))),
        }
    }

    /// As [`FieldPath::read`], with the default of the field where it is absent.
    pub fn text<'a>(&'a self, wire: &'a [u8]) -> Result<Cow<'a, str>, Malformed> {
        Ok(self.read(wire)?.unwrap_or(Cow::Borrowed(&self.default)))
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Debug for FieldPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "FieldPath({})", self.text)
    }
}

impl Step {
    fn to(field: &FieldDescriptor) -> Self {
        let rivals = field.containing_oneof().into_iter().flat_map(|oneof| oneof.fields().collect::<Vec<_>>());
        Self {
            number: field.number(),
            wire_type: wire::wire_type(field),
            rivals: rivals
                .filter(|rival| rival.number() != field.number())
                .map(|rival| (rival.number(), wire::wire_type(&rival)))
                .collect(),
        }
    }
}

fn singular(message: &MessageDescriptor, name: &str) -> Result<FieldDescriptor, PathError> {
    match message.get_field_by_name(name) {
        None => Err(at(message, name, PathError::Unknown)),
        Some(field) if field.is_list() || field.is_map() => Err(at(message, name, PathError::Repeated)),
        Some(field) if field.is_group() => Err(at(message, name, PathError::Group)),
        Some(field) => Ok(field),
    }
}

fn at(message: &MessageDescriptor, name: &str, error: fn(String, String) -> PathError) -> PathError {
    error(message.full_name().to_owned(), name.to_owned())
}

/// What a scan has seen so far.
#[derive(Default)]
struct Found<'a> {
    value: Option<Value<'a>>,
    /// How many messages on the way are present.
    reached: usize,
}

/// The last occurrence wins; the occurrences of a message are merged, as every decoder does.
fn find<'a>(steps: &[Step], depth: usize, wire: &'a [u8], found: &mut Found<'a>) -> Result<(), Malformed> {
    let step = &steps[depth];
    for field in wire::fields(wire) {
        let field = field?;
        let wire_type = field.value.wire_type();
        if field.number == step.number {
            match field.value {
                // Some decoders skip a field of an unexpected wire type and some refuse it: a value on which they
                // differ is none.
                _ if wire_type != step.wire_type => return Err(Malformed),
                Value::Bytes(inner) if depth + 1 < steps.len() => {
                    found.reached = found.reached.max(depth + 1);
                    find(steps, depth + 1, inner, found)?;
                }
                value => found.value = Some(value),
            }
        } else if let Some(rival) = step.rivals.iter().find(|rival| rival.0 == field.number) {
            if rival.1 != wire_type {
                return Err(Malformed);
            }
            *found = Found { value: None, reached: found.reached.min(depth) };
        }
    }
    Ok(())
}

#[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "decoders truncate 32-bit varints so")]
fn text<'a>(kind: &Kind, value: Value<'a>) -> Result<Cow<'a, str>, Malformed> {
    Ok(match (kind, value) {
        (Kind::String, Value::Bytes(bytes)) => std::str::from_utf8(bytes).map_err(|_| Malformed)?.into(),
        (Kind::Bytes, Value::Bytes(bytes)) => URL_SAFE_NO_PAD.encode(bytes).into(),
        (Kind::Bool, Value::Varint(bits)) => (bits != 0).to_string().into(),
        (Kind::Int32 | Kind::Enum(_), Value::Varint(bits)) => (bits as i32).to_string().into(),
        (Kind::Int64, Value::Varint(bits)) | (Kind::Sfixed64, Value::Fixed64(bits)) => (bits as i64).to_string().into(),
        (Kind::Uint32, Value::Varint(bits)) => (bits as u32).to_string().into(),
        (Kind::Uint64, Value::Varint(bits)) | (Kind::Fixed64, Value::Fixed64(bits)) => bits.to_string().into(),
        (Kind::Sint32, Value::Varint(bits)) => {
            let bits = bits as u32;
            ((bits >> 1) as i32 ^ -((bits & 1) as i32)).to_string().into()
        }
        (Kind::Sint64, Value::Varint(bits)) => ((bits >> 1) as i64 ^ -((bits & 1) as i64)).to_string().into(),
        (Kind::Fixed32, Value::Fixed32(bits)) => bits.to_string().into(),
        (Kind::Sfixed32, Value::Fixed32(bits)) => (bits as i32).to_string().into(),
        (Kind::Float, Value::Fixed32(bits)) => format!("{:?}", f32::from_bits(bits)).into(),
        (Kind::Double, Value::Fixed64(bits)) => format!("{:?}", f64::from_bits(bits)).into(),
        _ => return Err(Malformed),
    })
}

pub(crate) fn reflected_text(kind: &Kind, value: &Reflected) -> String {
    match value {
        Reflected::Bool(value) => value.to_string(),
        Reflected::I32(value) | Reflected::EnumNumber(value) => value.to_string(),
        Reflected::I64(value) => value.to_string(),
        Reflected::U32(value) => value.to_string(),
        Reflected::U64(value) => value.to_string(),
        Reflected::F32(value) => format!("{value:?}"),
        Reflected::F64(value) => format!("{value:?}"),
        Reflected::String(value) => value.clone(),
        Reflected::Bytes(value) => URL_SAFE_NO_PAD.encode(value),
        // Paths end at scalars only.
        Reflected::Message(_) | Reflected::List(_) | Reflected::Map(_) => format!("{kind:?}"),
    }
}
