//! Random encodings of messages: fields in any order and any number of times, and fields that nobody knows.

use accord_wire::{ScalarType, Value, WireType, put_field, put_value, zigzag};
use proptest::collection::vec;
use proptest::prelude::*;
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use crate::schema::scalar_type;

/// A value that owns its bytes.
#[derive(Clone, Debug)]
pub(crate) enum Owned {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(Vec<u8>),
    Group(Vec<u8>),
}

impl Owned {
    pub(crate) fn value(&self) -> Value<'_> {
        match self {
            Self::Varint(bits) => Value::Varint(*bits),
            Self::Fixed64(bits) => Value::Fixed64(*bits),
            Self::Fixed32(bits) => Value::Fixed32(*bits),
            Self::Bytes(bytes) => Value::Bytes(bytes),
            Self::Group(bytes) => Value::Group(bytes),
        }
    }
}

/// An encoding of a message of a type.
pub(crate) fn message(descriptor: &MessageDescriptor, depth: usize) -> BoxedStrategy<Vec<u8>> {
    let fields = descriptor.fields().filter(|field| depth > 0 || scalar_type(field).is_some());
    let mut occurrences: Vec<_> = fields.map(|field| occurrence(&field, depth)).collect();
    occurrences.push(unknown());
    vec(proptest::strategy::Union::new(occurrences), 0..10).prop_map(|all| all.concat()).boxed()
}

fn occurrence(field: &FieldDescriptor, depth: usize) -> BoxedStrategy<Vec<u8>> {
    let number = field.number();
    let put = move |value: Owned| encoded(number, value.value());
    match (field.kind(), scalar_type(field)) {
        (_, Some(scalar)) if field.is_list() && scalar.wire_type() != WireType::Bytes => {
            let packed = vec(value(scalar), 0..4).prop_map(move |values| {
                let mut packed = Vec::new();
                for value in values {
                    put_value(&mut packed, value.value());
                }
                encoded(number, Value::Bytes(&packed))
            });
            prop_oneof![packed, value(scalar).prop_map(put)].boxed()
        }
        (_, Some(scalar)) => value(scalar).prop_map(put).boxed(),
        (Kind::Message(inner), None) if field.is_group() => {
            message(&inner, depth - 1).prop_map(Owned::Group).prop_map(put).boxed()
        }
        (Kind::Message(inner), None) => message(&inner, depth - 1).prop_map(Owned::Bytes).prop_map(put).boxed(),
        (kind, None) => unreachable!("{kind:?}"),
    }
}

/// A value of a type, as encoders write it and as they do not.
fn value(scalar: ScalarType) -> BoxedStrategy<Owned> {
    let bits = prop_oneof![Just(0), 0..4_u64, Just(u64::MAX), any::<u64>()];
    match scalar.wire_type() {
        WireType::Varint => bits.prop_map(Owned::Varint).boxed(),
        WireType::Fixed64 => bits.prop_map(Owned::Fixed64).boxed(),
        WireType::Fixed32 => prop_oneof![Just(0), any::<u32>()].prop_map(Owned::Fixed32).boxed(),
        _ if scalar == ScalarType::String => {
            prop_oneof![Just(String::new()), "[a-c/{}%é\n]{1,4}"].prop_map(|text| Owned::Bytes(text.into())).boxed()
        }
        _ => vec(any::<u8>(), 0..4).prop_map(Owned::Bytes).boxed(),
    }
}

fn unknown() -> BoxedStrategy<Vec<u8>> {
    (100..104_u32, any_value()).prop_map(|(number, value)| encoded(number, value.value())).boxed()
}

/// A value of any wire type. What stands in a group is a message.
pub(crate) fn any_value() -> impl Strategy<Value = Owned> {
    let leaf = prop_oneof![
        any::<u64>().prop_map(Owned::Varint),
        any::<u64>().prop_map(|bits| Owned::Varint(zigzag(bits).cast_unsigned())),
        any::<u64>().prop_map(Owned::Fixed64),
        any::<u32>().prop_map(Owned::Fixed32),
        vec(any::<u8>(), 0..300).prop_map(Owned::Bytes),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        vec((number(), inner), 0..4).prop_map(|fields| {
            Owned::Group(fields.iter().flat_map(|(number, value)| encoded(*number, value.value())).collect())
        })
    })
}

/// Any number that a field can have.
pub(crate) fn number() -> impl Strategy<Value = u32> {
    prop_oneof![1..20_u32, 1..=0x1fff_ffff_u32]
}

pub(crate) fn encoded(number: u32, value: Value<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    put_field(&mut out, number, value);
    out
}
