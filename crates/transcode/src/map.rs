//! Maps of responses: entries of the wire, gathered into one JSON object.

use std::borrow::Cow;

use accord_wire::{Occurrence, Occurrences, Value, low, occurrences, zigzag};

use crate::{
    response::{Decoder, following, zero},
    schema::{Field, Kind},
    text::{put, put_string},
    violation::Malformed,
};

/// Bytes of memory that an entry takes while those of its map are gathered.
const ENTRY: usize = size_of::<Cow<'_, [u8]>>() + size_of::<(MapKey<'_>, Value<'_>)>();

impl<'s> Decoder<'s, '_> {
    /// Entries by ascending key, so that equal messages have equal JSON; of equal keys the last counts.
    pub(crate) fn map(
        &mut self,
        field: &'s Field,
        occurrence: Occurrence<'_>,
        rest: &mut Occurrences<'_>,
    ) -> Result<(), Malformed> {
        let mismatch = || Malformed::Type { field: field.name().to_owned() };
        let Kind::Message(entry) = field.kind else { return Err(mismatch()) };
        let entry = self.schema.shape(entry);
        let [key_field, value_field] = &entry.fields[..] else { return Err(mismatch()) };
        let (mut next, mut found) = (Some(occurrence), Vec::new());
        while let Some(occurrence) = next {
            let Value::Bytes(bytes) = occurrence.value else { return Err(mismatch()) };
            self.room.take(ENTRY, self.out)?;
            found.push(self.ordered(entry, bytes)?);
            next = following(rest, field.number)?;
        }
        let mut entries =
            found.iter().map(|bytes| parts(key_field, value_field, bytes)).collect::<Result<Vec<_>, _>>()?;
        // Stable, so that of equal keys the last is the last.
        entries.sort_by_key(|(key, _)| *key);
        self.out.push(b'{');
        for (index, group) in entries.chunk_by(|(left, _), (right, _)| left == right).enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            let (key, value) = group[group.len() - 1];
            key.put(self.out);
            self.value(value_field, value)?;
            self.room.check(self.out)?;
        }
        self.out.push(b'}');
        self.room.give_back(found.len() * ENTRY);
        for entry in found {
            self.release(entry);
        }
        Ok(())
    }
}

/// Key and value of an entry; what is absent has its default.
fn parts<'a>(key: &Field, value: &Field, entry: &'a [u8]) -> Result<(MapKey<'a>, Value<'a>), Malformed> {
    let (mut found_key, mut found_value) = (zero(key.kind), zero(value.kind));
    for occurrence in occurrences(entry) {
        let occurrence = occurrence?;
        match occurrence.number {
            1 => found_key = occurrence.value,
            2 => found_value = occurrence.value,
            _ => {}
        }
    }
    Ok((MapKey::of(key, found_key)?, found_value))
}

/// The key of a map's entry, in the order in which entries are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum MapKey<'a> {
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Text(&'a str),
}

impl<'a> MapKey<'a> {
    fn of(field: &Field, value: Value<'a>) -> Result<Self, Malformed> {
        Ok(match (field.kind, value) {
            (Kind::Bool, Value::Varint(value)) => Self::Bool(value != 0),
            (Kind::Int32, Value::Varint(value)) => Self::Signed(low(value).cast_signed().into()),
            (Kind::Sint32, Value::Varint(value)) => Self::Signed(zigzag(low(value).into())),
            (Kind::Sfixed32, Value::Fixed32(value)) => Self::Signed(value.cast_signed().into()),
            (Kind::Int64, Value::Varint(value)) | (Kind::Sfixed64, Value::Fixed64(value)) => {
                Self::Signed(value.cast_signed())
            }
            (Kind::Sint64, Value::Varint(value)) => Self::Signed(zigzag(value)),
            (Kind::Uint32, Value::Varint(value)) => Self::Unsigned(low(value).into()),
            (Kind::Fixed32, Value::Fixed32(value)) => Self::Unsigned(value.into()),
            (Kind::Uint64, Value::Varint(value)) | (Kind::Fixed64, Value::Fixed64(value)) => Self::Unsigned(value),
            (Kind::String, Value::Bytes(bytes)) => {
                Self::Text(std::str::from_utf8(bytes).map_err(|_| Malformed::Value("a key is not UTF-8"))?)
            }
            _ => return Err(Malformed::Type { field: field.name().to_owned() }),
        })
    }

    fn put(self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => put_string(out, text),
            Self::Bool(value) => out.extend_from_slice(if value { b"\"true\"" } else { b"\"false\"" }),
            Self::Signed(value) => put(out, format_args!("\"{value}\"")),
            Self::Unsigned(value) => put(out, format_args!("\"{value}\"")),
        }
        out.push(b':');
    }
}
