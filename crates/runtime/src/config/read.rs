//! Reads types from the tree, so that a refusal carries the origin of the very value that was refused.
//!
//! A variable is only text; here, where the wanted type is known, it becomes a string where a string is wanted and is
//! read as a TOML value elsewhere.

use std::{
    collections::{BTreeMap, btree_map},
    fmt,
    iter::Enumerate,
    slice,
};

use serde::{
    Deserializer, de,
    de::{
        DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
        value::{MapAccessDeserializer, StrDeserializer},
    },
    forward_to_deserialize_any,
};
use toml::Value;

use super::{
    ConfigError,
    origin::Origin,
    suggest::nearest,
    tree::{Content, Entry, Node},
};

/// What is wrong, and where, as soon as that is known.
#[derive(Debug)]
pub(super) struct Refusal {
    problem: String,
    remedy: String,
    origin: Option<Origin>,
    /// The names on the way to the key, the innermost first.
    path: Vec<String>,
}

impl Refusal {
    fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { problem: problem.into(), remedy: remedy.into(), origin: None, path: Vec::new() }
    }

    /// The same, seen from the section around it.
    fn within(mut self, name: &str) -> Self {
        self.path.push(name.to_owned());
        self
    }

    /// The innermost origin stays.
    fn at(mut self, origin: &Origin) -> Self {
        self.origin.get_or_insert_with(|| origin.clone());
        self
    }

    pub(super) fn into_error(self) -> ConfigError {
        let Self { problem, remedy, origin, mut path } = self;
        path.reverse();
        let problem = if path.is_empty() { problem } else { format!("`{}`: {problem}", path.join(".")) };
        ConfigError::Refused { origin: origin.unwrap_or(Origin::Default), problem, remedy }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}; {}", self.problem, self.remedy)
    }
}

impl std::error::Error for Refusal {}

/// What somebody who knows TOML calls what serde expected.
fn wanted(expected: &dyn de::Expected) -> String {
    let words = expected.to_string();
    match words.as_str() {
        "u8" | "u16" | "u32" | "u64" | "usize" | "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list in brackets".to_owned(),
        "a string" | "path string" => "text in quotes".to_owned(),
        "a map" => "a section with its keys".to_owned(),
        _ if words.starts_with("struct ") => "a section with its keys".to_owned(),
        _ => words,
    }
}

/// Whether it has parts: a section or a list.
fn is_composite(expected: &dyn de::Expected) -> bool {
    let words = expected.to_string();
    matches!(words.as_str(), "a map" | "a sequence") || words.starts_with("struct ")
}

/// What they call what was found.
fn found(unexpected: Unexpected<'_>) -> String {
    match unexpected {
        Unexpected::Bool(truth) => truth.to_string(),
        Unexpected::Unsigned(number) => number.to_string(),
        Unexpected::Signed(number) => number.to_string(),
        Unexpected::Float(number) if number.is_infinite() => "a number beyond all bounds".to_owned(),
        Unexpected::Float(number) => number.to_string(),
        Unexpected::Str("") => "empty".to_owned(),
        Unexpected::Str(text) => format!("the text {text:?}"),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a section".to_owned(),
        other => other.to_string(),
    }
}

impl de::Error for Refusal {
    /// A problem, and after a semicolon what to do about it.
    fn custom<T: fmt::Display>(problem: T) -> Self {
        let words = problem.to_string();
        let (problem, remedy) = words.split_once("; ").unwrap_or((&words, "correct the value"));
        Self::new(problem, remedy)
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let found = match unexpected {
            // Where a section or a list is wanted, the text may be a secret that belongs under one of its keys.
            Unexpected::Str(text) if !text.is_empty() && is_composite(expected) => "text".to_owned(),
            unexpected => found(unexpected),
        };
        Self::new(format!("this is {found}"), format!("write {}", wanted(expected)))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(unexpected, expected)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new("there is no such key", meant(field, expected, "the keys here are"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("this is the text {variant:?}"), meant(variant, expected, "write one of"))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("the key `{field}` is missing"), "add it to this section")
    }
}

fn meant(given: &str, known: &[&'static str], all: &str) -> String {
    let all = format!("{all} {}", list(known));
    nearest(given, known.iter().copied()).map_or(all.clone(), |near| format!("did you mean `{near}`? ({all})"))
}

fn list(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    if quoted.is_empty() { "nothing".to_owned() } else { quoted.join(", ") }
}

impl Node {
    fn visit<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Refusal> {
        match &self.content {
            Content::Table(entries) => visitor.visit_map(Entries::of(entries)),
            Content::Array(items) => visitor.visit_seq(Items(items.iter().enumerate())),
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
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        let value = match (self.text(), &self.content) {
            (Some(text), _) => visitor.visit_enum(IntoDeserializer::<Refusal>::into_deserializer(text)),
            (None, Content::Table(entries)) => visitor.visit_enum(MapAccessDeserializer::new(Entries::of(entries))),
            (None, _) => Err(Refusal::new("this is none of the choices", format!("write one of {}", list(variants)))),
        };
        value.map_err(|refusal| refusal.at(&self.origin))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct seq tuple tuple_struct
        map struct identifier ignored_any
    }
}

/// A list's members, each of which is refused where it stands.
struct Items<'a>(Enumerate<slice::Iter<'a, Node>>);

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Refusal;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Refusal> {
        let Some((index, node)) = self.0.next() else { return Ok(None) };
        seed.deserialize(node).map_err(|refusal| refusal.at(&node.origin).within(&index.to_string())).map(Some)
    }
}

/// A section's keys and values. What is refused after it has been read, as out of bounds, is refused where it stands.
struct Entries<'a> {
    left: btree_map::Iter<'a, String, Entry>,
    value: Option<(&'a str, &'a Node)>,
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
        self.value = Some((name, &entry.value));
        seed.deserialize(Key { name, entry }).map_err(|refusal| refusal.at(&entry.key).within(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Refusal> {
        let (name, node) = self.value.take().ok_or_else(|| <Refusal as de::Error>::missing_field("value"))?;
        seed.deserialize(node).map_err(|refusal| refusal.at(&node.origin).within(name))
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
