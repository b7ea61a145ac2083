//! Paths such as `product.id`, compiled for a message type.

use std::borrow::Cow;

use accord_wire::{FieldPath, OneofSibling, ScalarType, Step};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use crate::field_type::{scalar_text, scalar_type, wire_type};

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

/// Compiles the path to a singular scalar field of a message type.
pub fn compile_path(text: &str, root: &MessageDescriptor) -> Result<FieldPath, PathError> {
    let mut message = root.clone();
    let mut parents = Vec::new();
    let mut names = text.split('.').peekable();
    loop {
        let name = names.next().unwrap_or_default();
        let field = singular(&message, name)?;
        let is_last = names.peek().is_none();
        match (field.kind(), scalar_type(&field.kind())) {
            (_, Some(scalar)) if is_last => return Ok(path(parents, &field, scalar)),
            (Kind::Message(inner), _) if !is_last => {
                parents.push(step(&field));
                message = inner;
            }
            (Kind::Message(_), _) => return Err(at(&message, name, PathError::NotScalar)),
            _ => return Err(at(&message, name, PathError::NotMessage)),
        }
    }
}

fn path(parents: Vec<Step>, field: &FieldDescriptor, scalar: ScalarType) -> FieldPath {
    let declared = field.default_value();
    let default = scalar_text(&declared).filter(|text| *text != scalar.default_value().text());
    FieldPath {
        parents,
        leaf: step(field),
        scalar,
        has_presence: field.supports_presence(),
        default: default.map(Cow::into_owned),
    }
}

fn step(field: &FieldDescriptor) -> Step {
    let members = field.containing_oneof().into_iter().flat_map(|oneof| oneof.fields().collect::<Vec<_>>());
    let oneof_siblings = members.filter(|sibling| sibling.number() != field.number());
    Step {
        number: field.number(),
        oneof_siblings: oneof_siblings
            .map(|sibling| OneofSibling { number: sibling.number(), wire_type: wire_type(&sibling) })
            .collect(),
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
