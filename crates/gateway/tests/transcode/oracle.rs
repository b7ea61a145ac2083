//! Random messages, against `prost-reflect`: both directions, any wire order, and bytes that mean nothing.

use proptest::{collection, prelude::*};
use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};

use super::kitchen::{COOK, decoded, request, response, sink};

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn json_becomes_the_same_message(Sample(message) in sample(3)) {
        let json = json(&message);
        let wire = request(&json).unwrap();
        prop_assert!(decoded(&wire) == decoded(&message.encode_to_vec()), "{}", json);
    }

    #[test]
    fn a_message_becomes_the_same_json(Sample(message) in sample(3)) {
        prop_assert_eq!(parsed(&response(&message.encode_to_vec())), parsed(&json(&message)));
    }

    #[test]
    fn the_order_on_the_wire_does_not_matter(messages in collection::vec(sample(2), 1..4)) {
        // Concatenation merges, so that fields come split and out of order.
        let wire: Vec<u8> = messages.iter().flat_map(|Sample(message)| message.encode_to_vec()).collect();
        prop_assert_eq!(parsed(&response(&wire)), parsed(&json(&decoded(&wire))));
    }

    #[test]
    fn shuffled_fields_read_the_same(Sample(message) in sample(2), seed in any::<u64>()) {
        let mut fields: Vec<_> = message.fields().map(|(field, value)| (field, value.clone())).collect();
        let length = fields.len().max(1) as u64;
        fields.sort_by_key(|(field, _)| (u64::from(field.number()).wrapping_mul(seed | 1)) % length);
        let mut wire = Vec::new();
        for (field, value) in fields {
            let mut part = DynamicMessage::new(sink());
            part.set_field(&field, value);
            wire.extend(part.encode_to_vec());
        }
        prop_assert_eq!(response(&wire), response(&message.encode_to_vec()));
    }

    #[test]
    fn any_bytes_are_answered_without_a_panic(bytes in collection::vec(any::<u8>(), 0..200)) {
        let mut out = Vec::new();
        if COOK.response(&bytes, &mut out).is_ok() {
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok());
        }
        drop(COOK.request(&[], None, None, &bytes));
    }

    #[test]
    fn damaged_messages_are_answered_without_a_panic(
        Sample(message) in sample(2), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
    ) {
        for text in [false, true] {
            let mut bytes = if text { serde_json::to_vec(&message).unwrap() } else { message.encode_to_vec() };
            if bytes.is_empty() {
                continue;
            }
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if cut {
                bytes.truncate(at);
            }
            let mut out = Vec::new();
            if !text && COOK.response(&bytes, &mut out).is_ok() {
                prop_assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok());
            }
            if text && let Ok(wire) = COOK.request(&[], None, None, &bytes) {
                prop_assert!(DynamicMessage::decode(sink(), wire).is_ok());
            }
        }
    }

    #[test]
    fn json_like_text_is_answered_without_a_panic(text in r#"[{}\[\]":,0-9eE.+\-truefalsn\\ud8@ ]{0,60}"#) {
        if let Ok(wire) = request(&text) {
            prop_assert!(DynamicMessage::decode(sink(), wire).is_ok());
            prop_assert!(text.is_empty() || serde_json::from_str::<serde_json::Value>(&text).is_ok());
        }
    }
}

fn json(message: &DynamicMessage) -> String {
    serde_json::to_string(message).unwrap()
}

/// Both sides are read from text, so that numbers go through the same rounding.
fn parsed(json: &str) -> serde_json::Value {
    serde_json::from_str(json).unwrap()
}

/// A message that is shown as its JSON: descriptors refer to each other, and would be shown without an end.
struct Sample(DynamicMessage);

impl std::fmt::Debug for Sample {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&json(&self.0))
    }
}

fn sample(depth: u32) -> impl Strategy<Value = Sample> {
    message(sink(), depth).prop_map(Sample)
}

/// A message with some of its fields set.
fn message(descriptor: MessageDescriptor, depth: u32) -> BoxedStrategy<DynamicMessage> {
    if let Some(known) = known(&descriptor, depth) {
        return known;
    }
    let fields: Vec<FieldDescriptor> = descriptor.fields().filter(|field| depth > 0 || !is_message(field)).collect();
    let count = fields.len();
    prop::sample::subsequence(fields, 0..=count.min(8))
        .prop_flat_map(move |fields| {
            let values: Vec<_> = fields.iter().map(|field| value(field, depth)).collect();
            (Just(fields), values)
        })
        .prop_map(move |(fields, values)| {
            let mut message = DynamicMessage::new(descriptor.clone());
            for (field, value) in fields.iter().zip(values) {
                message.set_field(field, value);
            }
            message
        })
        .boxed()
}

fn is_message(field: &FieldDescriptor) -> bool {
    matches!(field.kind(), Kind::Message(_))
}

