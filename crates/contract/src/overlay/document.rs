//! The TOML of an overlay, read along the descriptors of the vocabulary so that every mistake has its line.

use std::time::Duration;

use accord_api::google::api::HttpRule;
use prost_reflect::{DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{HttpOverlay, Rule, SLIP, Selector};
use crate::finding::Finding;
use crate::method::IdempotencyLevel;
use crate::options::{our, policy_type};

type TomlEntry<'t, 'i> = (&'t Spanned<std::borrow::Cow<'i, str>>, &'t Spanned<DeValue<'i>>);

pub(super) fn read(file: &str, text: &str) -> Result<Vec<Rule>, Vec<Finding>> {
    let mut reader = Reader { file, text, findings: Vec::new() };
    let rules = match DeTable::parse(text) {
        Ok(document) => reader.rules(document.get_ref()),
        Err(error) => {
            let start = error.span().map_or(0, |span| span.start);
            reader.refuse(start, "overlay", error.message().to_owned(), "mend the TOML");
            Vec::new()
        }
    };
    if reader.findings.is_empty() { Ok(rules) } else { Err(reader.findings) }
}

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    findings: Vec<Finding>,
}

impl Reader<'_> {
    fn rules(&mut self, document: &DeTable<'_>) -> Vec<Rule> {
        let mut rules = Vec::new();
        for (key, value) in document {
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("rule", DeValue::Array(elements)) => {
                    for element in elements {
                        rules.extend(self.rule(element));
                    }
                }
                ("rule", _) => self.refuse(value.span().start, "rule", "is not an array of tables", "write `[[rule]]`"),
                (name, _) => self.unknown_key(key.span().start, name, "`rule`"),
            }
        }
        rules
    }

    fn rule(&mut self, element: &Spanned<DeValue<'_>>) -> Option<Rule> {
        let start = element.span().start;
        let DeValue::Table(table) = element.get_ref() else {
            self.refuse(start, "rule", "is not a table", "write `[[rule]]`");
            return None;
        };
        let (mut selector, mut policy, mut http, mut idempotency_level, mut required) = (None, None, None, None, None);
        for entry in table {
            match entry.0.get_ref().as_ref() {
                "selector" => selector = self.selector(entry.1),
                "policy" => policy = self.message(entry, "", &policy_type()),
                "http" => http = self.http(entry),
                "idempotency_level" => idempotency_level = self.level(entry.1),
                "required" => required = self.required(entry.1),
                name => {
                    let known = "`selector`, `policy`, `http`, `idempotency_level` and `required`";
                    self.unknown_key(entry.0.span().start, name, known);
                }
            }
        }
        if !table.contains_key("selector") {
            self.refuse(start, "selector", "is missing", "say which methods the rule is for");
        }
        let line = self.line(table.get("selector").map_or(start, |value| value.span().start));
        Some(Rule { line, selector: selector?, policy, http, idempotency_level, required })
    }

    fn http(&mut self, entry: TomlEntry<'_, '_>) -> Option<HttpOverlay> {
        if let DeValue::Boolean(false) = entry.1.get_ref() {
            return Some(HttpOverlay::Dropped);
        }
        let rule = self.message(entry, "http.", &our("google.api.HttpRule"))?;
        rule.transcode_to::<HttpRule>().ok().map(|rule| HttpOverlay::Rule(Box::new(rule)))
    }

    fn required(&mut self, value: &Spanned<DeValue<'_>>) -> Option<bool> {
        if let DeValue::Boolean(required) = value.get_ref() {
            return Some(*required);
        }
        let remedy = "write false where fields declared REQUIRED need not be set, or true";
        self.refuse(value.span().start, "required", "is neither true nor false", remedy);
        None
    }

    fn selector(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Selector> {
        let selector = value.get_ref().as_str().and_then(Selector::parse);
        if selector.is_none() {
            let remedy = "write `pkg.Service/Method`, `pkg.Service/Get*`, `pkg.Service/*`, `pkg.*` or `*`";
            self.refuse(value.span().start, "selector", "selects nothing that can exist", remedy);
        }
        selector
    }

    fn level(&mut self, value: &Spanned<DeValue<'_>>) -> Option<IdempotencyLevel> {
        match value.get_ref().as_str() {
            Some("IDEMPOTENCY_UNKNOWN") => Some(IdempotencyLevel::Unknown),
            Some("NO_SIDE_EFFECTS") => Some(IdempotencyLevel::NoSideEffects),
            Some("IDEMPOTENT") => Some(IdempotencyLevel::Idempotent),
            _ => {
                let remedy = "write \"NO_SIDE_EFFECTS\", \"IDEMPOTENT\" or \"IDEMPOTENCY_UNKNOWN\"";
                self.refuse(value.span().start, "idempotency_level", "is not a level", remedy);
                None
            }
        }
    }

    fn message(&mut self, entry: TomlEntry<'_, '_>, prefix: &str, kind: &MessageDescriptor) -> Option<DynamicMessage> {
        let option = entry.0.get_ref();
        let DeValue::Table(table) = entry.1.get_ref() else {
            self.refuse(entry.1.span().start, option.as_ref(), "is not a table", "write `{ name = value }`");
            return None;
        };
        Some(self.table(table, prefix, kind))
    }

    fn table(&mut self, table: &DeTable<'_>, prefix: &str, kind: &MessageDescriptor) -> DynamicMessage {
        let mut message = DynamicMessage::new(kind.clone());
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let option = format!("{prefix}{name}");
            let Some(field) = kind.get_field_by_name(name) else {
                let known: Vec<_> = kind.fields().map(|field| format!("`{}`", field.name())).collect();
                self.unknown_key(key.span().start, &option, &known.join(", "));
                continue;
            };
            if let Some(rival) = rival(&message, &field) {
                let problem = format!("stands beside `{rival}`, and only one of them can hold");
                self.refuse(key.span().start, option, problem, "keep one");
                continue;
            }
            if let Some(value) = self.field(value, &option, &field) {
                message.set_field(&field, value);
                if !message.has_field(&field) {
                    let problem = "is empty or zero, which says nothing: a weaker layer would still hold";
                    let remedy = "write a value, leave the key out, or name it in the policy's `unset`";
                    self.refuse(key.span().start, option, problem, remedy);
                }
            }
        }
        message
    }

    fn field(&mut self, value: &Spanned<DeValue<'_>>, option: &str, field: &FieldDescriptor) -> Option<Value> {
        if !field.is_list() {
            return self.value(value, option, &field.kind());
        }
        let DeValue::Array(elements) = value.get_ref() else {
            self.refuse(value.span().start, option, "is not a list", "write `[value, …]`");
            return None;
        };
        let read = elements.iter().filter_map(|element| self.value(element, option, &field.kind()));
        Some(Value::List(read.collect()))
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, option: &str, kind: &Kind) -> Option<Value> {
        let read = match (kind, value.get_ref()) {
            (Kind::Message(message), DeValue::String(text)) if message.full_name() == "google.protobuf.Duration" => {
                duration(text).and_then(|duration| reflected(message, &duration))
            }
            (Kind::Message(message), DeValue::Table(table)) if message.full_name() != "google.protobuf.Duration" => {
                Some(Value::Message(self.table(table, &format!("{option}."), message)))
            }
            (Kind::Enum(names), DeValue::String(text)) => number(names, text).map(Value::EnumNumber),
            (Kind::Bool, DeValue::Boolean(flag)) => Some(Value::Bool(*flag)),
            (Kind::String, DeValue::String(text)) => Some(Value::String(text.to_string())),
            (Kind::Uint32, DeValue::Integer(text)) => {
                u32::from_str_radix(text.as_str(), text.radix()).ok().map(Value::U32)
            }
            (Kind::Uint64, DeValue::Integer(text)) => {
                u64::from_str_radix(text.as_str(), text.radix()).ok().map(Value::U64)
            }
            _ => None,
        };
        if read.is_none() {
            self.refuse(value.span().start, option, format!("is not {}", wanted(kind)), "write one");
        }
        read
    }

    fn unknown_key(&mut self, start: usize, option: &str, known: &str) {
        let word = option.rsplit('.').next().unwrap_or(option);
        // They stand in backticks.
        let words = known.split('`').skip(1).step_by(2).map(|known| (strsim::damerau_levenshtein(known, word), known));
        let remedy = match words.filter(|(distance, _)| *distance <= SLIP).min() {
            Some((_, meant)) => format!("did you mean `{meant}`? Known here: {known}"),
            None => format!("known here: {known}"),
        };
        self.refuse(start, option, "is no key of an overlay", remedy);
    }

    fn refuse(
        &mut self,
        start: usize,
        option: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let place = format!("{}:{}", self.file, self.line(start));
        self.findings.push(Finding::error(place, option, problem, remedy));
    }

    fn line(&self, start: usize) -> usize {
        self.text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1
    }
}

