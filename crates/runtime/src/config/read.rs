//! Reads types from the tree, so that a refusal carries the origin of the very value that was refused.
//!
//! A variable is only text; here, where the wanted type is known, it becomes a string where a string is wanted and is
//! read as a TOML value elsewhere.

use std::{
    collections::{BTreeMap, btree_map},
    fmt,
};

use serde::{
    Deserializer, de,
    de::{
        DeserializeSeed, IntoDeserializer, MapAccess, Unexpected, Visitor,
        value::{MapAccessDeserializer, SeqDeserializer, StrDeserializer},
    },
    forward_to_deserialize_any,
};
use toml::Value;

use super::{
    ConfigError,
    origin::Origin,
    tree::{Content, Entry, Node},
};

/// What is wrong, and where, as soon as that is known.
#[derive(Debug)]
pub(super) struct Refusal {
    problem: String,
    remedy: String,
    origin: Option<Origin>,
}

impl Refusal {
    fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { problem: problem.into(), remedy: remedy.into(), origin: None }
    }

    /// The innermost origin stays.
    fn at(mut self, origin: &Origin) -> Self {
        self.origin.get_or_insert_with(|| origin.clone());
        self
    }

    pub(super) fn into_error(self) -> ConfigError {
        let Self { problem, remedy, origin } = self;
        ConfigError::Refused { origin: origin.unwrap_or(Origin::Default), problem, remedy }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}; {}", self.problem, self.remedy)
    }
}

impl std::error::Error for Refusal {}

/// What to write instead, where the standard library's words would not tell a newcomer.
fn remedy(words: &str, usual: &str) -> String {
    let told = match words {
        _ if words.contains("socket address") => "write an address and a port, such as 127.0.0.1:8080",
        "a duration" => "write a duration with its unit, such as 30s or 5m",
        _ if words.starts_with("struct ") => "write a section with its keys",
        _ => usual,
    };
    told.to_owned()
}

impl de::Error for Refusal {
    fn custom<T: fmt::Display>(problem: T) -> Self {
        let problem = problem.to_string();
        let remedy = remedy(&problem, "correct the value");
        Self::new(problem, remedy)
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(format!("this is {unexpected}"), remedy(&expected.to_string(), &format!("write {expected}")))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let remedy = remedy(&expected.to_string(), &format!("write {expected}"));
        Self::new(format!("{unexpected} doesn't fit"), remedy)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("unknown key `{field}`"), format!("known here: {}", list(expected)))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("`{variant}` is none of the choices"), format!("write one of {}", list(expected)))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("the key `{field}` is missing"), "add it to this section")
    }
}

fn list(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    if quoted.is_empty() { "nothing".to_owned() } else { quoted.join(", ") }
}

impl Node {
    /// The text of a variable as the TOML value it looks like.
    fn typed(&self) -> Option<Self> {
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

    fn visit<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Refusal> {
        match &self.content {
            Content::Table(entries) => visitor.visit_map(Entries::of(entries)),
            Content::Array(items) => visitor.visit_seq(SeqDeserializer::new(items.iter())),
            Content::Text(text) => match self.typed() {
                Some(typed) => typed.visit(visitor),
                None => visitor.visit_str(text),
            },
            Content::Scalar(scalar) => match scalar {
                Value::String(text) => visitor.visit_str(text),
                Value::Integer(number) => visitor.visit_i64(*number),
                Value::Float(number) => visitor.visit_f64(*number),
                Value::Boolean(truth) => visitor.visit_bool(*truth),
                other => visitor.visit_string(other.to_string()),
            },
        }
    }
}

impl<'de> Deserializer<'de> for &Node {
    type Error = Refusal;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.visit(visitor).map_err(|refusal| refusal.at(&self.origin))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.text() {
            Some(text) => visitor.visit_str(text).map_err(|refusal: Refusal| refusal.at(&self.origin)),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_some(self).map_err(|refusal| refusal.at(&self.origin))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_newtype_struct(self).map_err(|refusal| refusal.at(&self.origin))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        let value = match (self.text(), &self.content) {
            (Some(text), _) => visitor.visit_enum(IntoDeserializer::<Refusal>::into_deserializer(text)),
            (None, Content::Table(entries)) => visitor.visit_enum(MapAccessDeserializer::new(Entries::of(entries))),
            (None, _) => Err(Refusal::new(format!("this is no {name}"), format!("write one of {}", list(variants)))),
        };
        value.map_err(|refusal| refusal.at(&self.origin))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct seq tuple tuple_struct
        map struct identifier ignored_any
    }
}

impl IntoDeserializer<'_, Refusal> for &Node {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// A section's keys and values. What is refused after it has been read, as out of bounds, is refused where it stands.
struct Entries<'a> {
    left: btree_map::Iter<'a, String, Entry>,
    value: Option<&'a Node>,
}

impl<'a> Entries<'a> {
    fn of(entries: &'a BTreeMap<String, Entry>) -> Self {
        Self { left: entries.iter(), value: None }
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Refusal;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Refusal> {
        let Some((name, entry)) = self.left.next() else { return Ok(None) };
        self.value = Some(&entry.value);
        seed.deserialize(Key { name, entry }).map_err(|refusal| refusal.at(&entry.key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Refusal> {
        let node = self.value.take().ok_or_else(|| <Refusal as de::Error>::missing_field("value"))?;
        seed.deserialize(node).map_err(|refusal| refusal.at(&node.origin))
    }
}

/// A key, which is refused at its own place.
struct Key<'a> {
    name: &'a str,
    entry: &'a Entry,
}

impl<'de> Deserializer<'de> for Key<'_> {
    type Error = Refusal;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        let name: StrDeserializer<'_, Refusal> = self.name.into_deserializer();
        name.deserialize_any(visitor).map_err(|refusal| refusal.at(&self.entry.key))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}
