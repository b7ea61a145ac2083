//! `google.protobuf.FeatureSet`, as far as it says how messages are written, and the reading of one field of a descriptor.

use accord_wire::{Malformed, Occurrence, Value, occurrences};

/// `features` in `FileOptions`, `MessageOptions` and `FieldOptions`.
pub(super) const OF_FILE: u32 = 50;
pub(super) const OF_MESSAGE: u32 = 12;
pub(super) const OF_FIELD: u32 = 21;

/// Features in force at one place. What is inside has them too, unless it says otherwise.
#[derive(Clone, Copy, Debug)]
pub(super) struct Features {
    pub(super) presence: Presence,
    pub(super) is_packed: bool,
    pub(super) is_delimited: bool,
    /// Whether names that collide in JSON are let pass.
    pub(super) is_legacy_json: bool,
}

/// Whether the absence of a singular field shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Explicit,
    Implicit,
    Required,
}

impl Features {
    /// The defaults of edition 2023. Edition 2024 has the same for these.
    pub(super) const EDITION_2023: Self =
        Self { presence: Presence::Explicit, is_packed: true, is_delimited: false, is_legacy_json: false };

    /// With what the `options` of a descriptor say in their field `features`.
    pub(super) fn overridden(mut self, descriptor: &[u8], options: u32, features: u32) -> Result<Self, Malformed> {
        for options in nested(descriptor, options) {
            for set in nested(options?, features) {
                for feature in occurrences(set?) {
                    self.set(&feature?);
                }
            }
        }
        Ok(self)
    }

    fn set(&mut self, feature: &Occurrence<'_>) {
        match (feature.number, feature.value) {
            (1, Value::Varint(1)) => self.presence = Presence::Explicit,
            (1, Value::Varint(2)) => self.presence = Presence::Implicit,
            (1, Value::Varint(3)) => self.presence = Presence::Required,
            (3, Value::Varint(encoding)) => self.is_packed = encoding == 1,
            (5, Value::Varint(encoding)) => self.is_delimited = encoding == 2,
            (6, Value::Varint(format)) => self.is_legacy_json = format == 2,
            _ => {}
        }
    }
}

/// The messages in a field.
pub(super) fn nested(message: &[u8], number: u32) -> impl Iterator<Item = Result<&[u8], Malformed>> {
    occurrences(message).filter_map(move |occurrence| match occurrence {
        Ok(Occurrence { number: found, value: Value::Bytes(bytes), .. }) if found == number => Some(Ok(bytes)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    })
}

/// The text of a field, where it is set.
pub(super) fn text(message: &[u8], number: u32) -> Result<Option<&[u8]>, Malformed> {
    nested(message, number).last().transpose()
}

/// The number in a field, where it is set.
pub(super) fn number(message: &[u8], number: u32) -> Result<Option<u64>, Malformed> {
    let mut found = None;
    for occurrence in occurrences(message) {
        let occurrence = occurrence?;
        if let (true, Value::Varint(value)) = (occurrence.number == number, occurrence.value) {
            found = Some(value);
        }
    }
    Ok(found)
}
