//! Files of editions 2023 and 2024, lowered to the syntax that says the same: what reads descriptors here knows proto2 and
//! proto3 alone.
//!
//! A lowered file is the original with values added behind it, since on the wire the last value of a field counts and options
//! merge. Whether an enum is open changes nothing here: a number without a name is kept in either.

mod features;
mod survey;

use std::borrow::Cow;

use accord_wire::{MAX_DEPTH, Malformed, Value, WireType, occurrences, put_bytes, put_field, put_tag, put_varint};

use features::{Features, Presence, nested, number, text};

/// Editions by their numbers in `google.protobuf.Edition`.
const KNOWN: [u64; 2] = [1000, 1001];

/// `google.protobuf.FileDescriptorProto`.
mod file {
    pub(super) const NAME: u32 = 1;
    pub(super) const MESSAGE: u32 = 4;
    pub(super) const ENUM: u32 = 5;
    pub(super) const EXTENSION: u32 = 7;
    pub(super) const OPTIONS: u32 = 8;
    pub(super) const SYNTAX: u32 = 12;
    pub(super) const EDITION: u32 = 14;
}

/// `google.protobuf.DescriptorProto`.
mod message {
    pub(super) const NAME: u32 = 1;
    pub(super) const FIELD: u32 = 2;
    pub(super) const MESSAGE: u32 = 3;
    pub(super) const ENUM: u32 = 4;
    pub(super) const EXTENSION: u32 = 6;
    pub(super) const OPTIONS: u32 = 7;
}

/// `google.protobuf.FieldDescriptorProto`.
mod field {
    pub(super) const EXTENDEE: u32 = 2;
    pub(super) const LABEL: u32 = 4;
    pub(super) const TYPE: u32 = 5;
    pub(super) const TYPE_NAME: u32 = 6;
    pub(super) const OPTIONS: u32 = 8;
    pub(super) const ONEOF_INDEX: u32 = 9;
    pub(super) const PROTO3_OPTIONAL: u32 = 17;
    pub(super) const REQUIRED: u64 = 2;
    pub(super) const REPEATED: u64 = 3;
    pub(super) const STRING: u64 = 9;
    pub(super) const GROUP: u64 = 10;
    pub(super) const A_MESSAGE: u64 = 11;
    pub(super) const BYTES: u64 = 12;
}

/// `google.protobuf.FieldOptions.packed`, `google.protobuf.MessageOptions.map_entry`.
const PACKED: u32 = 2;
const MAP_ENTRY: u32 = 7;

/// Why a descriptor set can't be lowered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LowerError {
    /// It is not made of messages.
    Malformed(Malformed),
    /// A file is of an edition that came later.
    Unknown { file: String, edition: u64 },
}

impl From<Malformed> for LowerError {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error)
    }
}

/// The same descriptor set without editions.
pub(crate) fn lowered(set: &[u8]) -> Result<Cow<'_, [u8]>, LowerError> {
    let mut has_editions = false;
    for file in nested(set, 1) {
        has_editions |= is_edition(file?)?;
    }
    if !has_editions {
        return Ok(Cow::Borrowed(set));
    }
    let mut out = Vec::with_capacity(set.len() + set.len() / 8);
    for occurrence in occurrences(set) {
        let occurrence = occurrence?;
        match (occurrence.number, occurrence.value) {
            (1, Value::Bytes(file)) if is_edition(file)? => put_bytes(&mut out, 1, &lowered_file(file)?),
            _ => out.extend_from_slice(occurrence.raw),
        }
    }
    Ok(Cow::Owned(out))
}

fn is_edition(file: &[u8]) -> Result<bool, Malformed> {
    Ok(text(file, file::SYNTAX)? == Some(b"editions"))
}

fn lowered_file(file: &[u8]) -> Result<Vec<u8>, LowerError> {
    let edition = number(file, file::EDITION)?.unwrap_or_default();
    if !KNOWN.contains(&edition) {
        let name = text(file, file::NAME)?.unwrap_or_default();
        return Err(LowerError::Unknown { file: String::from_utf8_lossy(name).into_owned(), edition });
    }
    let features = Features::EDITION_2023.overridden(file, file::OPTIONS, features::OF_FILE)?;
    let lowering = Lowering { to_proto3: survey::fits_proto3(file, features)? };
    let mut out = Vec::with_capacity(file.len() + file.len() / 8);
    for occurrence in occurrences(file) {
        let occurrence = occurrence?;
        match (occurrence.number, occurrence.value) {
            (file::MESSAGE, Value::Bytes(message)) => {
                put_bytes(&mut out, file::MESSAGE, &lowering.message(message, features, MAX_DEPTH)?);
            }
            (file::EXTENSION, Value::Bytes(extension)) => {
                put_bytes(&mut out, file::EXTENSION, &lowering.field(extension, features, &Inside::default())?);
            }
            (file::SYNTAX | file::EDITION, _) => {}
            _ => out.extend_from_slice(occurrence.raw),
        }
    }
    put_bytes(&mut out, file::SYNTAX, if lowering.to_proto3 { b"proto3" } else { b"proto2" });
    Ok(out)
}