fn value(field: &FieldDescriptor, depth: u32) -> BoxedStrategy<Value> {
    if field.is_map() {
        let Kind::Message(entry) = field.kind() else { unreachable!("a map is made of entries") };
        let key = key(&entry.map_entry_key_field().kind());
        let value = single(entry.map_entry_value_field().kind(), depth);
        collection::hash_map(key, value, 0..4).prop_map(Value::Map).boxed()
    } else if field.is_list() {
        collection::vec(single(field.kind(), depth), 0..4).prop_map(Value::List).boxed()
    } else {
        single(field.kind(), depth)
    }
}

fn key(kind: &Kind) -> BoxedStrategy<MapKey> {
    match kind {
        Kind::Bool => any::<bool>().prop_map(MapKey::Bool).boxed(),
        Kind::Int32 => any::<i32>().prop_map(MapKey::I32).boxed(),
        Kind::Uint64 => any::<u64>().prop_map(MapKey::U64).boxed(),
        _ => any::<String>().prop_map(MapKey::String).boxed(),
    }
}

fn single(kind: Kind, depth: u32) -> BoxedStrategy<Value> {
    match kind {
        Kind::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => any::<i32>().prop_map(Value::I32).boxed(),
        Kind::Uint32 | Kind::Fixed32 => any::<u32>().prop_map(Value::U32).boxed(),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => any::<i64>().prop_map(Value::I64).boxed(),
        Kind::Uint64 | Kind::Fixed64 => any::<u64>().prop_map(Value::U64).boxed(),
        // Equality has to hold, so neither NaN nor a zero with a sign; tables cover those.
        Kind::Float => any::<f32>().prop_map(|value| Value::F32(if value == 0.0 { 0.0 } else { value })).boxed(),
        Kind::Double => any::<f64>().prop_map(|value| Value::F64(if value == 0.0 { 0.0 } else { value })).boxed(),
        Kind::String => any::<String>().prop_map(Value::String).boxed(),
        Kind::Bytes => collection::vec(any::<u8>(), 0..20).prop_map(|bytes| Value::Bytes(bytes.into())).boxed(),
        Kind::Enum(names) if names.full_name() == "google.protobuf.NullValue" => Just(Value::EnumNumber(0)).boxed(),
        Kind::Enum(_) => prop_oneof![Just(0), Just(1), Just(-7), any::<i32>()].prop_map(Value::EnumNumber).boxed(),
        Kind::Message(descriptor) => message(descriptor, depth.saturating_sub(1)).prop_map(Value::Message).boxed(),
    }
}

/// Messages of which not every combination of fields has a JSON form.
fn known(descriptor: &MessageDescriptor, depth: u32) -> Option<BoxedStrategy<DynamicMessage>> {
    let texts: BoxedStrategy<String> = match descriptor.full_name() {
        "google.protobuf.Timestamp" => (0_u8..=59, 0_u16..=9999, 1_u8..=12, 1_u8..=28, 0_u32..1_000_000_000)
            .prop_map(|(second, year, month, day, nanos)| {
                format!("\"{:04}-{month:02}-{day:02}T23:59:{second:02}.{nanos:09}Z\"", year.max(1))
            })
            .boxed(),
        "google.protobuf.Duration" => (any::<i32>(), 0_u32..1_000_000_000)
            .prop_map(|(seconds, nanos)| format!("\"{seconds}.{nanos:09}s\""))
            .boxed(),
        "google.protobuf.FieldMask" => "\"([a-z]{1,3}[A-Z][a-z0-9]{0,3}(\\.[a-z]{1,2})?,){0,3}[a-z]{1,4}\"".boxed(),
        "google.protobuf.Struct" => r#"\{("[a-c]{3}":(null|1\.5|"x"|true|\[1,\{\}\]))?\}"#.boxed(),
        "google.protobuf.Value" => r#"null|-?[1-9]{1,9}\.5|"[a-z]{0,9}"|true|\[("a",)?2\]|\{"a":\[\]\}"#.boxed(),
        "google.protobuf.ListValue" => r#"\[(null,)?(3,)?("a",)?\{\}\]"#.boxed(),
        "google.protobuf.Any" => {
            let leaf = descriptor.parent_pool().get_message_by_name("kitchen.Leaf")?;
            message(leaf, depth.min(1))
                .prop_map(|leaf| {
                    let mut json = serde_json::to_value(&leaf).unwrap();
                    json["@type"] = "type.googleapis.com/kitchen.Leaf".into();
                    json.to_string()
                })
                .boxed()
        }
        _ => return None,
    };
    let descriptor = descriptor.clone();
    let read = move |json: String| {
        let mut deserializer = serde_json::Deserializer::from_str(&json);
        DynamicMessage::deserialize(descriptor.clone(), &mut deserializer).expect(&json)
    };
    Some(texts.prop_map(read).boxed())
}
