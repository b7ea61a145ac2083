//! Tag templates: `product/{id}` over a request, `product/{response.product.id}` over an answer.

use std::fmt;

use accord_api::accord::cache::v1::{AnswerTag, answer_tag};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use prost_reflect::{Kind, MessageDescriptor};

use crate::path::{FieldPath, PathError};
use crate::wire::Malformed;

/// What is escaped in a value, so that no value can pass for a separator: `/`, `{`, `}`, `%` and control characters.
const VALUE: &AsciiSet = &CONTROLS.add(b'/').add(b'{').add(b'}').add(b'%');

/// The first step of a path over the answer.
const ANSWER: &str = "response.";

/// A compiled template.
#[derive(Clone, Debug)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

/// A part of a template.
#[derive(Clone, Debug)]
pub enum Part {
    /// Taken as it is.
    Literal(String),
    /// A field of the request.
    Request(FieldPath),
    /// A field of the answer.
    Answer(FieldPath),
}

/// A template that can't be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It names nothing.
    #[error("the template is empty")]
    Empty,
    /// A brace without its other half.
    #[error("a brace is not closed or not opened")]
    Brace,
    /// It names no usable field.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A later member of the oneof takes the field away, which a reader that knows only its number can't see.
    #[error("`{0}` leads through a oneof, of which an answer may hold another member")]
    Choice(String),
    /// Where the field is absent, a reader that knows only its type can't know this default.
    #[error("`{0}` has a default of its own")]
    Default(String),
    /// A float has no one spelling.
    #[error("`{0}` is a floating-point number, which makes no stable name")]
    Float(String),
}

impl Template {
    /// Compiles a template for a method's request and answer.
    pub fn compile(text: &str, request: &MessageDescriptor, answer: &MessageDescriptor) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            let (literal, braced) = rest.split_at(open);
            let inner = braced.strip_prefix('{').ok_or(TemplateError::Brace)?;
            let (path, after) = inner.split_once('}').ok_or(TemplateError::Brace)?;
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            parts.push(match path.strip_prefix(ANSWER) {
                Some(path) => Part::Answer(plain(named(path, answer)?)?),
                None => Part::Request(named(path, request)?),
            });
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        if parts.is_empty() {
            return Err(TemplateError::Empty);
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// Its parts one after another.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Whether it needs the answer.
    pub fn is_over_answer(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Answer(_)))
    }

    /// The tag for a request; None for a template that needs the answer.
    pub fn expand(&self, request: &[u8]) -> Result<Option<String>, Malformed> {
        let mut tag = String::with_capacity(self.text.len() + 16);
        for part in &self.parts {
            match part {
                Part::Literal(literal) => tag.push_str(literal),
                Part::Request(path) => tag.extend(utf8_percent_encode(&path.text(request)?, VALUE)),
                Part::Answer(_) => return Ok(None),
            }
        }
        Ok(Some(tag))
    }

    /// The template as the cache understands it: what the request gives is filled in, what the answer will give stays a
    /// path. The cache escapes values as this crate does.
    pub fn answer_tag(&self, request: &[u8]) -> Result<AnswerTag, Malformed> {
        let parts = self.parts.iter().map(|part| part.for_answer(request)).collect::<Result<_, _>>()?;
        Ok(AnswerTag { parts })
    }
}

impl Part {
    fn for_answer(&self, request: &[u8]) -> Result<answer_tag::Part, Malformed> {
        let part = match self {
            Self::Literal(literal) => answer_tag::part::Part::Literal(literal.clone()),
            Self::Request(path) => {
                answer_tag::part::Part::Literal(utf8_percent_encode(&path.text(request)?, VALUE).to_string())
            }
            Self::Answer(path) => answer_tag::part::Part::Field(answer_tag::FieldPath {
                numbers: path.numbers().collect(),
                r#type: path.leaf().field_descriptor_proto().r#type.unwrap_or_default(),
            }),
        };
        Ok(answer_tag::Part { part: Some(part) })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

fn named(path: &str, root: &MessageDescriptor) -> Result<FieldPath, TemplateError> {
    let compiled = FieldPath::compile(path, root)?;
    match compiled.leaf().kind() {
        Kind::Float | Kind::Double => Err(TemplateError::Float(path.to_owned())),
        _ => Ok(compiled),
    }
}

/// Tags over answers are read where types are not known, by numbers alone: so what needs more than them is refused.
fn plain(path: FieldPath) -> Result<FieldPath, TemplateError> {
    if path.is_in_oneof() {
        return Err(TemplateError::Choice(path.to_string()));
    }
    if !path.has_plain_default() {
        return Err(TemplateError::Default(path.to_string()));
    }
    Ok(path)
}
