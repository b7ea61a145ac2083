//! Examples of requests: what a caller has to give, and something of what it may give besides.

use accord_transcode::Known;
use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use crate::members::{Form, Taken, is_output_only, is_required};

/// How many members an example has that nobody has to give: it is read by people.
const OPTIONAL: usize = 40;

/// How deep messages stand in an example that nobody has to give.
const LEVELS: usize = 3;

/// A message as a request; none where it would have to hold itself without an end.
pub(crate) fn message(message: &MessageDescriptor, form: Form, taken: &Taken) -> Option<Value> {
    Example::new(form).message(message, taken)
}

/// The value of a field as the whole body of a request.
pub(crate) fn field(field: &FieldDescriptor, form: Form, taken: &Taken) -> Option<Value> {
    Example::new(form).value(field, taken)
}

/// The value of a field as a parameter, of a list one element; none of a message without a form of its own.
pub(crate) fn parameter(field: &FieldDescriptor, form: Form) -> Option<Value> {
    let mut example = Example::new(form);
    if field.is_map() || field.is_list() {
        return example.value(field, &Taken::default());
    }
    example.kind(field.name(), &field.kind(), &Taken::default())
}

struct Example {
    form: Form,
    optional: usize,
    /// The messages around what is shown now.
    above: Vec<String>,
}

impl Example {
    fn new(form: Form) -> Self {
        Self { form, optional: OPTIONAL, above: Vec::new() }
    }

    fn message(&mut self, message: &MessageDescriptor, taken: &Taken) -> Option<Value> {
        if let Some(known) = Known::of(message).filter(|known| *known != Known::HttpBody) {
            return self.known(known, message);
        }
        if self.above.iter().any(|name| name == message.full_name()) {
            return None;
        }
        self.above.push(message.full_name().to_owned());
        let members = self.members(message, taken);
        self.above.pop();
        members.map(Value::Object)
    }

    fn members(&mut self, message: &MessageDescriptor, taken: &Taken) -> Option<Map<String, Value>> {
        let (mut members, mut oneofs) = (Map::new(), Vec::new());
        let fields: Vec<_> = message.fields().filter(|field| !taken.has(field) && !is_output_only(field)).collect();
        for field in fields {
            let oneof = field.containing_oneof().filter(|oneof| !oneof.is_synthetic());
            let is_excluded = oneof.as_ref().is_some_and(|oneof| oneofs.contains(&oneof.name().to_owned()));
            let is_required = is_required(&field);
            if is_excluded || !(is_required || self.has_room()) {
                continue;
            }
            self.optional = self.optional.saturating_sub(usize::from(!is_required));
            match self.value(&field, &taken.within(&field)) {
                Some(value) => {
                    oneofs.extend(oneof.map(|oneof| oneof.name().to_owned()));
                    members.insert(self.form.name(&field).to_owned(), value);
                }
                None if is_required => return None,
                None => {}
            }
        }
        Some(members)
    }

    fn has_room(&self) -> bool {
        self.optional > 0 && self.above.len() <= LEVELS
    }

    fn value(&mut self, field: &FieldDescriptor, taken: &Taken) -> Option<Value> {
        let kind = field.kind();
        if field.is_map() {
            let (key, value) = (kind.as_message()?.get_field(1)?, kind.as_message()?.get_field(2)?);
            let key = match key.kind() {
                Kind::String => "key".to_owned(),
                kind => self.kind("key", &kind, taken)?.to_string().trim_matches('"').to_owned(),
            };
            return Some(Value::Object(Map::from_iter([(key, self.kind(value.name(), &value.kind(), taken)?)])));
        }
        let one = self.kind(field.name(), &kind, taken)?;
        Some(if field.is_list() { json!([one]) } else { one })
    }

    fn kind(&mut self, name: &str, kind: &Kind, taken: &Taken) -> Option<Value> {
        Some(match kind {
            Kind::Bool => json!(true),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 | Kind::Uint32 | Kind::Fixed32 => json!(1),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 | Kind::Uint64 | Kind::Fixed64 => json!("1"),
            Kind::Float | Kind::Double => json!(1.5),
            Kind::String => json!(name.replace('_', "-")),
            Kind::Bytes => json!("AQID"),
            Kind::Enum(declared) => self.enumeration(declared)?,
            Kind::Message(inner) => self.message(inner, taken)?,
        })
    }

    /// The first value that says something.
    fn enumeration(&self, declared: &EnumDescriptor) -> Option<Value> {
        if declared.full_name() == "google.protobuf.NullValue" {
            return Some(Value::Null);
        }
        let first = declared.values().find(|value| value.number() != 0).or_else(|| declared.values().next())?;
        Some(if self.form.enum_numbers { json!(first.number()) } else { json!(first.name()) })
    }

    fn known(&mut self, known: Known, message: &MessageDescriptor) -> Option<Value> {
        Some(match known {
            Known::Timestamp => json!("2026-01-31T12:00:00Z"),
            Known::Duration => json!("1.5s"),
            Known::FieldMask => json!("*"),
            Known::Value => json!("value"),
            Known::Any | Known::Empty => json!({}),
            Known::Only => {
                let field = message.fields().next()?;
                match () {
                    () if field.is_map() => json!({"key": "value"}),
                    () if field.is_list() => json!(["value"]),
                    () => self.kind("value", &field.kind(), &Taken::default())?,
                }
            }
            Known::HttpBody => return None,
        })
    }
}
