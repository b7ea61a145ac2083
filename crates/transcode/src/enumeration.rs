//! Enums: names to numbers and back.

use prost_reflect::EnumDescriptor;

/// The names of an enum's values.
#[derive(Default)]
pub(crate) struct Names {
    /// As they are declared.
    values: Box<[(Box<str>, i32)]>,
    /// Positions of the values, by name, and by number without repetition.
    by_name: Box<[u32]>,
    by_number: Box<[u32]>,
    /// `google.protobuf.NullValue`, whose only value is JSON's `null`.
    pub(crate) null: bool,
}

impl Names {
    pub(crate) fn compile(declared: &EnumDescriptor) -> Self {
        // As they were declared: the descriptor's own iterator turns the names of one number round.
        let declared_values = &declared.enum_descriptor_proto().value;
        let values: Box<[(Box<str>, _)]> =
            declared_values.iter().map(|value| (value.name().into(), value.number())).collect();
        let positions = || (0..).zip(&values).map(|(position, _)| position).collect::<Vec<u32>>();
        let (mut by_name, mut by_number) = (positions(), positions());
        by_name.sort_by_key(|position| &*values[*position as usize].0);
        // Stable, so that of several names for a number the one declared first is written.
        by_number.sort_by_key(|position| values[*position as usize].1);
        by_number.dedup_by_key(|position| values[*position as usize].1);
        let null = declared.full_name() == "google.protobuf.NullValue";
        Self { by_name: by_name.into(), by_number: by_number.into(), values, null }
    }

    pub(crate) fn number(&self, name: &str) -> Option<i32> {
        let found = self.by_name.binary_search_by(|position| (*self.value(*position).0).cmp(name)).ok()?;
        Some(self.value(self.by_name[found]).1)
    }

    pub(crate) fn name(&self, number: i32) -> Option<&str> {
        let found = self.by_number.binary_search_by_key(&number, |position| self.value(*position).1).ok()?;
        Some(&self.value(self.by_number[found]).0)
    }

    fn value(&self, position: u32) -> &(Box<str>, i32) {
        &self.values[position as usize]
    }
}
