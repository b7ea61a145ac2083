//! What the fields of a message are in JSON: their names, what of them a caller gives and what the path gives already.

use accord_api::google::api::FieldBehavior;
use accord_contract::behaviors;
use prost_reflect::prost_types::FieldOptions;
use prost_reflect::{FieldDescriptor, MessageDescriptor};

/// How messages are written. Requests may be written in any form; they are shown in that of the answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Form {
    /// With the names of the proto file.
    pub(crate) proto_names: bool,
    /// With the numbers of enums.
    pub(crate) enum_numbers: bool,
    /// As a caller gives them, who has to give what is REQUIRED. An answer leaves out whatever is at its default.
    pub(crate) is_request: bool,
}

impl Form {
    /// The name of a member.
    pub(crate) fn name(self, field: &FieldDescriptor) -> &str {
        if self.proto_names { field.name() } else { field.json_name() }
    }
}

/// Whether callers have to give a field. Of fields that exclude each other, one is enough.
pub(crate) fn is_required(field: &FieldDescriptor) -> bool {
    field.containing_oneof().is_none_or(|oneof| oneof.is_synthetic()) && is(field, FieldBehavior::Required)
}

/// Whether only answers have the field.
pub(crate) fn is_output_only(field: &FieldDescriptor) -> bool {
    is(field, FieldBehavior::OutputOnly)
}

/// Whether only requests have the field.
pub(crate) fn is_input_only(field: &FieldDescriptor) -> bool {
    is(field, FieldBehavior::InputOnly)
}

/// Whether `google.api.field_behavior` says this of the field.
fn is(field: &FieldDescriptor, behavior: FieldBehavior) -> bool {
    behaviors(field).contains(&behavior)
}

/// Whether the option `deprecated` says that callers should leave the field.
pub(crate) fn is_deprecated(field: &FieldDescriptor) -> bool {
    field.field_descriptor_proto().options.as_ref().is_some_and(FieldOptions::deprecated)
}

/// What of a message is given already: paths of fields, by their proto names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken(Vec<Vec<String>>);

impl Taken {
    /// These paths, such as `product.id`.
    pub(crate) fn new<'a>(paths: impl Iterator<Item = &'a str>) -> Self {
        Self(paths.map(|path| path.split('.').map(str::to_owned).collect()).collect())
    }

    /// These and another one.
    pub(crate) fn and(mut self, path: &str) -> Self {
        self.0.extend(Self::new(std::iter::once(path)).0);
        self
    }

    /// Nothing is given.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether nothing more can be given of the field: itself, or what excludes it, is given.
    pub(crate) fn has(&self, field: &FieldDescriptor) -> bool {
        let excludes = |name: &str| {
            let oneof = field.containing_oneof().filter(|oneof| !oneof.is_synthetic());
            name != field.name() && oneof.is_some_and(|oneof| oneof.fields().any(|other| other.name() == name))
        };
        self.0.iter().any(|path| match &path[..] {
            [only] => only == field.name() || excludes(only),
            [first, ..] => excludes(first),
            [] => false,
        })
    }

    /// What is given within a field.
    pub(crate) fn within(&self, field: &FieldDescriptor) -> Self {
        let inner = self.0.iter().filter(|path| path.len() > 1 && path[0] == field.name());
        Self(inner.map(|path| path[1..].to_vec()).collect())
    }
}

/// The groups of fields that exclude each other, each with its name.
pub(crate) fn oneofs(message: &MessageDescriptor) -> Vec<(String, Vec<FieldDescriptor>)> {
    let declared = message.oneofs().filter(|oneof| !oneof.is_synthetic());
    declared.map(|oneof| (oneof.name().to_owned(), oneof.fields().collect())).collect()
}