fn rival(message: &DynamicMessage, field: &FieldDescriptor) -> Option<String> {
    let oneof = field.containing_oneof()?;
    let rival = oneof.fields().find(|member| message.has_field(member))?;
    Some(rival.name().to_owned())
}

/// `1.5s` as proto-JSON writes it, or a longer form such as `5m 30s`. A sign is kept, to be refused with its method.
fn duration(text: &str) -> Option<prost_types::Duration> {
    let (negative, size) = text.strip_prefix('-').map_or((false, text), |size| (true, size));
    let seconds = size.strip_suffix('s').and_then(|seconds| seconds.parse::<f64>().ok());
    let duration = match seconds {
        Some(seconds) => Duration::try_from_secs_f64(seconds).ok()?,
        None => humantime::parse_duration(size).ok()?,
    };
    let duration = prost_types::Duration::try_from(duration).ok()?;
    let sign = if negative { -1 } else { 1 };
    Some(prost_types::Duration { seconds: i64::from(sign) * duration.seconds, nanos: sign * duration.nanos })
}

fn reflected(kind: &MessageDescriptor, duration: &prost_types::Duration) -> Option<Value> {
    let mut message = DynamicMessage::new(kind.clone());
    message.transcode_from(duration).ok()?;
    Some(Value::Message(message))
}

/// By the whole name, or by what follows the enum's prefix.
fn number(names: &EnumDescriptor, text: &str) -> Option<i32> {
    let zero = names.default_value();
    let prefix = zero.name().strip_suffix("UNSPECIFIED").unwrap_or_default();
    let value = names.values().find(|value| value.name() == text || value.name().strip_prefix(prefix) == Some(text))?;
    Some(value.number())
}

fn wanted(kind: &Kind) -> String {
    match kind {
        Kind::Message(message) if message.full_name() == "google.protobuf.Duration" => {
            "a duration such as \"300ms\" or \"5s\"".to_owned()
        }
        Kind::Message(_) => "a table".to_owned(),
        Kind::Enum(names) => {
            let zero = names.default_value();
            let prefix = zero.name().strip_suffix("UNSPECIFIED").unwrap_or_default();
            let short = |name: &str| name.strip_prefix(prefix).unwrap_or(name).to_owned();
            let names: Vec<_> = names.values().skip(1).map(|value| short(value.name())).collect();
            format!("one of {}", names.join(", "))
        }
        Kind::Bool => "true or false".to_owned(),
        Kind::String => "a string".to_owned(),
        _ => "a whole number within range".to_owned(),
    }
}
