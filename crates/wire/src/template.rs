//! Tag templates: `product/{id}` over a request, `product/{response.product.id}` over its answer.

use percent_encoding::{AsciiSet, CONTROLS, PercentEncode, utf8_percent_encode};

use crate::malformed::Malformed;
use crate::path::FieldPath;

/// What is escaped in a value, so that no value can pass for a separator: `/`, `{`, `}`, `%` and control characters.
const VALUE: &AsciiSet = &CONTROLS.add(b'/').add(b'{').add(b'}').add(b'%');

/// The longest tag in bytes: far more than anybody means, and no reason to hold many times a request, where a template names
/// a large field many times.
const LONGEST: usize = 64 * 1024;

/// A compiled template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Its parts one after another.
    pub parts: Vec<Part>,
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Taken as it is.
    Literal(String),
    /// A field of the request.
    Request(FieldPath),
    /// A field of the answer.
    Answer(FieldPath),
}

impl Template {
    /// Whether it needs the answer.
    pub fn is_over_answer(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Answer(_)))
    }

    /// The tag for a request and, once there is one, its answer. None for a template that needs the answer before that.
    pub fn expand(&self, request: &[u8], answer: Option<&[u8]>) -> Result<Option<String>, Malformed> {
        let mut tag = String::new();
        for part in &self.parts {
            match (part, answer) {
                (Part::Literal(literal), _) => tag.push_str(literal),
                (Part::Request(path), _) => tag.extend(escape(&path.text(request)?)),
                (Part::Answer(path), Some(answer)) => tag.extend(escape(&path.text(answer)?)),
                (Part::Answer(_), None) => return Ok(None),
            }
            if tag.len() > LONGEST {
                return Err(Malformed::TooLarge);
            }
        }
        Ok(Some(tag))
    }
}

fn escape(value: &str) -> PercentEncode<'_> {
    utf8_percent_encode(value, VALUE)
}
