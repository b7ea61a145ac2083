//! Which of the two syntaxes can say what a file of an edition says.
//!
//! Only proto3 has fields whose absence does not show. Only proto2 has enums that don't begin with zero, and names that
//! collide in JSON. A file with both becomes proto2: there, such a field is only written where the other side writes it.

use accord_wire::{MAX_DEPTH, Malformed};

use super::features::{self, Features, Presence, nested, number};
use super::{field, file, has_own_presence, message};

/// `google.protobuf.EnumDescriptorProto.value`, `google.protobuf.EnumValueDescriptorProto.number`.
const VALUE: u32 = 2;
const NUMBER: u32 = 2;

#[derive(Default)]
struct Survey {
    has_implicit: bool,
    has_proto2_alone: bool,
}

/// Whether the file becomes proto3.
pub(super) fn fits_proto3(file: &[u8], features: Features) -> Result<bool, Malformed> {
    let mut survey = Survey { has_proto2_alone: features.is_legacy_json, ..Survey::default() };
    for inner in nested(file, file::MESSAGE) {
        survey.message(inner?, features, MAX_DEPTH)?;
    }
    for inner in nested(file, file::ENUM) {
        survey.enumeration(inner?)?;
    }
    Ok(survey.has_implicit && !survey.has_proto2_alone)
}

impl Survey {
    fn message(&mut self, message: &[u8], outer: Features, depth: usize) -> Result<(), Malformed> {
        let depth = depth.checked_sub(1).ok_or(Malformed::TooDeep)?;
        let features = outer.overridden(message, message::OPTIONS, features::OF_MESSAGE)?;
        self.has_proto2_alone |= features.is_legacy_json;
        for inner in nested(message, message::FIELD) {
            self.field(inner?, features)?;
        }
        for inner in nested(message, message::ENUM) {
            self.enumeration(inner?)?;
        }
        for inner in nested(message, message::MESSAGE) {
            self.message(inner?, features, depth)?;
        }
        Ok(())
    }

    fn field(&mut self, field: &[u8], outer: Features) -> Result<(), Malformed> {
        let features = outer.overridden(field, field::OPTIONS, features::OF_FIELD)?;
        let is_scalar = !matches!(number(field, field::TYPE)?, Some(field::GROUP | field::A_MESSAGE));
        let is_singular = number(field, field::LABEL)? != Some(field::REPEATED);
        let is_implicit = features.presence == Presence::Implicit && has_own_presence(field)?;
        self.has_implicit |= is_scalar && is_singular && is_implicit;
        Ok(())
    }

    fn enumeration(&mut self, enumeration: &[u8]) -> Result<(), Malformed> {
        if let Some(first) = nested(enumeration, VALUE).next() {
            self.has_proto2_alone |= number(first?, NUMBER)?.unwrap_or_default() != 0;
        }
        Ok(())
    }
}
