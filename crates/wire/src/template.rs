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

    /// Whether a tag of one can be a tag of the other, as far as the text before the first field of each says.
    pub fn may_meet(&self, other: &Self) -> bool {
        let (own, others) = (self.beginning(), other.beginning());
        (own.starts_with(others) && (own == others || !other.is_literal()))
            || (others.starts_with(own) && !self.is_literal())
    }

    fn is_literal(&self) -> bool {
        matches!(self.parts[..], [] | [Part::Literal(_)])
    }

    /// The text before its first field.
    pub fn beginning(&self) -> &str {
        match self.parts.first() {
            Some(Part::Literal(literal)) => literal,
            _ => "",
        }
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

/// A value as it stands in a tag.
pub fn escape(value: &str) -> PercentEncode<'_> {
    utf8_percent_encode(value, VALUE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{path::Step, scalar::ScalarType};

    /// A field in braces, all else as it is.
    fn template(text: &str) -> Template {
        let path = || FieldPath {
            parents: Vec::new(),
            leaf: Step { number: 1, oneof_siblings: Vec::new() },
            scalar: ScalarType::String,
            has_presence: false,
            default: None,
        };
        let parts = text.split_inclusive(['{', '}']).filter_map(|part| match part {
            "}" | "{" => None,
            "id}" => Some(Part::Request(path())),
            literal => Some(Part::Literal(literal.trim_end_matches('{').to_owned())),
        });
        Template { parts: parts.collect() }
    }

    #[test]
    fn templates_meet_where_their_beginnings_allow_one_tag() {
        for (one, other, meet) in [
            ("product/{id}", "product/{id}", true),
            ("product/{id}", "product/42", true),
            ("product/{id}", "{id}", true),
            ("product/{id}", "products", false),
            ("product/{id}", "product", false),
            ("product/{id}", "orders/{id}", false),
            ("products", "products", true),
            ("products", "product", false),
        ] {
            assert_eq!(template(one).may_meet(&template(other)), meet, "{one} and {other}");
            assert_eq!(template(other).may_meet(&template(one)), meet, "{other} and {one}");
        }
    }
}
