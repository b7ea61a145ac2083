//! Tag templates, as they travel in a plan.

use accord_api::accord::cache::v1 as api;
use accord_api::accord::cache::v1::tag_template::part;
use accord_wire::{FieldPath, MAX_DEPTH, OneofSibling, Part, ScalarType, Step, Template, WireType};
use tonic::Status;

use crate::malformed::{bounded, malformed};

/// The template that a message holds.
pub(super) fn compile(declared: api::TagTemplate) -> Result<Template, Status> {
    let part = |part: api::tag_template::Part| match part.part {
        Some(part::Part::Literal(literal)) => Ok(Part::Literal(literal)),
        Some(part::Part::Request(path)) => field(path).map(Part::Request),
        Some(part::Part::Answer(path)) => field(path).map(Part::Answer),
        None => Err(malformed("`plan.tags.parts` has a part that says nothing")),
    };
    Ok(Template { parts: declared.parts.into_iter().map(part).collect::<Result<_, _>>()? })
}

pub(super) fn field(path: api::tag_template::FieldPath) -> Result<FieldPath, Status> {
    bounded("plan.tags.parts.parents", path.parents.len(), MAX_DEPTH - 1)?;
    let leaf = path.leaf.ok_or_else(|| malformed("`plan.tags.parts.leaf` is missing"))?;
    // A float has no one spelling.
    let is_exact = |scalar: &ScalarType| !matches!(scalar, ScalarType::Float | ScalarType::Double);
    let scalar = ScalarType::from_number(path.r#type).filter(is_exact);
    Ok(FieldPath {
        parents: path.parents.into_iter().map(step).collect::<Result<_, _>>()?,
        leaf: step(leaf)?,
        scalar: scalar.ok_or_else(|| malformed("`plan.tags.parts.type` is no type that makes a tag"))?,
        // A tag takes the default where a field is absent, whether or not that can be told apart.
        has_presence: false,
        default: path.default,
    })
}

fn step(step: api::tag_template::Step) -> Result<Step, Status> {
    let sibling = |sibling: api::tag_template::OneofSibling| {
        let wire_type = wire_type(sibling.wire_type);
        let wire_type =
            wire_type.ok_or_else(|| malformed("`plan.tags.parts.oneof_siblings.wire_type` does not exist"))?;
        Ok(OneofSibling { number: sibling.number, wire_type })
    };
    Ok(Step {
        number: step.number,
        oneof_siblings: step.oneof_siblings.into_iter().map(sibling).collect::<Result<_, Status>>()?,
    })
}

/// Nothing begins with the end of a group.
fn wire_type(number: u32) -> Option<WireType> {
    [WireType::Varint, WireType::Fixed64, WireType::Bytes, WireType::StartGroup, WireType::Fixed32]
        .into_iter()
        .find(|known| *known as u32 == number)
}

#[cfg(test)]
mod tests {
    use accord_api::catalog::v1::Product;
    use prost::Message;
    use prost_types::field_descriptor_proto::Type;

    use super::*;

    fn path(numbers: &[u32], r#type: i32) -> api::tag_template::FieldPath {
        let step = |number: &u32| api::tag_template::Step { number: *number, oneof_siblings: Vec::new() };
        let (leaf, parents) =
            numbers.split_last().map_or((None, &[][..]), |(leaf, parents)| (Some(step(leaf)), parents));
        api::tag_template::FieldPath { parents: parents.iter().map(step).collect(), leaf, r#type, default: None }
    }

    fn tag(parts: impl IntoIterator<Item = part::Part>) -> api::TagTemplate {
        let part = |part| api::tag_template::Part { part: Some(part) };
        api::TagTemplate { parts: parts.into_iter().map(part).collect() }
    }

    fn over_answer(numbers: &[u32], r#type: i32) -> api::TagTemplate {
        tag([part::Part::Literal("n/".to_owned()), part::Part::Answer(path(numbers, r#type))])
    }

    #[test]
    fn template_expands_over_request_and_answer() {
        let product = |id: &str| Product { id: id.to_owned(), ..Product::default() }.encode_to_vec();
        let id = |part: fn(_) -> part::Part| part(path(&[1], Type::String.into()));
        let literal = |text: &str| part::Part::Literal(text.to_owned());
        let declared = tag([literal("p/"), id(part::Part::Request), literal("/"), id(part::Part::Answer)]);
        let template = compile(declared).unwrap();
        let tag = template.expand(&product("a/b%{c}\n"), Some(&product("milk")));
        assert_eq!(tag.unwrap().unwrap(), "p/a%2Fb%25%7Bc%7D%0A/milk");
    }

    #[test]
    fn absent_field_and_field_replaced_in_a_oneof_have_the_declared_default() {
        let mut declared = path(&[1], Type::String.into());
        declared.default = Some("none".to_owned());
        declared
            .leaf
            .as_mut()
            .unwrap()
            .oneof_siblings
            .push(api::tag_template::OneofSibling { number: 2, wire_type: 0 });
        let template = compile(tag([part::Part::Answer(declared)])).unwrap();
        let expanded = |wire: &[u8]| template.expand(b"", Some(wire)).unwrap().unwrap();
        assert_eq!(expanded(&[0x0a, 1, b'x']), "x");
        assert_eq!(expanded(&[]), "none");
        assert_eq!(expanded(&[0x0a, 1, b'x', 0x10, 7]), "none");
    }

    #[test]
    fn template_without_a_field_of_a_stable_name_is_refused() {
        assert!(compile(over_answer(&[], Type::String.into())).is_err());
        assert!(compile(api::TagTemplate { parts: vec![api::tag_template::Part { part: None }] }).is_err());
        for unfit in [Type::Group, Type::Message, Type::Float, Type::Double] {
            assert!(compile(over_answer(&[1], unfit.into())).is_err(), "{unfit:?}");
        }
        assert!(compile(over_answer(&[1], 19)).is_err());
    }

    #[test]
    fn oneof_member_of_an_unknown_wire_type_is_refused() {
        for (wire_type, fits) in [(0, true), (1, true), (2, true), (3, true), (4, false), (5, true), (6, false)] {
            let mut declared = path(&[1], Type::String.into());
            declared
                .leaf
                .as_mut()
                .unwrap()
                .oneof_siblings
                .push(api::tag_template::OneofSibling { number: 2, wire_type });
            assert_eq!(compile(tag([part::Part::Answer(declared)])).is_ok(), fits, "{wire_type}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_template_expands_or_is_refused(wire: Vec<u8>, numbers: Vec<u32>, r#type in 0..20_i32) {
            if let Ok(template) = compile(over_answer(&numbers, r#type)) {
                let _ = template.expand(b"", Some(&wire));
            }
        }
    }
}
