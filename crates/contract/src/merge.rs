//! Layers of a policy, merged field by field, with the source of every field.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use accord_api::accord::policy::v1::MethodPolicy;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage, Value};

use crate::field_type::scalar_text;
use crate::method::FieldSource;
use crate::options::policy_type;

const DURATION: &str = "google.protobuf.Duration";

/// The field by which a layer takes back what weaker ones say.
pub(crate) const UNSET: &str = "unset";

/// A policy in the making: filled from the strongest layer to the weakest.
pub(crate) struct Merged {
    policy: DynamicMessage,
    origins: Origins,
}

/// The layers that decide, by the paths of fields.
#[derive(Default)]
struct Origins {
    /// Whose values hold.
    set: BTreeMap<String, String>,
    /// Behind whom nothing holds.
    unset: BTreeMap<String, String>,
}

impl Merged {
    pub(crate) fn new() -> Self {
        Self { policy: DynamicMessage::new(policy_type()), origins: Origins::default() }
    }

    /// Takes from a weaker layer what no stronger one has set or unset. Returns which of the paths that it unsets lead to no field.
    pub(crate) fn fill(&mut self, layer: &DynamicMessage, source: &str) -> Vec<String> {
        fill(&mut self.policy, layer, "", source, &mut self.origins);
        let (known, unknown) = unset(layer).into_iter().partition::<Vec<_>, _>(|path| is_path(&policy_type(), path));
        for path in known {
            self.origins.unset.entry(path).or_insert_with(|| source.to_owned());
        }
        unknown
    }

    /// Takes from the weakest layer what no other has set: it holds where one has unset what others say.
    pub(crate) fn fill_defaults(&mut self, defaults: &DynamicMessage) {
        let unset = std::mem::take(&mut self.origins.unset);
        fill(&mut self.policy, defaults, "", FieldSource::DEFAULT, &mut self.origins);
        self.origins.unset = unset;
    }

    /// Whether some layer has the section, so that the defaults of its members apply.
    pub(crate) fn has(&self, section: &str) -> bool {
        self.policy.has_field_by_name(section)
    }

    /// The layer that an option comes from, or the first member of a section.
    pub(crate) fn source(&self, option: &str) -> Option<&str> {
        let of_layer = |(path, source): &(&String, &String)| is_within(path, option) && *source != FieldSource::DEFAULT;
        let mut said = self.origins.set.iter().filter(of_layer);
        said.next().map(|(_, source)| source.as_str())
    }

    /// What is merged so far.
    pub(crate) fn message(&self) -> MethodPolicy {
        self.policy.transcode_to().expect("a merged policy is a message of its own type")
    }

    /// Every field that is set, with its value in `effective` and the layer it comes from; then those that a layer unset.
    pub(crate) fn sources(&self, effective: &DynamicMessage) -> Vec<FieldSource> {
        let mut found = Vec::new();
        explain(effective, "", &self.origins.set, &mut found);
        let is_set = |path: &str| found.iter().any(|it| is_within(&it.field, path));
        let unset = self.origins.unset.iter().filter(|(path, _)| !is_set(path));
        let unset = unset.map(|(path, source)| FieldSource {
            field: path.clone(),
            value: UNSET.to_owned(),
            source: source.clone(),
        });
        let unset: Vec<_> = unset.collect();
        found.extend(unset);
        found
    }
}

/// Whether a path is this one, or leads on from it.
fn is_within(path: &str, section: &str) -> bool {
    path.strip_prefix(section).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The paths that a layer unsets.
fn unset(layer: &DynamicMessage) -> Vec<String> {
    let paths = layer.get_field_by_name(UNSET);
    let paths = paths.as_ref().and_then(|paths| paths.as_list()).into_iter().flatten();
    paths.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Whether layers are merged by what is at a path. One of several that exclude each other is none: without it, another could hold
/// that a weaker layer has.
fn is_path(kind: &MessageDescriptor, path: &str) -> bool {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let Some(field) = kind.get_field_by_name(first).filter(|field| field.name() != UNSET) else { return false };
    if field.containing_oneof().is_some_and(|oneof| !oneof.is_synthetic()) {
        return false;
    }
    match (rest, field.kind()) {
        (None, _) => true,
        (Some(rest), Kind::Message(section)) => is_section(&field) && is_path(&section, rest),
        (Some(_), _) => false,
    }
}

fn fill(target: &mut DynamicMessage, layer: &DynamicMessage, prefix: &str, source: &str, origins: &mut Origins) {
    for (field, value) in layer.fields().filter(|(field, _)| field.name() != UNSET) {
        let path = format!("{prefix}{}", field.name());
        if origins.unset.contains_key(&path) {
            continue;
        }
        if let (Value::Message(section), true) = (value, is_section(&field)) {
            if let Some(target) = target.get_field_mut(&field).as_message_mut() {
                fill(target, section, &format!("{path}."), source, origins);
            }
        } else if !is_decided(target, &field) {
            target.set_field(&field, value.clone());
            origins.set.insert(path, source.to_owned());
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
