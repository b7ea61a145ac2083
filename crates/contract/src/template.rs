//! The text of tag templates: `product/{id}` over a request, `product/{response.product.id}` over an answer.

use accord_wire::{FieldPath, Part, ScalarType, Template};
use prost_reflect::MessageDescriptor;

use crate::path::{PathError, compile_path};

/// The first step of a path over the answer.
const ANSWER: &str = "response.";

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
    /// A float has no one spelling.
    #[error("`{0}` is a floating-point number, which makes no stable name")]
    Float(String),
}

/// Compiles a template for a method's request and answer.
pub fn compile_template(
    text: &str,
    request: &MessageDescriptor,
    answer: &MessageDescriptor,
) -> Result<Template, TemplateError> {
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
            Some(path) => Part::Answer(named(path, answer)?),
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
    Ok(Template { parts })
}

/// A field whose value can be a part of a name.
pub(crate) fn named(text: &str, root: &MessageDescriptor) -> Result<FieldPath, TemplateError> {
    let path = compile_path(text, root)?;
    match path.scalar {
        ScalarType::Float | ScalarType::Double => Err(TemplateError::Float(text.to_owned())),
        _ => Ok(path),
    }
}
