//! A field or an extension as its descriptor declares it.

use prost_reflect::{ExtensionDescriptor, FieldDescriptor, Kind as Declared, MessageDescriptor};

use super::Form;

/// What a field and an extension both say of themselves.
pub(super) struct Declaration {
    pub(super) number: u32,
    /// Of an extension, `[pkg.name]`.
    pub(super) json_name: String,
    pub(super) name: Option<String>,
    pub(super) form: Form,
    pub(super) kind: Declared,
    pub(super) is_group: bool,
    pub(super) oneof: Option<usize>,
}

impl Declaration {
    pub(super) fn field(message: &MessageDescriptor, field: &FieldDescriptor) -> Self {
        let oneof = field.containing_oneof().filter(|oneof| !oneof.is_synthetic());
        Self {
            number: field.number(),
            json_name: field.json_name().to_owned(),
            name: Some(field.name().to_owned()),
            form: match field {
                field if field.is_map() => Form::Map,
                field if field.is_list() => Form::List { packed: field.is_packed() },
                field => Form::Single { implicit: !field.supports_presence() },
            },
            kind: field.kind(),
            is_group: field.is_group(),
            oneof: oneof.and_then(|oneof| message.oneofs().position(|other| other == oneof)),
        }
    }

    pub(super) fn extension(extension: &ExtensionDescriptor) -> Self {
        Self {
            number: extension.number(),
            json_name: extension.json_name().to_owned(),
            name: None,
            form: match extension {
                extension if extension.is_map() => Form::Map,
                extension if extension.is_list() => Form::List { packed: extension.is_packed() },
                _ => Form::Single { implicit: false },
            },
            kind: extension.kind(),
            is_group: extension.is_group(),
            oneof: None,
        }
    }
}
