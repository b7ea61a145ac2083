//! Templates: what makes a tag, and what does not.

use accord_wire::{FieldPath, MAX_DEPTH, Malformed, OneofSibling, Part, ScalarType, Step, Template, WireType};
use proptest::prelude::*;

fn step(number: u32) -> Step {
    Step { number, oneof_siblings: Vec::new() }
}

fn path(parents: &[u32], leaf: u32, scalar: ScalarType) -> FieldPath {
    FieldPath {
        parents: parents.iter().copied().map(step).collect(),
        leaf: step(leaf),
        scalar,
        has_presence: false,
        default: None,
    }
}

fn expand(literal: &str, path: FieldPath, answer: &[u8]) -> Result<String, Malformed> {
    let template = Template { parts: vec![Part::Literal(literal.to_owned()), Part::Answer(path)] };
    template.expand(&[], Some(answer)).map(Option::unwrap)
}

#[test]
fn value_cannot_pass_for_a_separator() {
    let answer = b"\x0a\x08a/b%{c}\n";
    let tag = expand("product/", path(&[], 1, ScalarType::String), answer);
    assert_eq!(tag.unwrap(), "product/a%2Fb%25%7Bc%7D%0A");
}

#[test]
fn nested_value_is_found_and_the_last_one_counts() {
    // 1: { 2: 7 }, 1: { 2: 150 }
    let wire = [0x0a, 2, 0x10, 7, 0x0a, 3, 0x10, 0x96, 1];
    assert_eq!(expand("n/", path(&[1], 2, ScalarType::Int32), &wire).unwrap(), "n/150");
    assert_eq!(expand("n/", path(&[1], 2, ScalarType::Sint32), &wire).unwrap(), "n/75");
}

#[test]
fn absent_value_is_its_default() {
    assert_eq!(expand("n/", path(&[1], 2, ScalarType::Int64), &[]).unwrap(), "n/0");
    assert_eq!(expand("s/", path(&[], 1, ScalarType::String), &[]).unwrap(), "s/");
    assert_eq!(expand("b/", path(&[], 1, ScalarType::Bool), &[]).unwrap(), "b/false");
    let declared = FieldPath { default: Some("a/b".to_owned()), ..path(&[], 1, ScalarType::String) };
    assert_eq!(expand("s/", declared, &[]).unwrap(), "s/a%2Fb");
}

#[test]
fn later_member_of_a_oneof_takes_the_field_away() {
    let oneof_siblings = vec![OneofSibling { number: 2, wire_type: WireType::Varint }];
    let path = FieldPath { leaf: Step { number: 1, oneof_siblings }, ..path(&[], 1, ScalarType::String) };
    assert_eq!(expand("s/", path.clone(), b"\x10\x01\x0a\x01x").unwrap(), "s/x");
    assert_eq!(expand("s/", path.clone(), b"\x0a\x01x\x10\x01").unwrap(), "s/");
    assert_eq!(expand("s/", path, b"\x0a\x01x\x12\x00"), Err(Malformed::WrongType));
}

#[test]
fn template_over_the_answer_has_no_tag_before_there_is_one() {
    let template = Template {
        parts: vec![
            Part::Request(path(&[], 1, ScalarType::String)),
            Part::Literal("/".to_owned()),
            Part::Answer(path(&[], 1, ScalarType::Bool)),
        ],
    };
    assert!(template.is_over_answer());
    assert_eq!(template.expand(b"\x0a\x01x", None), Ok(None));
    assert_eq!(template.expand(b"\x0a\x01x", Some(b"\x08\x01")), Ok(Some("x/true".to_owned())));
}

#[test]
fn tag_is_bounded_however_often_a_field_is_named() {
    let mut request = vec![0x0a];
    accord_wire::put_varint(&mut request, 40_000);
    request.resize(request.len() + 40_000, b'x');
    let named = |times| Template { parts: vec![Part::Request(path(&[], 1, ScalarType::String)); times] };
    assert_eq!(named(1).expand(&request, None).unwrap().unwrap().len(), 40_000);
    assert_eq!(named(2).expand(&request, None), Err(Malformed::TooLarge));
}

#[test]
fn path_through_another_wire_type_is_malformed() {
    assert_eq!(expand("n/", path(&[], 1, ScalarType::Int32), &[0x0a, 9, 1]), Err(Malformed::CutShort));
    assert_eq!(expand("n/", path(&[], 1, ScalarType::String), &[0x08, 1]), Err(Malformed::WrongType));
    assert_eq!(expand("n/", path(&[], 1, ScalarType::String), &[0x0a, 1, 0xff]), Err(Malformed::NotUtf8));
    assert_eq!(expand("n/", path(&[1], 1, ScalarType::String), &[0x08, 1]), Err(Malformed::WrongType));
}

#[test]
fn path_deeper_than_decoders_go_is_refused() {
    assert!(expand("n/", path(&[1; MAX_DEPTH - 1], 1, ScalarType::String), &[]).is_ok());
    let deep = path(&[1; MAX_DEPTH], 1, ScalarType::String);
    assert_eq!(expand("n/", deep, &[]), Err(Malformed::TooDeep));
}

proptest! {
    #[test]
    fn any_bytes_expand_or_are_malformed(
        answer: Vec<u8>,
        parents in prop::collection::vec(0..20_u32, 0..4),
        leaf in 0..20_u32,
        scalar in prop::sample::select(&ScalarType::ALL[..]),
    ) {
        let _ = expand("n/", path(&parents, leaf, scalar), &answer);
    }

    #[test]
    fn value_of_any_text_holds_no_separator(text: String) {
        let mut answer = Vec::new();
        accord_wire::put_bytes(&mut answer, 1, text.as_bytes());
        let tag = expand("", path(&[], 1, ScalarType::String), &answer).unwrap();
        let is_plain = |byte: u8| (b' '..0x7f).contains(&byte) && !b"/{}".contains(&byte);
        prop_assert!(tag.bytes().all(is_plain), "{}", tag);
        prop_assert_eq!(percent_decoded(&tag), text);
    }
}

fn percent_decoded(tag: &str) -> String {
    percent_encoding::percent_decode_str(tag).decode_utf8().unwrap().into_owned()
}
