//! The values of one field, compared by its rule.

use std::time::Duration;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, ReflectMessage, Value};

use super::rules::{Rule, Said, Unset};
use crate::merge::text;

/// The value of a field of a policy, with its descriptor.
pub(super) struct Leaf {
    field: FieldDescriptor,
    value: Value,
}

impl Leaf {
    /// At a path; none where nothing is said there.
    pub(super) fn of(policy: &DynamicMessage, path: &str) -> Option<Self> {
        let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
        let field = policy.descriptor().get_field_by_name(first)?;
        if !policy.has_field(&field) {
            return None;
        }
        let value = policy.get_field(&field);
        match (rest, value.as_message()) {
            (None, _) => Some(Self { value: value.into_owned(), field }),
            (Some(rest), Some(section)) => Self::of(section, rest),
            (Some(_), None) => None,
        }
    }

    /// As `explain` writes it.
    pub(super) fn text(&self) -> String {
        text(&self.field.kind(), &self.value)
    }

    /// How much it is: nanoseconds of a duration, one of a switch that is on.
    fn amount(&self) -> u128 {
        match &self.value {
            Value::Bool(is_on) => u128::from(*is_on),
            Value::U32(number) => u128::from(*number),
            Value::U64(number) => u128::from(*number),
            Value::Message(message) => {
                let duration =
                    message.transcode_to::<prost_types::Duration>().ok().and_then(|it| Duration::try_from(it).ok());
                duration.unwrap_or_default().as_nanos()
            }
            _ => 0,
        }
    }

    /// The elements of a list, each as text.
    fn elements(&self) -> Vec<String> {
        let elements = self.value.as_list().into_iter().flatten();
        elements.map(|element| text(&self.field.kind(), element)).collect()
    }

    /// The name of an enum's value.
    fn name(&self) -> Option<String> {
        let Kind::Enum(names) = self.field.kind() else { return None };
        Some(names.get_value(self.value.as_enum_number()?)?.name().to_owned())
    }
}

/// What it means that a field was `old` and is `new`, once or, for a list, for what came and for what went. Nothing of what a rule
/// of another kind decides.
pub(super) fn compare(rule: Rule, old: Option<&Leaf>, new: Option<&Leaf>) -> Vec<Said> {
    match rule {
        Rule::Amount { unset, less, more } => {
            let empty = if unset == Unset::Everything { u128::MAX } else { 0 };
            let amount = |leaf: Option<&Leaf>| leaf.map_or(empty, Leaf::amount);
            one(amount(old).cmp(&amount(new)), less, more)
        }
        Rule::Switch { less, more } => {
            let place = |leaf: Option<&Leaf>| leaf.map_or(1, |leaf| 2 * leaf.amount());
            one(place(old).cmp(&place(new)), less, more)
        }
        Rule::Rank { order, less, more } => {
            let rank =
                |leaf: Option<&Leaf>| order.iter().position(|name| leaf.and_then(Leaf::name).as_deref() == Some(name));
            rank(old).zip(rank(new)).map(|(old, new)| one(old.cmp(&new), less, more)).unwrap_or_default()
        }
        Rule::Set { unset, removed, added } => {
            let elements = |leaf: Option<&Leaf>| leaf.map(Leaf::elements).unwrap_or_default();
            sets(&elements(old), &elements(new), unset, removed, added)
        }
        Rule::Any(said) => {
            let text = |leaf: Option<&Leaf>| leaf.map(Leaf::text);
            if text(old) == text(new) { Vec::new() } else { vec![said] }
        }
        Rule::Access | Rule::Limits | Rule::Elsewhere => Vec::new(),
    }
}

/// What an order of two values says, the old one compared with the new one.
fn one(order: std::cmp::Ordering, less: Said, more: Said) -> Vec<Said> {
    match order {
        std::cmp::Ordering::Greater => vec![less],
        std::cmp::Ordering::Less => vec![more],
        std::cmp::Ordering::Equal => Vec::new(),
    }
}

/// What two lists say, whatever their order.
pub(super) fn sets(old: &[String], new: &[String], unset: Unset, removed: Said, added: Said) -> Vec<Said> {
    let (lost, came) = match (old.is_empty(), new.is_empty()) {
        (true, false) if unset == Unset::Everything => (true, false),
        (false, true) if unset == Unset::Everything => (false, true),
        _ => (old.iter().any(|it| !new.contains(it)), new.iter().any(|it| !old.contains(it))),
    };
    [(lost, removed), (came, added)].into_iter().filter(|(holds, _)| *holds).map(|(_, said)| said).collect()
}
