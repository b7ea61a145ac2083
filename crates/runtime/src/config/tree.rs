//! The configuration before it has types: a tree in which every key and value knows where it comes from.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use toml::{
    Spanned, Value,
    de::{DeTable, DeValue},
};

use super::{ConfigError, origin::Origin};

/// A value and its origin.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) origin: Origin,
    pub(super) content: Content,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Table(BTreeMap<String, Entry>),
    Array(Vec<Node>),
    /// A value with TOML's types.
    Scalar(Value),
    /// A variable's text, which gets its type from the key it is read for.
    Text(String),
}

/// A key's value, and where the key itself stands.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: Origin,
    pub(super) value: Node,
}

impl Node {
    /// Where the key with this path stands, or the nearest section around it.
    pub(super) fn place(&self, path: &str) -> &Origin {
        let mut here = self;
        for name in path.split('.') {
            let next = match &here.content {
                Content::Table(entries) => entries.get(name).map(|entry| &entry.value),
                Content::Array(items) => name.parse::<usize>().ok().and_then(|index| items.get(index)),
                _ => None,
            };
            let Some(next) = next.filter(|next| next.origin != Origin::Default || here.origin == Origin::Default)
            else {
                break;
            };
            here = next;
        }
        &here.origin
    }

    /// The text of a variable as the TOML value it looks like.
    pub(super) fn typed(&self) -> Option<Self> {
        let Content::Text(text) = &self.content else {
            return None;
        };
        let table: toml::Table = toml::from_str(&format!("value = {text}")).ok()?;
        // More than one key means that the text broke out of the value.
        let value = table.get("value").filter(|_| table.len() == 1)?;
        Some(Self::from_value(value, &self.origin))
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) | Content::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// A tree whose every node has the same origin.
    pub(super) fn from_value(value: &Value, origin: &Origin) -> Self {
        let content = match value {
            Value::Table(table) => {
                let entry = |value| Entry { key: origin.clone(), value: Self::from_value(value, origin) };
                Content::Table(table.iter().map(|(key, value)| (key.clone(), entry(value))).collect())
            }
            Value::Array(items) => Content::Array(items.iter().map(|item| Self::from_value(item, origin)).collect()),
            scalar => Content::Scalar(scalar.clone()),
        };
        Self { origin: origin.clone(), content }
    }
}

/// Reads a file's text.
pub(super) fn parse(file: &Path, text: &str) -> Result<Node, ConfigError> {
    let file: Arc<Path> = file.into();
    let at = |offset| Origin::in_file(&file, text, offset);
    let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        origin: at(error.span().map_or(0, |span| span.start)),
        // Only the parser's words: its full report would repeat the line, and with it perhaps a secret.
        problem: error.message().replace('\n', ", "),
    })?;
    let origin = at(table.span().start);
    Ok(Node { origin, content: table_content(table.get_ref(), &at) })
}

fn table_content(table: &DeTable<'_>, at: &impl Fn(usize) -> Origin) -> Content {
    let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
        let name: &str = AsRef::<str>::as_ref(key.get_ref() as &std::borrow::Cow<'_, str>);
        (name.to_owned(), Entry { key: at(key.span().start), value: node(value, at) })
    };
    Content::Table(table.iter().map(entry).collect())
}

fn node(value: &Spanned<DeValue<'_>>, at: &impl Fn(usize) -> Origin) -> Node {
    let origin = at(value.span().start);
    let content = match value.get_ref() {
        DeValue::Table(table) => table_content(table, at),
        DeValue::Array(items) => Content::Array(items.iter().map(|item| node(item, at)).collect()),
        DeValue::String(text) => Content::Scalar(Value::String(text.clone().into_owned())),
        DeValue::Boolean(truth) => Content::Scalar(Value::Boolean(*truth)),
        DeValue::Datetime(datetime) => Content::Scalar(Value::Datetime(*datetime)),
        DeValue::Integer(integer) => {
            let number = i64::from_str_radix(integer.as_str(), integer.radix());
            // No key takes a number beyond that, and the key is what can say what it takes.
            Content::Scalar(number.map_or(Value::Float(f64::INFINITY), Value::Integer))
        }
        DeValue::Float(float) => Content::Scalar(Value::Float(float.as_str().parse().unwrap_or(f64::NAN))),
    };
    Node { origin, content }
}

pub(super) fn refused(origin: Origin, problem: impl Into<String>, remedy: impl Into<String>) -> ConfigError {
    ConfigError::Refused { origin, problem: problem.into(), remedy: remedy.into() }
}
