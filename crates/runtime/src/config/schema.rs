//! Which keys a configuration has: asked of its types, so that a list of them can't fall behind.
//!
//! Each type says what it would read (a section with these keys, a list, text) before it reads anything. The walk asks key by
//! key, also for those whose default is to be absent.

use std::{cell::RefCell, fmt};

use serde::{
    Deserializer,
    de::{DeserializeOwned, DeserializeSeed, Error, IntoDeserializer, MapAccess, SeqAccess, Visitor},
    forward_to_deserialize_any,
};

/// A key: its path from the root. A section in a list stands there once, as `name[]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(Vec<String>);

impl Key {
    /// The names on the way to it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.join("."))
    }
}

/// Every key with a value of its own, in every section.
pub fn keys<T: DeserializeOwned>() -> Vec<Key> {
    let mut found = Vec::new();
    walk::<T>(&mut Vec::new(), &mut found);
    found
}

fn walk<T: DeserializeOwned>(path: &mut Vec<String>, found: &mut Vec<Key>) {
    let asked = RefCell::new(Asked::default());
    // It ends with an error in any case: there is nothing to read.
    let _ = T::deserialize(Question { route: path, asked: &asked });
    let Asked { fields, is_list } = asked.into_inner();
    let Some(fields) = fields else { return found.push(Key(path.clone())) };
    if let Some(section) = path.last_mut().filter(|_| is_list) {
        section.push_str(LIST);
    }
    for field in fields {
        path.push((*field).to_owned());
        walk::<T>(path, found);
        path.pop();
    }
}

/// What marks a list of sections in a path.
const LIST: &str = "[]";

/// What the type at the end of the route asked for.
#[derive(Default)]
struct Asked {
    /// The keys of a section.
    fields: Option<&'static [&'static str]>,
    /// Whether the section stands in a list.
    is_list: bool,
}

/// Leads a type along the route, and takes down what is asked at its end.
#[derive(Clone, Copy)]
struct Question<'a> {
    route: &'a [String],
    asked: &'a RefCell<Asked>,
}

/// The end of each question.
#[derive(Debug)]
struct Answered;

impl fmt::Display for Answered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the question is answered")
    }
}

impl std::error::Error for Answered {}

impl Error for Answered {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

impl<'de> Deserializer<'de> for Question<'_> {
    type Error = Answered;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Answered> {
        Err(Answered)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Answered> {
        if self.route.is_empty() {
            self.asked.borrow_mut().fields = Some(fields);
            return Err(Answered);
        }
        visitor.visit_map(Step(self))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Answered> {
        if self.route.is_empty() {
            self.asked.borrow_mut().is_list = true;
        }
        visitor.visit_seq(Step(self))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Answered> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Answered> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple
        tuple_struct map enum identifier ignored_any
    }
}

/// One step of the route: into a key of a section, or into the members of a list.
struct Step<'a>(Question<'a>);

impl<'de> MapAccess<'de> for Step<'_> {
    type Error = Answered;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Answered> {
        let Some((name, rest)) = self.0.route.split_first() else { return Ok(None) };
        self.0.route = rest;
        seed.deserialize(name.trim_end_matches(LIST).into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Answered> {
        seed.deserialize(self.0)
    }
}

impl<'de> SeqAccess<'de> for Step<'_> {
    type Error = Answered;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Answered> {
        seed.deserialize(self.0).map(Some)
    }
}
