//! The schemas of all messages and enums that operations refer to, each made once.

mod messages;

use std::collections::{BTreeMap, VecDeque};

use accord_transcode::Known;
use prost_reflect::{EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use crate::comments::Comments;
use crate::component_names::{ComponentNames, suffix};
use crate::leaf;
use crate::members::{Form, Taken, is_deprecated, is_input_only, is_output_only};

/// What is still to be made.
enum Type {
    Message(MessageDescriptor),
    Enum(EnumDescriptor),
}

/// A schema that something refers to already.
struct Pending {
    name: String,
    upstream: String,
    form: Form,
    declared: Type,
}

/// The schemas, as they are asked for.
#[derive(Default)]
pub(crate) struct Schemas {
    names: ComponentNames,
    comments: Comments,
    components: BTreeMap<String, Value>,
    pending: VecDeque<Pending>,
    /// The upstream of what is described now.
    upstream: String,
}

impl Schemas {
    /// What is asked for from here on is of this upstream.
    pub(crate) fn set_upstream(&mut self, upstream: &str) {
        upstream.clone_into(&mut self.upstream);
    }

    /// What the proto says of the element at `path` of a file.
    pub(crate) fn comment(&mut self, file: &FileDescriptor, path: &[i32]) -> &str {
        self.comments.of(&self.upstream, file, path)
    }

    /// The schema of a message.
    pub(crate) fn message(&mut self, message: &MessageDescriptor, form: Form) -> Value {
        let own_form = Known::of(message).and_then(|known| leaf::known(known, message));
        own_form.unwrap_or_else(|| {
            let form = self.names.form(&self.upstream, message, form);
            self.refer(message.full_name(), &message.parent_file(), form, Type::Message(message.clone()))
        })
    }

    /// The schema of a message without what is given elsewhere.
    pub(crate) fn message_without(&mut self, message: &MessageDescriptor, form: Form, taken: &Taken) -> Value {
        if taken.is_empty() || Known::of(message).is_some() {
            return self.message(message, form);
        }
        messages::object(self, message, form, taken)
    }

    /// The schema of the value of a field, with what is said of the field.
    pub(crate) fn field(&mut self, field: &FieldDescriptor, form: Form, taken: &Taken) -> Value {
        let mut schema = match self.value(field, form, taken) {
            Value::Object(schema) => schema,
            _ => Map::new(),
        };
        let comment = self.comment(&field.parent_message().parent_file(), field.path());
        if !comment.is_empty() {
            schema.insert("description".to_owned(), comment.into());
        }
        let flags = [
            ("readOnly", is_output_only(field)),
            ("writeOnly", is_input_only(field)),
            ("deprecated", is_deprecated(field)),
        ];
        schema.extend(flags.into_iter().filter(|(_, holds)| *holds).map(|(flag, _)| (flag.to_owned(), true.into())));
        schema.into()
    }

    /// The schema of the value of a field, and nothing else.
    pub(crate) fn value(&mut self, field: &FieldDescriptor, form: Form, taken: &Taken) -> Value {
        if field.is_map() {
            let entry = field.kind().as_message().and_then(|entry| entry.get_field_by_name("value"));
            let values = entry.map_or(json!({}), |value| self.kind(&value.kind(), form, &Taken::default()));
            return json!({"type": "object", "additionalProperties": values});
        }
        if field.is_list() {
            return json!({"type": "array", "items": self.kind(&field.kind(), form, &Taken::default())});
        }
        self.kind(&field.kind(), form, taken)
    }

    /// The schema of one value.
    pub(crate) fn kind(&mut self, kind: &Kind, form: Form, taken: &Taken) -> Value {
        match kind {
            Kind::Message(message) => self.message_without(message, form, taken),
            Kind::Enum(declared) if declared.full_name() == "google.protobuf.NullValue" => json!({"type": "null"}),
            Kind::Enum(declared) => {
                let form = Form { enum_numbers: form.enum_numbers, ..Form::default() };
                self.refer(declared.full_name(), &declared.parent_file(), form, Type::Enum(declared.clone()))
            }
            scalar => leaf::scalar(scalar).unwrap_or_default(),
        }
    }

    /// A schema by its name, which is made later.
    fn refer(&mut self, full_name: &str, file: &FileDescriptor, form: Form, declared: Type) -> Value {
        let name = self.names.of(&self.upstream, full_name, file) + &suffix(form);
        if !self.components.contains_key(&name) {
            self.components.insert(name.clone(), Value::Null);
            self.pending.push_back(Pending { name: name.clone(), upstream: self.upstream.clone(), form, declared });
        }
        json!({"$ref": format!("#/components/schemas/{name}")})
    }

    /// All of them, in the order of their names.
    pub(crate) fn finish(mut self) -> Map<String, Value> {
        while let Some(next) = self.pending.pop_front() {
            self.set_upstream(&next.upstream);
            let schema = match next.declared {
                Type::Message(message) => messages::object(&mut self, &message, next.form, &Taken::default()),
                Type::Enum(declared) => messages::enumeration(&mut self, &declared, next.form),
            };
            self.components.insert(next.name, schema);
        }
        self.components.into_iter().collect()
    }
}
