//! Layers of a policy, merged field by field, with the source of every field.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use accord_api::accord::policy::v1::MethodPolicy;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, ReflectMessage, Value};

use crate::field_type::scalar_text;
use crate::method::FieldSource;
use crate::options::policy_type;

const DURATION: &str = "google.protobuf.Duration";

/// A policy in the making: filled from the strongest layer to the weakest.
pub(crate) struct Merged {
    policy: DynamicMessage,
    sources: BTreeMap<String, String>,
}

impl Merged {
    pub(crate) fn new() -> Self {
        Self { policy: DynamicMessage::new(policy_type()), sources: BTreeMap::new() }
    }

    /// Takes from a weaker layer what no stronger one has set.
    pub(crate) fn fill(&mut self, layer: &DynamicMessage, source: &str) {
        fill(&mut self.policy, layer, "", source, &mut self.sources);
    }

    /// Whether some layer has the section, so that the defaults of its members apply.
    pub(crate) fn has(&self, section: &str) -> bool {
        self.policy.has_field_by_name(section)
    }

    /// The layer that an option comes from, or the first member of a section.
    pub(crate) fn source(&self, option: &str) -> Option<&str> {
        let is_of = |path: &str| path.strip_prefix(option).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        let mut said = self.sources.iter().filter(|(path, source)| is_of(path) && *source != FieldSource::DEFAULT);
        said.next().map(|(_, source)| source.as_str())
    }

    /// What is merged so far.
    pub(crate) fn message(&self) -> MethodPolicy {
        self.policy.transcode_to().expect("a merged policy is a message of its own type")
    }

    /// Every field that is set, with its value in `effective` and the layer it comes from.
    pub(crate) fn sources(&self, effective: &DynamicMessage) -> Vec<FieldSource> {
        let mut found = Vec::new();
        explain(effective, "", &self.sources, &mut found);
        found
    }
}

fn fill(
    target: &mut DynamicMessage,
    layer: &DynamicMessage,
    prefix: &str,
    source: &str,
    sources: &mut BTreeMap<String, String>,
) {
    for (field, value) in layer.fields() {
        let path = format!("{prefix}{}", field.name());
        if let (Value::Message(section), true) = (value, is_section(&field)) {
            if let Some(target) = target.get_field_mut(&field).as_message_mut() {
                fill(target, section, &format!("{path}."), source, sources);
            }
        } else if !is_decided(target, &field) {
            target.set_field(&field, value.clone());
            sources.insert(path, source.to_owned());
        }
    }
}

/// A message that is merged member by member. A duration is one value.
fn is_section(field: &FieldDescriptor) -> bool {
    !field.is_list() && matches!(field.kind(), Kind::Message(message) if message.full_name() != DURATION)
}

/// The members of a oneof are one decision.
fn is_decided(target: &DynamicMessage, field: &FieldDescriptor) -> bool {
    match field.containing_oneof() {
        Some(oneof) => oneof.fields().any(|member| target.has_field(&member)),
        None => target.has_field(field),
    }
}

fn explain(message: &DynamicMessage, prefix: &str, sources: &BTreeMap<String, String>, found: &mut Vec<FieldSource>) {
    for (field, value) in message.fields() {
        let path = format!("{prefix}{}", field.name());
        match value {
            Value::Message(section) if is_section(&field) => explain(section, &format!("{path}."), sources, found),
            value => found.push(FieldSource {
                source: sources.get(&path).cloned().unwrap_or_else(|| "default".to_owned()),
                value: text(&field.kind(), value),
                field: path,
            }),
        }
    }
}

/// A value as text, for people.
pub(crate) fn text(kind: &Kind, value: &Value) -> String {
    match (kind, value) {
        (_, Value::List(elements)) => {
            let elements: Vec<_> = elements.iter().map(|element| text(kind, element)).collect();
            format!("[{}]", elements.join(", "))
        }
        (_, Value::Message(message)) if message.descriptor().full_name() == DURATION => duration(message),
        (_, Value::Message(message)) => {
            let fields =
                message.fields().map(|(field, value)| format!("{}: {}", field.name(), text(&field.kind(), value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        (Kind::Enum(names), Value::EnumNumber(number)) => {
            names.get_value(*number).map_or_else(|| number.to_string(), |value| value.name().to_owned())
        }
        (_, Value::String(text)) => format!("\"{text}\""),
        (kind, value) => scalar_text(value).map_or_else(|| format!("{kind:?}"), Cow::into_owned),
    }
}

fn duration(message: &DynamicMessage) -> String {
    match message.transcode_to::<prost_types::Duration>().map(Duration::try_from) {
        Ok(Ok(duration)) => humantime::format_duration(duration).to_string(),
        _ => "out of range".to_owned(),
    }
}
