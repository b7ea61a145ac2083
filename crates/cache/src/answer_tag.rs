//! Tag templates over answers, as the contract's side sends them.

use accord_api::accord::cache::v1::AnswerTag;
use accord_api::accord::cache::v1::answer_tag::{self, part};
use accord_wire::{FieldPath, Part, ScalarType, Step, Template};

/// The template that a message holds; none where it names no field that makes a tag.
pub fn template(tag: AnswerTag) -> Option<Template> {
    let part = |part: answer_tag::Part| match part.part? {
        part::Part::Literal(literal) => Some(Part::Literal(literal)),
        part::Part::Field(path) => field(&path).map(Part::Answer),
    };
    Some(Template { parts: tag.parts.into_iter().map(part).collect::<Option<_>>()? })
}

/// The contract refuses fields over answers that are in a oneof or have a default of their own.
fn field(path: &answer_tag::FieldPath) -> Option<FieldPath> {
    let step = |number: &u32| Step { number: *number, rivals: Vec::new() };
    let (leaf, parents) = path.numbers.split_last()?;
    // A float has no one spelling.
    let is_exact = |scalar: &ScalarType| !matches!(scalar, ScalarType::Float | ScalarType::Double);
    Some(FieldPath {
        parents: parents.iter().map(step).collect(),
        leaf: step(leaf),
        scalar: ScalarType::from_number(path.r#type).filter(is_exact)?,
        has_presence: false,
        default: None,
    })
}

#[cfg(test)]
mod tests {
    use accord_api::catalog::v1::Product;
    use prost::Message;
    use prost_types::field_descriptor_proto::Type;

    use super::*;

    fn tag(literal: &str, numbers: &[u32], r#type: i32) -> AnswerTag {
        let field = answer_tag::FieldPath { numbers: numbers.to_vec(), r#type };
        let part = |part| answer_tag::Part { part: Some(part) };
        AnswerTag { parts: vec![part(part::Part::Literal(literal.to_owned())), part(part::Part::Field(field))] }
    }

    #[test]
    fn template_expands_over_the_answer() {
        let product = Product { id: "a/b%{c}\n".to_owned(), ..Product::default() };
        let template = template(tag("product/", &[1], Type::String.into())).unwrap();
        let tag = template.expand(b"", Some(&product.encode_to_vec()));
        assert_eq!(tag.unwrap().unwrap(), "product/a%2Fb%25%7Bc%7D%0A");
    }

    #[test]
    fn template_without_a_field_of_a_stable_name_is_none() {
        assert_eq!(template(tag("n/", &[], Type::String.into())), None);
        assert_eq!(template(AnswerTag { parts: vec![answer_tag::Part { part: None }] }), None);
        for unfit in [Type::Group, Type::Message, Type::Float, Type::Double] {
            assert_eq!(template(tag("n/", &[1], unfit.into())), None, "{unfit:?}");
        }
        assert_eq!(template(tag("n/", &[1], 19)), None);
    }

    proptest::proptest! {
        #[test]
        fn any_template_expands_or_is_refused(wire: Vec<u8>, numbers: Vec<u32>, r#type in 0..20_i32) {
            if let Some(template) = template(tag("n/", &numbers, r#type)) {
                let _ = template.expand(b"", Some(&wire));
            }
        }
    }
}
