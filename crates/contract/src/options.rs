//! Options as they stand in an upstream's descriptors, understood with this binary's own vocabulary.

use std::sync::LazyLock;

use accord_api::FILE_DESCRIPTOR_SET;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MessageDescriptor, ReflectMessage, Value};

use crate::{encoded::EncodedSet, pool};

/// This binary's own descriptors.
static OURS: LazyLock<Ours> = LazyLock::new(|| {
    let pool = pool::without_source_info(FILE_DESCRIPTOR_SET).map(|set| pool::decode(&set));
    let pool = pool.and_then(Result::ok).expect("the descriptors were written by the build of this binary");
    Ours { pool, encoded: EncodedSet::new(FILE_DESCRIPTOR_SET) }
});

struct Ours {
    /// Without comments, which nobody asks a pool for.
    pool: DescriptorPool,
    encoded: EncodedSet,
}

/// The pool of an encoded descriptor set that is this binary's own, and the set to be kept.
pub(crate) fn own(set: &[u8]) -> Option<(DescriptorPool, EncodedSet)> {
    std::ptr::eq(set, FILE_DESCRIPTOR_SET).then(|| (OURS.pool.clone(), OURS.encoded.clone()))
}

/// A message type of this binary.
pub(crate) fn our(name: &str) -> MessageDescriptor {
    OURS.pool.get_message_by_name(name).expect("the name is one of the vocabulary's")
}

/// `accord.policy.v1.MethodPolicy`, as this binary knows it.
pub fn policy_type() -> MessageDescriptor {
    our("accord.policy.v1.MethodPolicy")
}

/// The policy in an option, or what in it this binary doesn't understand.
pub(crate) fn policy(
    pool: &DescriptorPool,
    extension: &str,
    options: &DynamicMessage,
) -> Result<Option<DynamicMessage>, String> {
    let Some(encoded) = encoded(pool, extension, options) else {
        return Ok(None);
    };
    let policy = DynamicMessage::decode(policy_type(), encoded.as_slice()).map_err(|error| error.to_string())?;
    match unknown(&policy) {
        Some(what) => Err(what),
        None => Ok(Some(policy)),
    }
}

/// An option of message type, decoded into generated code.
pub(crate) fn message<M: Message + Default>(
    pool: &DescriptorPool,
    extension: &str,
    options: &DynamicMessage,
) -> Result<Option<M>, String> {
    let Some(encoded) = encoded(pool, extension, options) else {
        return Ok(None);
    };
    M::decode(encoded.as_slice()).map(Some).map_err(|error| error.to_string())
}

/// By name, not by number: another project may use an in-house number for something else.
fn encoded(pool: &DescriptorPool, extension: &str, options: &DynamicMessage) -> Option<Vec<u8>> {
    let extension = pool.get_extension_by_name(extension)?;
    let extends_these = extension.containing_message() == options.descriptor();
    if !extends_these || !options.has_extension(&extension) {
        return None;
    }
    options.get_extension(&extension).as_message().map(Message::encode_to_vec)
}

/// The first field or enum value that a newer vocabulary must have brought.
fn unknown(message: &DynamicMessage) -> Option<String> {
    if let Some(field) = message.unknown_fields().next() {
        return Some(format!("field {} of {}", field.number(), message.descriptor().full_name()));
    }
    message.fields().find_map(|(field, value)| unknown_in(&field.kind(), value))
}

fn unknown_in(kind: &Kind, value: &Value) -> Option<String> {
    match (kind, value) {
        (_, Value::List(elements)) => elements.iter().find_map(|element| unknown_in(kind, element)),
        (_, Value::Message(inner)) => unknown(inner),
        (Kind::Enum(names), Value::EnumNumber(number)) if names.get_value(*number).is_none() => {
            Some(format!("value {number} of {}", names.full_name()))
        }
        _ => None,
    }
}
