//! A template means the same on both sides, and what a decoder says.

use std::sync::LazyLock;

use accord_wire::{Part, Template};
use proptest::prelude::*;
use prost_reflect::{DynamicMessage, FieldDescriptor, MessageDescriptor};

use crate::messages::message;
use crate::schema::{Way, legacy, modern, text, ways};

static MODERN: LazyLock<(MessageDescriptor, Vec<Way>)> = LazyLock::new(|| (modern(), ways(&modern(), 2)));
static LEGACY: LazyLock<(MessageDescriptor, Vec<Way>)> = LazyLock::new(|| (legacy(), ways(&legacy(), 2)));

/// The value at the end of a way through a decoded message; none where a message on it, or the field, is absent.
fn decoded(message: &DynamicMessage, way: &[FieldDescriptor]) -> Option<String> {
    let (field, further) = way.split_first().unwrap();
    if field.supports_presence() && !message.has_field(field) {
        return None;
    }
    match message.get_field(field).as_ref() {
        prost_reflect::Value::Message(inner) => decoded(inner, further),
        value => Some(text(value)),
    }
}

/// The escaping rule, said once more: every byte for itself.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'/' | b'{' | b'}' | b'%' | ..0x20 | 0x7f.. => format!("%{byte:02X}"),
        byte => char::from(byte).to_string(),
    };
    text.bytes().map(escape).collect()
}

fn check((descriptor, ways): &(MessageDescriptor, Vec<Way>), bytes: &[u8]) -> Result<(), TestCaseError> {
    let message = DynamicMessage::decode(descriptor.clone(), bytes).unwrap();
    for (path, way) in ways {
        let names: Vec<_> = way.iter().map(FieldDescriptor::name).collect();
        let expected = decoded(&message, way);
        prop_assert_eq!(path.read(bytes).unwrap().map(String::from), expected.clone(), "{}", names.join("."));

        let tag = format!("of/{}", escaped(&expected.unwrap_or_else(|| text(&way[way.len() - 1].default_value()))));
        let expand = |part, request: &[u8], answer| {
            Template { parts: vec![Part::Literal("of/".to_owned()), part] }.expand(request, answer).unwrap()
        };
        let by_request = expand(Part::Request(path.clone()), bytes, None);
        let by_answer = expand(Part::Answer(path.clone()), b"", Some(bytes));
        prop_assert_eq!(by_request.as_ref(), Some(&tag), "{}", names.join("."));
        prop_assert_eq!(by_answer.as_ref(), Some(&tag), "{}", names.join("."));
    }
    Ok(())
}

fn check_any((descriptor, ways): &(MessageDescriptor, Vec<Way>), bytes: &[u8]) -> Result<(), TestCaseError> {
    let decodes = DynamicMessage::decode(descriptor.clone(), bytes).is_ok();
    for (path, _) in ways {
        prop_assert!(path.read(bytes).is_ok() || !decodes);
    }
    Ok(())
}

proptest! {
    #[test]
    fn template_expands_alike_on_both_sides_and_as_decoded_proto3(bytes in message(&MODERN.0, 3)) {
        check(&MODERN, &bytes)?;
    }

    #[test]
    fn template_expands_alike_on_both_sides_and_as_decoded_proto2(bytes in message(&LEGACY.0, 3)) {
        check(&LEGACY, &bytes)?;
    }

    #[test]
    fn path_reads_all_bytes_that_a_decoder_reads(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        check_any(&MODERN, &bytes)?;
        check_any(&LEGACY, &bytes)?;
    }

    /// A message read as one of another type has well-formed bytes and wrong types.
    #[test]
    fn path_reads_all_messages_of_another_type_that_a_decoder_reads(bytes in message(&LEGACY.0, 3)) {
        check_any(&MODERN, &bytes)?;
    }
}

#[test]
fn paths_lead_to_every_scalar_type_and_through_oneofs_and_defaults() {
    let paths: Vec<_> = MODERN.1.iter().chain(&LEGACY.1).map(|(path, _)| path).collect();
    for scalar in accord_wire::ScalarType::ALL {
        assert!(paths.iter().any(|path| path.scalar == scalar), "{scalar:?}");
    }
    assert!(paths.iter().any(|path| path.parents.iter().all(|step| !step.oneof_siblings.is_empty())
        && path.parents.len() == 2
        && path.default.is_some()));
}
