//! Random messages of any type.

use proptest::{collection, prelude::*};
use prost_reflect::{DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};

/// A message that is shown as its JSON: descriptors refer to each other, and would be shown without an end.
pub(crate) struct Sample(pub DynamicMessage);

impl std::fmt::Debug for Sample {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&json(&self.0))
    }
}

pub(crate) fn json(message: &DynamicMessage) -> String {
    serde_json::to_string(message).unwrap()
}

pub(crate) fn sample(descriptor: MessageDescriptor, depth: u32) -> impl Strategy<Value = Sample> {
    message(descriptor, depth).prop_map(Sample)
}

/// A message with some of its fields set.
fn message(descriptor: MessageDescriptor, depth: u32) -> BoxedStrategy<DynamicMessage> {
    if let Some(known) = known(&descriptor, depth) {
        return known;
    }
    let fields: Vec<FieldDescriptor> = descriptor.fields().filter(|field| depth > 0 || !is_message(field)).collect();
    let extensions: Vec<_> =
        descriptor.extensions().filter(|it| depth > 0 || it.kind().as_message().is_none()).collect();
    let (count, more) = (fields.len(), extensions.len());
    (prop::sample::subsequence(fields, 0..=count.min(8)), prop::sample::subsequence(extensions, 0..=more.min(3)))
        .prop_flat_map(move |(fields, extensions)| {
            let values: Vec<_> = fields.iter().map(|field| value(field, depth)).collect();
            let more: Vec<_> = extensions.iter().map(|it| some(it.kind(), it.is_list(), depth)).collect();
            (Just(fields), values, Just(extensions), more)
        })
        .prop_map(move |(fields, values, extensions, more)| {
            let mut message = DynamicMessage::new(descriptor.clone());
            fields.iter().zip(values).for_each(|(field, value)| message.set_field(field, value));
            extensions.iter().zip(more).for_each(|(extension, value)| message.set_extension(extension, value));
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
    } else {
        some(field.kind(), field.is_list(), depth)
    }
}

fn some(kind: Kind, is_list: bool, depth: u32) -> BoxedStrategy<Value> {
    if is_list { collection::vec(single(kind, depth), 0..4).prop_map(Value::List).boxed() } else { single(kind, depth) }
}

fn key(kind: &Kind) -> BoxedStrategy<MapKey> {
    match kind {
        Kind::Bool => any::<bool>().prop_map(MapKey::Bool).boxed(),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => limits(i32::MIN, i32::MAX).prop_map(MapKey::I32).boxed(),
        Kind::Uint32 | Kind::Fixed32 => limits(u32::MIN, u32::MAX).prop_map(MapKey::U32).boxed(),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => limits(i64::MIN, i64::MAX).prop_map(MapKey::I64).boxed(),
        Kind::Uint64 | Kind::Fixed64 => limits(u64::MIN, u64::MAX).prop_map(MapKey::U64).boxed(),
        _ => any::<String>().prop_map(MapKey::String).boxed(),
    }
}

fn single(kind: Kind, depth: u32) -> BoxedStrategy<Value> {
    match kind {
        Kind::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => limits(i32::MIN, i32::MAX).prop_map(Value::I32).boxed(),
        Kind::Uint32 | Kind::Fixed32 => limits(u32::MIN, u32::MAX).prop_map(Value::U32).boxed(),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => limits(i64::MIN, i64::MAX).prop_map(Value::I64).boxed(),
        Kind::Uint64 | Kind::Fixed64 => limits(u64::MIN, u64::MAX).prop_map(Value::U64).boxed(),
        // Equality has to hold, so neither NaN nor a zero with a sign; tables cover those.
        // The oracle refuses to read the largest of them, where it is written in as few digits as tell it from others.
        Kind::Float => any::<f32>().prop_map(|value| Value::F32(if value == 0.0 { 0.0 } else { value })).boxed(),
        Kind::Double => {
            limits(f64::MIN, f64::MAX).prop_map(|value| Value::F64(if value == 0.0 { 0.0 } else { value })).boxed()
        }
        Kind::String => any::<String>().prop_map(Value::String).boxed(),
        Kind::Bytes => collection::vec(any::<u8>(), 0..20).prop_map(|bytes| Value::Bytes(bytes.into())).boxed(),
        Kind::Enum(declared) => number(&declared).prop_map(Value::EnumNumber).boxed(),
        Kind::Message(descriptor) => message(descriptor, depth.saturating_sub(1)).prop_map(Value::Message).boxed(),
    }
}

/// Any value, and often the least or the most.
fn limits<T: Arbitrary + Clone + 'static>(least: T, most: T) -> BoxedStrategy<T> {
    prop_oneof![6 => any::<T>(), 1 => Just(least), 1 => Just(most)].boxed()
}

