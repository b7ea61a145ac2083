//! Tag templates over answers, as they travel to the cache.

use accord_api::accord::cache::v1::{
    AnswerTag,
    answer_tag::{self, part},
};
use accord_wire::{FieldPath, Malformed, Part, Template};

/// What the request gives is filled in; what the answer will give stays a path.
pub(super) fn answer_tag(template: &Template, request: &[u8]) -> Result<AnswerTag, Malformed> {
    let part = |part: &Part| {
        let part = match part {
            Part::Literal(literal) => part::Part::Literal(literal.clone()),
            Part::Request(path) => part::Part::Literal(path.tag_text(request)?),
            Part::Answer(path) => part::Part::Field(field(path)),
        };
        Ok(answer_tag::Part { part: Some(part) })
    };
    Ok(AnswerTag { parts: template.parts.iter().map(part).collect::<Result<_, _>>()? })
}

fn field(path: &FieldPath) -> answer_tag::FieldPath {
    let steps = path.parents.iter().chain([&path.leaf]);
    answer_tag::FieldPath { numbers: steps.map(|step| step.number).collect(), r#type: path.scalar.number() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use accord_wire::{ScalarType, Step, put_bytes};

    fn text(parents: &[u32], leaf: u32) -> FieldPath {
        let step = |number| Step { number, rivals: Vec::new() };
        FieldPath {
            parents: parents.iter().copied().map(step).collect(),
            leaf: step(leaf),
            scalar: ScalarType::String,
            has_presence: false,
            default: None,
        }
    }

    #[test]
    fn template_over_the_answer_becomes_field_numbers() {
        let parts = vec![Part::Request(text(&[], 2)), Part::Literal("/x-".to_owned()), Part::Answer(text(&[7, 3], 1))];
        let mut request = Vec::new();
        put_bytes(&mut request, 2, b"a/b");
        let tag = answer_tag(&Template { parts }, &request).unwrap();
        let parts: Vec<_> = tag.parts.into_iter().map(|part| part.part.unwrap()).collect();
        assert_eq!(
            parts,
            [
                part::Part::Literal("a%2Fb".into()),
                part::Part::Literal("/x-".into()),
                part::Part::Field(answer_tag::FieldPath { numbers: vec![7, 3, 1], r#type: 9 }),
            ]
        );
    }
}
