//! Whether two compilers' descriptors of a file say the same.

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, ReflectMessage, Value};

/// The type of a file's descriptor, in a pool that knows the options of the vocabulary.
static FILE: LazyLock<Option<MessageDescriptor>> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(accord_api::FILE_DESCRIPTOR_SET).ok()?;
    pool.get_message_by_name("google.protobuf.FileDescriptorProto")
});

/// Whether two encoded `FileDescriptorProto`s differ in nothing but their encoding, comments and implied JSON names.
pub(super) fn equivalent(one: &[u8], other: &[u8]) -> bool {
    one == other || matches!((meaning(one), meaning(other)), (Some(one), Some(other)) if one == other)
}

fn meaning(encoded: &[u8]) -> Option<DynamicMessage> {
    let mut file = DynamicMessage::decode(FILE.clone()?, encoded).ok()?;
    normalize(&mut file);
    Some(file)
}

/// Clears what one compiler writes, another leaves out, and neither means anything by.
fn normalize(message: &mut DynamicMessage) {
    message.clear_field_by_name("source_code_info");
    if message.descriptor().full_name() == "google.protobuf.FieldDescriptorProto" && has_implied_json_name(message) {
        message.clear_field_by_name("json_name");
    }
    for (_, value) in message.fields_mut() {
        match value {
            Value::Message(inner) => normalize(inner),
            Value::List(elements) => elements.iter_mut().filter_map(Value::as_message_mut).for_each(normalize),
            _ => {}
        }
    }
}

fn has_implied_json_name(field: &DynamicMessage) -> bool {
    let text = |name| field.get_field_by_name(name).and_then(|value| value.as_str().map(str::to_owned));
    text("name").map(|name| implied_json_name(&name)) == text("json_name")
}

/// The JSON name of a field that declares none: its name in lowerCamelCase.
fn implied_json_name(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |joined, word| {
        let (head, tail) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
        joined + &head.to_ascii_uppercase() + tail
    })
}