/// Mostly one that has a name.
fn number(declared: &EnumDescriptor) -> BoxedStrategy<i32> {
    let numbers: Vec<_> = declared.values().map(|value| value.number()).collect();
    let named = prop::sample::select(numbers);
    if declared.full_name() == "google.protobuf.NullValue" {
        return named.boxed();
    }
    prop_oneof![3 => named, 1 => any::<i32>()].boxed()
}

/// Messages of which not every combination of fields has a JSON form.
fn known(descriptor: &MessageDescriptor, depth: u32) -> Option<BoxedStrategy<DynamicMessage>> {
    let texts: BoxedStrategy<String> = match descriptor.full_name() {
        "google.protobuf.Timestamp" => (0_u8..=59, 0_u16..=9999, 1_u8..=12, 1_u8..=28, 0_u32..1_000_000_000)
            .prop_map(|(second, year, month, day, nanos)| {
                format!("\"{:04}-{month:02}-{day:02}T23:59:{second:02}.{nanos:09}Z\"", year.max(1))
            })
            .boxed(),
        "google.protobuf.Duration" => (-315_575_999_999_i64..315_576_000_000, 0_u32..1_000_000_000)
            .prop_map(|(seconds, nanos)| format!("\"{seconds}.{nanos:09}s\""))
            .boxed(),
        "google.protobuf.FieldMask" => "\"([a-z]{1,3}[A-Z][a-z0-9]{0,3}(\\.[a-z]{1,2})?,){0,3}[a-z]{1,4}\"".boxed(),
        "google.protobuf.Struct" => r#"\{("[a-c]{3}":(null|1\.5|"x"|true|\[1,\{\}\]))?\}"#.boxed(),
        "google.protobuf.Value" => r#"null|-?[1-9]{1,9}\.5|"[a-z]{0,9}"|true|\[("a",)?2\]|\{"a":\[\]\}"#.boxed(),
        "google.protobuf.ListValue" => r#"\[(null,)?(3,)?("a",)?\{\}\]"#.boxed(),
        "google.protobuf.Any" => any_of(descriptor, depth)?,
        _ => return None,
    };
    let descriptor = descriptor.clone();
    let read = move |json: String| {
        let mut deserializer = serde_json::Deserializer::from_str(&json);
        DynamicMessage::deserialize(descriptor.clone(), &mut deserializer).expect(&json)
    };
    Some(texts.prop_map(read).boxed())
}

/// The JSON of a `google.protobuf.Any` with a message of the schema's own, or with a known one.
fn any_of(descriptor: &MessageDescriptor, depth: u32) -> Option<BoxedStrategy<String>> {
    let own = ["kitchen.Leaf", "x.M1"];
    let own = own.into_iter().find_map(|name| descriptor.parent_pool().get_message_by_name(name))?;
    let url = format!("type.googleapis.com/{}", own.full_name());
    let own = message(own, depth.min(1)).prop_map(move |message| {
        // As text: as a value, the largest float would be a little larger.
        let members = json(&message);
        let comma = if members == "{}" { "" } else { "," };
        format!("{{\"@type\":\"{url}\"{comma}{}", &members[1..])
    });
    let known =
        r#"\{"@type":"a/google\.protobuf\.(Duration","value":"[1-9]s"|Value","value":(null|2)|Empty","value":\{\})\}"#;
    Some(prop_oneof![own, known].boxed())
}