/// What of a message decides about its fields.
#[derive(Default)]
struct Inside<'a> {
    /// Whether it is the entry of a map.
    entry: bool,
    /// The names of the entries of its maps.
    maps: Vec<&'a [u8]>,
}

impl<'a> Inside<'a> {
    fn of(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut maps = Vec::new();
        for inner in nested(message, message::MESSAGE) {
            let inner = inner?;
            if is_map_entry(inner)? {
                maps.extend(text(inner, message::NAME)?);
            }
        }
        Ok(Self { entry: is_map_entry(message)?, maps })
    }

    /// Whether a field of it is a map. Its type is nested in the message itself.
    fn is_map(&self, type_name: &[u8]) -> bool {
        let name = type_name.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
        self.maps.contains(&name)
    }
}

fn is_map_entry(message: &[u8]) -> Result<bool, Malformed> {
    let mut found = false;
    for options in nested(message, message::OPTIONS) {
        found = number(options?, MAP_ENTRY)?.map_or(found, |flag| flag != 0);
    }
    Ok(found)
}

struct Lowering {
    to_proto3: bool,
}

impl Lowering {
    fn message(&self, message: &[u8], outer: Features, depth: usize) -> Result<Vec<u8>, Malformed> {
        let depth = depth.checked_sub(1).ok_or(Malformed::TooDeep)?;
        let features = outer.overridden(message, message::OPTIONS, features::OF_MESSAGE)?;
        let inside = Inside::of(message)?;
        let mut out = Vec::with_capacity(message.len() + message.len() / 8);
        for occurrence in occurrences(message) {
            let occurrence = occurrence?;
            match (occurrence.number, occurrence.value) {
                (number @ (message::FIELD | message::EXTENSION), Value::Bytes(field)) => {
                    put_bytes(&mut out, number, &self.field(field, features, &inside)?);
                }
                (message::MESSAGE, Value::Bytes(inner)) => {
                    put_bytes(&mut out, message::MESSAGE, &self.message(inner, features, depth)?);
                }
                _ => out.extend_from_slice(occurrence.raw),
            }
        }
        Ok(out)
    }

    fn field(&self, field: &[u8], outer: Features, inside: &Inside<'_>) -> Result<Vec<u8>, Malformed> {
        let features = outer.overridden(field, field::OPTIONS, features::OF_FIELD)?;
        let is_repeated = number(field, field::LABEL)? == Some(field::REPEATED);
        let kind = number(field, field::TYPE)?.unwrap_or_default();
        let mut out = field.to_vec();
        if is_repeated && !matches!(kind, field::STRING | field::GROUP | field::A_MESSAGE | field::BYTES) {
            put_tag(&mut out, field::OPTIONS, WireType::Bytes);
            put_varint(&mut out, 2);
            put_field(&mut out, PACKED, Value::Varint(features.is_packed.into()));
        }
        if !is_repeated && has_own_presence(field)? {
            match features.presence {
                Presence::Required => put_field(&mut out, field::LABEL, Value::Varint(field::REQUIRED)),
                Presence::Explicit if self.to_proto3 && kind != field::A_MESSAGE => {
                    put_field(&mut out, field::PROTO3_OPTIONAL, Value::Varint(1));
                }
                _ => {}
            }
        }
        let is_map = text(field, field::TYPE_NAME)?.is_some_and(|name| inside.is_map(name));
        if kind == field::A_MESSAGE && features.is_delimited && !is_map && !inside.entry {
            put_field(&mut out, field::TYPE, Value::Varint(field::GROUP));
        }
        Ok(out)
    }
}

/// Whether a singular field says itself if its absence shows. A member of a oneof and an extension always show it.
fn has_own_presence(field: &[u8]) -> Result<bool, Malformed> {
    Ok(number(field, field::ONEOF_INDEX)?.is_none() && text(field, field::EXTENDEE)?.is_none())
}
