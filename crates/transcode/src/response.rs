//! Transcoding of responses: wire bytes, written as canonical proto3 JSON.

use std::{borrow::Cow, ops::Range};

use accord_wire::{Occurrence, Occurrences, Value, WireType, low, occurrences, read_value, zigzag};

use crate::{
    known,
    options::Output,
    order::{SORTED, is_ordered, rearranged},
    room::Room,
    schema::{Field, Form, Kind, Known, Schema, Shape},
    text::{put_base64, put_double, put_float, put_signed, put_string, put_unsigned},
    violation::Malformed,
};

/// Writes JSON from wire bytes.
pub(crate) struct Decoder<'s, 'o> {
    pub(crate) schema: &'s Schema,
    pub(crate) out: &'o mut Vec<u8>,
    /// How much deeper messages may be nested.
    pub(crate) depth: usize,
    pub(crate) output: Output,
    pub(crate) room: Room<'o>,
}

impl<'s> Decoder<'s, '_> {
    pub(crate) fn message(&mut self, shape: &'s Shape, message: &[u8]) -> Result<(), Malformed> {
        // As JSON counts them: what came in within the limit has to get out again.
        let level = usize::from(shape.nests());
        self.depth = self.depth.checked_sub(level).ok_or(Malformed::Depth)?;
        match shape.known {
            None | Some(Known::Empty | Known::HttpBody) => {
                self.out.push(b'{');
                self.fields(shape, message, true)?;
                self.out.push(b'}');
            }
            Some(Known::Only) => self.only(shape, 0, message)?,
            Some(Known::Value) => self.one_of(shape, message)?,
            Some(Known::Any) => self.any(message)?,
            Some(text) => known::put_json(self.out, text, message)?,
        }
        self.depth += level;
        Ok(())
    }

    /// The value of one field of a message, or what stands for its absence.
    pub(crate) fn only(&mut self, shape: &'s Shape, position: usize, message: &[u8]) -> Result<(), Malformed> {
        self.in_order(shape, message, |decoder, message| decoder.one_field(&shape.fields[position], message))
    }

    fn one_field(&mut self, field: &'s Field, message: &[u8]) -> Result<(), Malformed> {
        let mut rest = occurrences(message);
        while let Some(occurrence) = rest.next().transpose()? {
            if occurrence.number == field.number {
                return self.whole(field, occurrence, &mut rest);
            }
        }
        match field.form {
            Form::List { .. } => self.out.extend_from_slice(b"[]"),
            Form::Map => self.out.extend_from_slice(b"{}"),
            Form::Single { implicit: true } => return self.value(field, zero(field.kind)),
            Form::Single { implicit: false } => self.out.extend_from_slice(b"null"),
        }
        Ok(())
    }

    /// The members of an object, without its braces.
    fn fields(&mut self, shape: &'s Shape, message: &[u8], first: bool) -> Result<(), Malformed> {
        self.in_order(shape, message, |decoder, message| decoder.members(shape, message, first))
    }

    fn members(&mut self, shape: &'s Shape, message: &[u8], mut first: bool) -> Result<(), Malformed> {
        let (mut rest, mut expected) = (occurrences(message), 0);
        while let Some(occurrence) = rest.next().transpose()? {
            let Some(index) = shape.by_number(occurrence.number, expected) else { continue };
            let field = &shape.fields[index];
            if is_absent(field, &occurrence, &rest) {
                continue;
            }
            self.defaults(shape, expected..index, &mut first)?;
            expected = index + 1;
            self.key(shape, index, &mut first)?;
            self.whole(field, occurrence, &mut rest)?;
        }
        self.defaults(shape, expected..shape.fields.len(), &mut first)
    }

    /// Writes of a message in the order in which JSON is written.
    fn in_order(
        &mut self,
        shape: &Shape,
        message: &[u8],
        write: impl FnOnce(&mut Self, &[u8]) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let message = self.ordered(shape, message)?;
        write(self, &message)?;
        self.release(message);
        Ok(())
    }

    /// A message in the order in which JSON is written, for which it may have to be copied.
    pub(crate) fn ordered<'m>(&mut self, shape: &Shape, message: &'m [u8]) -> Result<Cow<'m, [u8]>, Malformed> {
        if is_ordered(shape, message)? {
            return Ok(Cow::Borrowed(message));
        }
        let while_sorted = occurrences(message).count() * SORTED;
        self.room.take(while_sorted + message.len(), self.out)?;
        let copy = rearranged(shape, message)?;
        self.room.give_back(while_sorted + message.len() - copy.len());
        Ok(Cow::Owned(copy))
    }

    /// Such a message is needed no more.
    pub(crate) fn release(&mut self, message: Cow<'_, [u8]>) {
        if let Cow::Owned(copy) = message {
            self.room.give_back(copy.len());
        }
    }

    /// The value of a field, with those occurrences that follow.
    fn whole(
        &mut self,
        field: &'s Field,
        occurrence: Occurrence<'_>,
        rest: &mut Occurrences<'_>,
    ) -> Result<(), Malformed> {
        match field.form {
            Form::Single { .. } => self.value(field, occurrence.value),
            Form::List { .. } => self.list(field, occurrence, rest),
            Form::Map => self.map(field, occurrence, rest),
        }
    }

    fn list(
        &mut self,
        field: &'s Field,
        occurrence: Occurrence<'_>,
        rest: &mut Occurrences<'_>,
    ) -> Result<(), Malformed> {
        self.out.push(b'[');
        let (mut next, start) = (Some(occurrence), self.out.len());
        while let Some(occurrence) = next {
            match occurrence.value {
                Value::Bytes(packed) if field.kind.is_packable() => self.packed(field, packed, start)?,
                value => self.element(field, value, start)?,
            }
            next = following(rest, field.number)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn packed(&mut self, field: &'s Field, mut packed: &[u8], start: usize) -> Result<(), Malformed> {
        while !packed.is_empty() {
            self.element(field, read_value(&mut packed, field.kind.wire_type())?, start)?;
        }
        Ok(())
    }

    fn element(&mut self, field: &'s Field, value: Value<'_>, start: usize) -> Result<(), Malformed> {
        if self.out.len() > start {
            self.out.push(b',');
        }
        self.value(field, value)?;
        self.room.check(self.out)
    }

    /// `google.protobuf.Value`: whichever field is there. Nothing is there in a null that was not set.
    fn one_of(&mut self, shape: &'s Shape, message: &[u8]) -> Result<(), Malformed> {
        self.in_order(shape, message, |decoder, message| decoder.first_known(shape, message))
    }

    fn first_known(&mut self, shape: &'s Shape, message: &[u8]) -> Result<(), Malformed> {
        for occurrence in occurrences(message) {
            let occurrence = occurrence?;
            let Some(index) = shape.by_number(occurrence.number, 0) else { continue };
            let field = &shape.fields[index];
            return match occurrence.value {
                Value::Fixed64(bits) if !f64::from_bits(bits).is_finite() => {
                    Err(Malformed::Value("a Value holds a number that is not finite"))
                }
                value => self.value(field, value),
            };
        }
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    fn any(&mut self, message: &[u8]) -> Result<(), Malformed> {
        let (mut url, mut content): (&[u8], &[u8]) = (b"", b"");
        for occurrence in occurrences(message) {
            match occurrence? {
                Occurrence { number: 1, value: Value::Bytes(bytes), .. } => url = bytes,
                Occurrence { number: 2, value: Value::Bytes(bytes), .. } => content = bytes,
                _ => {}
            }
        }
        if url.is_empty() && content.is_empty() {
            self.out.extend_from_slice(b"{}");
            return Ok(());
        }
        let url = std::str::from_utf8(url).map_err(|_| Malformed::UnknownType)?;
        let shape = self.schema.by_type_url(url).ok_or(Malformed::UnknownType)?;
        self.out.extend_from_slice(b"{\"@type\":");
        put_string(self.out, url);
        if shape.known.is_some_and(Known::wrapped_in_any) {
            self.out.extend_from_slice(b",\"value\":");
            self.message(shape, content)?;
        } else {
            self.fields(shape, content, false)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    /// A single value.
    pub(crate) fn value(&mut self, field: &'s Field, value: Value<'_>) -> Result<(), Malformed> {
        match (field.kind, value) {
            (Kind::Bool, Value::Varint(value)) => {
                self.out.extend_from_slice(if value == 0 { b"false" } else { b"true" });
            }
            (Kind::Int32, Value::Varint(value)) => put_signed(self.out, low(value).cast_signed().into()),
            (Kind::Sint32, Value::Varint(value)) => put_signed(self.out, zigzag(low(value).into())),
            (Kind::Sfixed32, Value::Fixed32(value)) => put_signed(self.out, value.cast_signed().into()),
            (Kind::Uint32, Value::Varint(value)) => put_unsigned(self.out, low(value).into()),
            (Kind::Fixed32, Value::Fixed32(value)) => put_unsigned(self.out, value.into()),
            (Kind::Int64, Value::Varint(value)) | (Kind::Sfixed64, Value::Fixed64(value)) => {
                self.quoted(|out| put_signed(out, value.cast_signed()));
            }
            (Kind::Sint64, Value::Varint(value)) => self.quoted(|out| put_signed(out, zigzag(value))),
            (Kind::Uint64, Value::Varint(value)) | (Kind::Fixed64, Value::Fixed64(value)) => {
                self.quoted(|out| put_unsigned(out, value));
            }
            (Kind::Float, Value::Fixed32(bits)) => put_float(self.out, f32::from_bits(bits)),
            (Kind::Double, Value::Fixed64(bits)) => put_double(self.out, f64::from_bits(bits)),
            (Kind::String, Value::Bytes(bytes)) => {
                let text = std::str::from_utf8(bytes).map_err(|_| Malformed::Value("a string is not UTF-8"))?;
                put_string(self.out, text);
            }
            (Kind::Bytes, Value::Bytes(bytes)) => put_base64(self.out, bytes),
            (Kind::Enum(names), Value::Varint(value)) => self.enumerated(names, low(value).cast_signed()),
            (Kind::Message(index), Value::Bytes(message)) | (Kind::Group(index), Value::Group(message)) => {
                self.message(self.schema.shape(index), message)?;
            }
            _ => return Err(Malformed::Type { field: field.name().to_owned() }),
        }
        Ok(())
    }

    /// The name of a member and its colon.
    fn key(&mut self, shape: &'s Shape, index: usize, first: &mut bool) -> Result<(), Malformed> {
        if !std::mem::replace(first, false) {
            self.out.push(b',');
        }
        let key = if self.output.proto_names { shape.proto_key(index) } else { shape.fields[index].key() };
        self.out.extend_from_slice(key);
        self.room.check(self.out)
    }

    /// Those of these fields that were not there and have no presence, at their default values.
    fn defaults(&mut self, shape: &'s Shape, absent: Range<usize>, first: &mut bool) -> Result<(), Malformed> {
        if !self.output.defaults {
            return Ok(());
        }
        for index in absent {
            let field = &shape.fields[index];
            if field.has_presence() {
                continue;
            }
            self.key(shape, index, first)?;
            match field.form {
                Form::List { .. } => self.out.extend_from_slice(b"[]"),
                Form::Map => self.out.extend_from_slice(b"{}"),
                Form::Single { .. } => self.value(field, zero(field.kind))?,
            }
        }
        Ok(())
    }

    fn enumerated(&mut self, names: usize, number: i32) {
        let names = self.schema.names(names);
        match names.name(number).filter(|_| !self.output.enum_numbers) {
            _ if names.null => self.out.extend_from_slice(b"null"),
            Some(name) => put_string(self.out, name),
            None => put_signed(self.out, number.into()),
        }
    }

    /// Integers of 64 bits are strings, because JavaScript would round them.
    fn quoted(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        self.out.push(b'"');
        put(self.out);
        self.out.push(b'"');
    }
}

/// The next occurrence, if it belongs to the same field.
pub(crate) fn following<'a>(rest: &mut Occurrences<'a>, number: u32) -> Result<Option<Occurrence<'a>>, Malformed> {
    let mut ahead = rest.clone();
    match ahead.next().transpose()? {
        Some(occurrence) if occurrence.number == number => {
            *rest = ahead;
            Ok(Some(occurrence))
        }
        _ => Ok(None),
    }
}

/// Whether what stands on the wire means that the field is not there.
fn is_absent(field: &Field, occurrence: &Occurrence<'_>, rest: &Occurrences<'_>) -> bool {
    match (field.form, occurrence.value) {
        (Form::Single { implicit: true }, Value::Varint(value)) => match field.kind {
            Kind::Int32 | Kind::Sint32 | Kind::Uint32 | Kind::Enum(_) => low(value) == 0,
            _ => value == 0,
        },
        (Form::Single { implicit: true }, value) => value == zero(field.kind),
        // An empty packed list is an empty list, unless more of it follows.
        (Form::List { .. }, Value::Bytes([])) => {
            field.kind.is_packable() && !matches!(rest.clone().next(), Some(Ok(next)) if next.number == field.number)
        }
        _ => false,
    }
}

pub(crate) fn zero(kind: Kind) -> Value<'static> {
    match kind.wire_type() {
        WireType::Varint => Value::Varint(0),
        WireType::Fixed32 => Value::Fixed32(0),
        WireType::Fixed64 => Value::Fixed64(0),
        WireType::Bytes => Value::Bytes(&[]),
        WireType::StartGroup | WireType::EndGroup => Value::Group(&[]),
    }
}
