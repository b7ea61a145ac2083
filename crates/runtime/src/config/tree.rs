//! The configuration before it has types: a tree in which every key and value knows where it comes from.

use std::{collections::BTreeMap, ffi::OsStr, path::Path, sync::Arc};

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
    pub(super) fn empty() -> Self {
        Self { origin: Origin::Default, content: Content::Table(BTreeMap::new()) }
    }

    /// Takes over a variable that begins with the prefix: `PREFIX__A__B` is the key `a.b`.
    pub(super) fn overlay_variable(&mut self, prefix: &str, name: &OsStr, value: &OsStr) -> Result<(), ConfigError> {
        let lossy = name.to_string_lossy();
        let Some(path) = lossy.strip_prefix(prefix).and_then(|rest| rest.strip_prefix("__")) else {
            return Ok(());
        };
        let origin = Origin::Variable(lossy.as_ref().into());
        let Some(text) = value.to_str() else {
            return Err(refused(origin, "its value is not UTF-8", "write it in UTF-8"));
        };
        let path = path.to_lowercase();
        let keys: Vec<&str> = path.split("__").collect();
        if keys.iter().any(|key| key.is_empty()) {
            return Err(refused(origin, "it names no key", format!("write it like {prefix}__SECTION__KEY")));
        }
        self.put(&keys, Self { origin, content: Content::Text(text.to_owned()) })
    }

    /// Takes over what was given with a flag.
    pub(super) fn overlay_flag(&mut self, key: &str, flag: &'static str, value: &Value) -> Result<(), ConfigError> {
        let keys: Vec<&str> = key.split('.').collect();
        self.put(&keys, Self::from_value(value, &Origin::Flag(flag)))
    }

    fn put(&mut self, keys: &[&str], node: Self) -> Result<(), ConfigError> {
        let Some((first, rest)) = keys.split_first() else {
            *self = node;
            return Ok(());
        };
        let Content::Table(entries) = &mut self.content else {
            let problem =
                format!("it sets {first:?} in a section that is already given as one value ({})", self.origin);
            return Err(refused(node.origin, problem, "give the section in one place, or key by key"));
        };
        let key = node.origin.clone();
        let empty = || Self { origin: key.clone(), content: Content::Table(BTreeMap::new()) };
        let entry = entries.entry((*first).to_owned()).or_insert_with(|| Entry { key: key.clone(), value: empty() });
        entry.value.put(rest, node)
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
    let content = table_content(table.get_ref(), &at);
    content.map(|content| Node { origin, content })
}

fn table_content(table: &DeTable<'_>, at: &impl Fn(usize) -> Origin) -> Result<Content, ConfigError> {
    let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
        let name: &str = AsRef::<str>::as_ref(key.get_ref() as &std::borrow::Cow<'_, str>);
        Ok((name.to_owned(), Entry { key: at(key.span().start), value: node(value, at)? }))
    };
    table.iter().map(entry).collect::<Result<_, _>>().map(Content::Table)
}

fn node(value: &Spanned<DeValue<'_>>, at: &impl Fn(usize) -> Origin) -> Result<Node, ConfigError> {
    let origin = at(value.span().start);
    let content = match value.get_ref() {
        DeValue::Table(table) => table_content(table, at)?,
        DeValue::Array(items) => Content::Array(items.iter().map(|item| node(item, at)).collect::<Result<_, _>>()?),
        DeValue::String(text) => Content::Scalar(Value::String(text.clone().into_owned())),
        DeValue::Boolean(truth) => Content::Scalar(Value::Boolean(*truth)),
        DeValue::Datetime(datetime) => Content::Scalar(Value::Datetime(*datetime)),
        DeValue::Integer(integer) => {
            let number = i64::from_str_radix(integer.as_str(), integer.radix());
            Content::Scalar(Value::Integer(number.map_err(|_| too_large(&origin))?))
        }
        DeValue::Float(float) => Content::Scalar(Value::Float(float.as_str().parse().map_err(|_| too_large(&origin))?)),
    };
    Ok(Node { origin, content })
}

fn too_large(origin: &Origin) -> ConfigError {
    refused(origin.clone(), "this number can't be held", "write a smaller one")
}

pub(super) fn refused(origin: Origin, problem: impl Into<String>, remedy: impl Into<String>) -> ConfigError {
    ConfigError::Refused { origin, problem: problem.into(), remedy: remedy.into() }
}
