//! Canonical form: one spelling for all encodings of the same message, so that equal requests have equal cache keys.

mod shape;

use std::borrow::Cow;
use std::sync::Arc;

use accord_wire::{
    MAX_DEPTH, Malformed, Occurrence, Value, WireType, occurrences, put_field, put_tag, put_value, read_value,
};
use bytes::Bytes;
use prost_reflect::MessageDescriptor;

use shape::{Field, Form, Place, Shape, What, shapes};

/// How messages of one type are spelt, compiled once from their descriptor.
#[derive(Clone, Debug)]
pub struct Canonical {
    /// The type itself first.
    shapes: Arc<[Shape]>,
}

/// A value, or what keeps it from being one.
type Read<'a> = Result<Value<'a>, Malformed>;

impl Canonical {
    /// Compiles a message type.
    pub fn of(root: &MessageDescriptor) -> Self {
        Self { shapes: shapes(root).into() }
    }

    /// The canonical form of a message: known fields in the order of their numbers without defaults, maps sorted by key,
    /// then unknown fields in the order of theirs. It is a valid encoding of the same message, and its own canonical form.
    pub fn form(&self, message: &[u8]) -> Result<Bytes, Malformed> {
        let mut out = Vec::with_capacity(message.len());
        self.message(&self.shapes[0], message, MAX_DEPTH, &mut out)?;
        Ok(out.into())
    }

    fn message(&self, shape: &Shape, message: &[u8], depth: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let depth = depth.checked_sub(1).ok_or(Malformed::TooDeep)?;
        for same in shape.places(message)?.chunk_by(|one, other| one.0 == other.0) {
            match shape.known(same[0].0) {
                Some(field) => self.field(field, values(message, same), depth, out)?,
                None => same.iter().try_for_each(|place| put_unknown(out, &occurrence(message, *place)?))?,
            }
        }
        Ok(())
    }

    fn field<'a>(
        &self,
        field: &Field,
        mut values: impl Iterator<Item = Read<'a>>,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        match (field.form, field.what) {
            (Form::Implicit, _) => self.single(field, values, false, depth, out),
            (Form::Explicit, _) => self.single(field, values, true, depth, out),
            (Form::Map, What::Message(entry)) => self.map(field, &self.shapes[entry], values, depth, out),
            (_, What::Message(inner)) => values.try_for_each(|value| {
                let body = body(field, value?)?;
                self.nested(field, inner, body, depth, out)
            }),
            (Form::Packed, _) => {
                let mut packed = Vec::new();
                elements(field, values, |element| put_value(&mut packed, element))?;
                if !packed.is_empty() {
                    put_field(out, field.number, Value::Bytes(&packed));
                }
                Ok(())
            }
            _ => elements(field, values, |element| put_field(out, field.number, element)),
        }
    }

    /// The last occurrence counts, or else the default; the occurrences of a message are pieces of one.
    fn single<'a>(
        &self,
        field: &Field,
        values: impl Iterator<Item = Read<'a>>,
        even_default: bool,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        if let What::Message(inner) = field.what {
            let pieces = values.map(|value| body(field, value?)).collect::<Result<Vec<_>, _>>()?;
            // Concatenated encodings are the encoding of the merged message.
            let merged = if let [whole] = pieces[..] { Cow::Borrowed(whole) } else { Cow::Owned(pieces.concat()) };
            return self.nested(field, inner, &merged, depth, out);
        }
        let value = normal(field, values.last().unwrap_or(Ok(zero(field.wire_type)))?)?;
        if even_default || !is_zero(value) {
            put_field(out, field.number, value);
        }
        Ok(())
    }

    fn nested(
        &self,
        field: &Field,
        inner: usize,
        message: &[u8],
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        let mut body = Vec::new();
        self.message(&self.shapes[inner], message, depth, &mut body)?;
        let is_group = field.wire_type == WireType::StartGroup;
        put_field(out, field.number, if is_group { Value::Group(&body) } else { Value::Bytes(&body) });
        Ok(())
    }

    /// Entries sorted by their key's bytes; the last entry of a key wins. Both halves are written, defaults too.
    fn map<'a>(
        &self,
        field: &Field,
        entry: &Shape,
        values: impl Iterator<Item = Read<'a>>,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        let [key, value] = &entry.fields[..] else { return Err(Malformed::WrongType) };
        // All entries one after another, and where each begins, where its value does, and where it ends.
        let (mut bodies, mut entries) = (Vec::new(), Vec::new());
        let end = |bodies: &Vec<u8>| u32::try_from(bodies.len()).map_err(|_| Malformed::TooLarge);
        for occurrence in values {
            let message = body(field, occurrence?)?;
            let places = entry.places(message)?;
            let (keys, rest) = places.split_at(places.partition_point(|place| place.0 == 0));
            let found = &rest[..rest.partition_point(|place| place.0 == 1)];
            let start = end(&bodies)?;
            self.single(key, self::values(message, keys), true, depth, &mut bodies)?;
            let split = end(&bodies)?;
            self.single(value, self::values(message, found), true, depth, &mut bodies)?;
            entries.push([start, split, end(&bodies)?]);
        }
        let key = |entry: &[u32; 3]| &bodies[entry[0] as usize..entry[1] as usize];
        // Stable, so that of equal keys the last is the last.
        entries.sort_by(|one, other| key(one).cmp(key(other)));
        for same in entries.chunk_by(|one, other| key(one) == key(other)) {
            let [start, _, end] = same[same.len() - 1];
            put_field(out, field.number, Value::Bytes(&bodies[start as usize..end as usize]));
        }
        Ok(())
    }
}

