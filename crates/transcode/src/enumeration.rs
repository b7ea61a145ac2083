//! Enums: names to numbers and back.

use prost_reflect::EnumDescriptor;

/// The names of an enum's values.
#[derive(Default)]
pub(crate) struct Names {
    by_name: Vec<(Box<str>, i32)>,
    by_number: Vec<(i32, Box<str>)>,
    /// `google.protobuf.NullValue`, whose only value is JSON's `null`.
    pub(crate) null: bool,
}

impl Names {
    pub(crate) fn compile(declared: &EnumDescriptor) -> Self {
        let mut compiled = Self { null: declared.full_name() == "google.protobuf.NullValue", ..Self::default() };
        // As they were declared: the descriptor's own iterator turns the names of one number round.
        for value in &declared.enum_descriptor_proto().value {
            compiled.by_name.push((value.name().into(), value.number()));
            compiled.by_number.push((value.number(), value.name().into()));
        }
        compiled.by_name.sort();
        // Stable, so that of several names for a number the one declared first is written.
        compiled.by_number.sort_by_key(|(number, _)| *number);
        compiled.by_number.dedup_by_key(|(number, _)| *number);
        compiled
    }

    pub(crate) fn number(&self, name: &str) -> Option<i32> {
        let found = self.by_name.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        Some(self.by_name[found].1)
    }

    pub(crate) fn name(&self, number: i32) -> Option<&str> {
        let found = self.by_number.binary_search_by_key(&number, |(known, _)| *known).ok()?;
        Some(&self.by_number[found].1)
    }
}
