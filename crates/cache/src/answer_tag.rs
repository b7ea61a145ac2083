//! Tags that only an answer can tell, read from its wire form without knowing its type.
//!
//! Values are written as the contract writes those of requests, so that both meet in one tag: integers and enums in
//! decimal, bytes in base64url, and escaped so that no value can pass for a separator.

use accord_api::accord::cache::v1::AnswerTag;
use accord_api::accord::cache::v1::answer_tag::{FieldPath, part::Part};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use prost_types::field_descriptor_proto::Type;

use crate::wire::{Malformed, Value, fields};

const ESCAPED: &AsciiSet = &CONTROLS.add(b'/').add(b'{').add(b'}').add(b'%');

/// The tag for an answer.
pub fn expand(template: &AnswerTag, answer: &[u8]) -> Result<String, Malformed> {
    let mut tag = String::new();
    for part in &template.parts {
        match part.part.as_ref().ok_or(Malformed)? {
            Part::Literal(literal) => tag.push_str(literal),
            Part::Field(path) => tag.extend(utf8_percent_encode(&value(path, answer)?, ESCAPED)),
        }
    }
    Ok(tag)
}

/// The value at a path as text; the default of its type where it is absent.
fn value(path: &FieldPath, answer: &[u8]) -> Result<String, Malformed> {
    let kind = Type::try_from(path.r#type).map_err(|_| Malformed)?;
    let mut found = None;
    find(&path.numbers, answer, &mut found)?;
    found.map_or_else(|| default(kind), |value| text(kind, value))
}

/// The last occurrence wins; the occurrences of a message on the way are merged, as every decoder does.
fn find<'a>(numbers: &[u32], message: &'a [u8], found: &mut Option<Value<'a>>) -> Result<(), Malformed> {
    let (number, further) = numbers.split_first().ok_or(Malformed)?;
    for field in fields(message) {
        let (at, value) = field?;
        match value {
            _ if at != *number => {}
            Value::Bytes(inner) if !further.is_empty() => find(further, inner, found)?,
            _ if !further.is_empty() => return Err(Malformed),
            value => *found = Some(value),
        }
    }
    Ok(())
}

#[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "decoders truncate 32-bit varints so")]
fn text(kind: Type, value: Value<'_>) -> Result<String, Malformed> {
    Ok(match (kind, value) {
        (Type::String, Value::Bytes(bytes)) => std::str::from_utf8(bytes).map_err(|_| Malformed)?.to_owned(),
        (Type::Bytes, Value::Bytes(bytes)) => URL_SAFE_NO_PAD.encode(bytes),
        (Type::Bool, Value::Varint(bits)) => (bits != 0).to_string(),
        (Type::Int32 | Type::Enum, Value::Varint(bits)) => (bits as i32).to_string(),
        (Type::Int64, Value::Varint(bits)) | (Type::Sfixed64, Value::Fixed64(bits)) => (bits as i64).to_string(),
        (Type::Uint32, Value::Varint(bits)) => (bits as u32).to_string(),
        (Type::Uint64, Value::Varint(bits)) | (Type::Fixed64, Value::Fixed64(bits)) => bits.to_string(),
        (Type::Sint32, Value::Varint(bits)) => {
            let bits = bits as u32;
            ((bits >> 1) as i32 ^ -((bits & 1) as i32)).to_string()
        }
        (Type::Sint64, Value::Varint(bits)) => ((bits >> 1) as i64 ^ -((bits & 1) as i64)).to_string(),
        (Type::Fixed32, Value::Fixed32(bits)) => bits.to_string(),
        (Type::Sfixed32, Value::Fixed32(bits)) => (bits as i32).to_string(),
        _ => return Err(Malformed),
    })
}

fn default(kind: Type) -> Result<String, Malformed> {
    match kind {
        Type::String | Type::Bytes => Ok(String::new()),
        Type::Bool => Ok("false".to_owned()),
        Type::Float | Type::Double | Type::Group | Type::Message => Err(Malformed),
        _ => Ok("0".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use accord_api::accord::cache::v1::answer_tag;
    use accord_api::catalog::v1::Product;
    use prost::Message;

    use super::*;

    fn template(literal: &str, numbers: &[u32], kind: Type) -> AnswerTag {
        let field = FieldPath { numbers: numbers.to_vec(), r#type: kind.into() };
        let part = |part| answer_tag::Part { part: Some(part) };
        AnswerTag { parts: vec![part(Part::Literal(literal.to_owned())), part(Part::Field(field))] }
    }

    #[test]
    fn a_value_is_found_and_cannot_pass_for_a_separator() {
        let product = Product { id: "a/b%{c}\n".to_owned(), ..Product::default() };
        let tag = expand(&template("product/", &[1], Type::String), &product.encode_to_vec());
        assert_eq!(tag.unwrap(), "product/a%2Fb%25%7Bc%7D%0A");
    }

    #[test]
    fn a_nested_value_is_found_and_the_last_one_counts() {
        // 1: { 2: 7 }, 1: { 2: 150 }
        let wire = [0x0a, 2, 0x10, 7, 0x0a, 3, 0x10, 0x96, 1];
        assert_eq!(expand(&template("n/", &[1, 2], Type::Int32), &wire).unwrap(), "n/150");
        assert_eq!(expand(&template("n/", &[1, 2], Type::Sint32), &wire).unwrap(), "n/75");
    }

    #[test]
    fn an_absent_value_is_its_default() {
        assert_eq!(expand(&template("n/", &[1, 2], Type::Int64), &[]).unwrap(), "n/0");
        assert_eq!(expand(&template("s/", &[1], Type::String), &[]).unwrap(), "s/");
        assert_eq!(expand(&template("b/", &[1], Type::Bool), &[]).unwrap(), "b/false");
    }

    #[test]
    fn what_is_no_message_or_of_another_type_is_refused() {
        assert_eq!(expand(&template("n/", &[1], Type::Int32), &[0x0a, 9, 1]), Err(Malformed));
        assert_eq!(expand(&template("n/", &[1], Type::String), &[0x08, 1]), Err(Malformed));
        assert_eq!(expand(&template("n/", &[], Type::String), &[0x08, 1]), Err(Malformed));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_bring_it_down(wire: Vec<u8>, numbers: Vec<u32>, kind in 0..20_i32) {
            let field = FieldPath { numbers, r#type: kind };
            let _ = expand(&AnswerTag { parts: vec![answer_tag::Part { part: Some(Part::Field(field)) }] }, &wire);
        }
    }
}