fn values<'a>(message: &'a [u8], places: &[Place]) -> impl Iterator<Item = Read<'a>> {
    places.iter().map(|place| occurrence(message, *place).map(|occurrence| occurrence.value))
}

fn occurrence(message: &[u8], place: Place) -> Result<Occurrence<'_>, Malformed> {
    occurrences(&message[place.1 as usize..]).next().unwrap_or(Err(Malformed::CutShort))
}

/// An unknown field with its tag and lengths in their shortest form, as decoders write what they keep of it.
fn put_unknown(out: &mut Vec<u8>, unknown: &Occurrence<'_>) -> Result<(), Malformed> {
    let Value::Group(inner) = unknown.value else {
        put_field(out, unknown.number, unknown.value);
        return Ok(());
    };
    put_tag(out, unknown.number, WireType::StartGroup);
    // No deeper than the reader, which has read it to its end, goes into groups.
    occurrences(inner).try_for_each(|inner| put_unknown(out, &inner?))?;
    put_tag(out, unknown.number, WireType::EndGroup);
    Ok(())
}

fn body<'a>(field: &Field, value: Value<'a>) -> Result<&'a [u8], Malformed> {
    match value {
        Value::Group(bytes) | Value::Bytes(bytes) if value.wire_type() == field.wire_type => Ok(bytes),
        _ => Err(Malformed::WrongType),
    }
}

/// A list of numbers may come packed, one by one, or both.
fn elements<'a>(
    field: &Field,
    mut values: impl Iterator<Item = Read<'a>>,
    mut put: impl FnMut(Value<'_>),
) -> Result<(), Malformed> {
    values.try_for_each(|value| {
        let mut packed = match value? {
            Value::Bytes(packed) if field.wire_type != WireType::Bytes => packed,
            value => return normal(field, value).map(&mut put),
        };
        while !packed.is_empty() {
            put(normal(field, read_value(&mut packed, field.wire_type)?)?);
        }
        Ok(())
    })
}

/// The value as every decoder understands it: varints cut to the width of their type, text checked.
#[expect(clippy::cast_possible_truncation, reason = "decoders truncate 32-bit varints so")]
#[expect(clippy::cast_sign_loss, reason = "negative 32-bit integers are written sign-extended")]
fn normal<'a>(field: &Field, value: Value<'a>) -> Read<'a> {
    if value.wire_type() != field.wire_type {
        return Err(Malformed::WrongType);
    }
    Ok(match (field.what, value) {
        (What::Bool, Value::Varint(bits)) => Value::Varint(u64::from(bits != 0)),
        (What::Int32, Value::Varint(bits)) => Value::Varint(i64::from(bits as i32) as u64),
        (What::Uint32, Value::Varint(bits)) => Value::Varint(u64::from(bits as u32)),
        (What::Text, Value::Bytes(bytes)) => {
            std::str::from_utf8(bytes).map_err(|_| Malformed::NotUtf8)?;
            value
        }
        _ => value,
    })
}

fn zero(wire_type: WireType) -> Value<'static> {
    match wire_type {
        WireType::Fixed64 => Value::Fixed64(0),
        WireType::Fixed32 => Value::Fixed32(0),
        WireType::Bytes => Value::Bytes(&[]),
        _ => Value::Varint(0),
    }
}

fn is_zero(value: Value<'_>) -> bool {
    matches!(value, Value::Varint(0) | Value::Fixed64(0) | Value::Fixed32(0) | Value::Bytes([]))
}
