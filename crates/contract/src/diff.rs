//! What a change of a contract means: for those who call, and for what the contract guarded.
//!
//! Fields of messages are compared by others (`buf breaking`): here it is what a method does in operation, and by which way it is
//! reached.

mod compare;
mod limits;
mod method;
mod rules;

use std::collections::BTreeMap;
use std::fmt;

use crate::contract::Contract;
use crate::method::Method;

/// One thing that is otherwise than before. Displayed on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// `pkg.Service/Method`, or a service whose methods have all gone.
    pub method: String,
    /// What of it: the path of a field of its policy, such as `deadline.max`, or `http`, `kind`, `input`, `output`, `required`,
    /// `idempotency_level`, `deprecated`; empty for the method itself.
    pub field: String,
    /// What it was; empty where there was nothing.
    pub before: String,
    /// What it is; empty where there is nothing.
    pub after: String,
    /// What that does.
    pub effect: Effect,
    /// The same in words.
    pub why: &'static str,
}

/// What a change does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// Calls that were answered before may fail now, or be answered otherwise.
    pub breaks: bool,
    /// What the contract guarded is guarded less: who may call, how much, how stale an answer may be.
    pub loosens: bool,
}

impl Effect {
    pub(crate) const NONE: Self = Self { breaks: false, loosens: false };
    pub(crate) const BREAKS: Self = Self { breaks: true, loosens: false };
    pub(crate) const LOOSENS: Self = Self { breaks: false, loosens: true };
    pub(crate) const BOTH: Self = Self { breaks: true, loosens: true };
}

/// Everything that is otherwise in `new` than in `old`, in the order of the methods' names.
pub fn diff(old: &Contract, new: &Contract) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut services: BTreeMap<&str, bool> = new.methods().into_iter().map(|it| (service(it), true)).collect();
    for method in old.methods() {
        let is_there = *services.entry(service(method)).or_insert(false);
        match new.method(&method.name) {
            Some(now) => method::changes(method, now, &mut changes),
            None if is_there => changes.push(gone(&method.name, "its calls fail with UNIMPLEMENTED")),
            None => {}
        }
    }
    let lost = services.into_iter().filter(|(_, is_there)| !is_there);
    changes.extend(lost.map(|(service, _)| gone(service, "calls of all its methods fail with UNIMPLEMENTED")));
    let added = new.methods().into_iter().filter(|method| old.method(&method.name).is_none());
    changes.extend(
        added.map(|method| Change { after: "new".to_owned(), ..Change::neutral(&method.name, "", "it can be called") }),
    );
    changes.sort_by(|one, other| one.method.cmp(&other.method));
    changes
}

fn service(method: &Method) -> &str {
    method.name.split_once('/').map_or("", |(service, _)| service)
}

fn gone(what: &str, why: &'static str) -> Change {
    let before = "there".to_owned();
    Change { before, after: "removed".to_owned(), effect: Effect::BREAKS, ..Change::neutral(what, "", why) }
}

impl Change {
    /// A change of no effect, of which nothing is said yet.
    fn neutral(method: &str, field: &str, why: &'static str) -> Self {
        let nothing = String::new;
        Self {
            method: method.to_owned(),
            field: field.to_owned(),
            before: nothing(),
            after: nothing(),
            effect: Effect::NONE,
            why,
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match (self.breaks, self.loosens) {
            (true, true) => "breaks and loosens",
            (true, false) => "breaks",
            (false, true) => "loosens",
            (false, false) => "changes",
        })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, field, before, after, effect, why } = self;
        write!(formatter, "{effect}: {method}: ")?;
        if !field.is_empty() {
            write!(formatter, "{field}: ")?;
        }
        match (before.as_str(), after.as_str()) {
            ("", after) => write!(formatter, "{after}")?,
            (before, "") => write!(formatter, "nothing, was {before}")?,
            ("there", after) => write!(formatter, "{after}")?,
            (before, after) => write!(formatter, "{after}, was {before}")?,
        }
        write!(formatter, ": {why}")
    }
}

#[cfg(test)]
mod tests;
