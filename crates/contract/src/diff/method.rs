//! One method, before and after.

use prost_reflect::DynamicMessage;

use super::compare::{Leaf, compare, sets};
use super::rules::{HEADS, RULES, Rule, Said, Unset};
use super::{Change, Effect, limits};
use crate::compile::reflected;
use crate::http::{Binding, Body};
use crate::method::{IdempotencyLevel, Method};
use crate::policy::Access;

/// Everything that is otherwise.
pub(super) fn changes(old: &Method, new: &Method, changes: &mut Vec<Change>) {
    let start = changes.len();
    let (before, after) = (reflected(&old.effective), reflected(&new.effective));
    for (field, rule) in RULES {
        if !is_decided_by_head(field, &before, &after) {
            of_field(field, *rule, &before, &after, changes);
        }
    }
    changes.extend(access(old, new));
    changes.extend(limits::changes(&old.name, &old.effective, &new.effective));
    changes.extend(shape(old, new));
    changes.extend(bindings(old, new));
    let required = (old.required.names(), new.required.names());
    let said = |effect, why| (effect, why);
    let removed = said(Effect::LOOSENS, "requests may lack the field");
    let added = said(Effect::BREAKS, "requests without the field are refused");
    let said = sets(&required.0, &required.1, Unset::Nothing, removed, added);
    changes.extend(said.into_iter().map(|said| told("required", said, required.0.join(", "), required.1.join(", "))));
    changes[start..].iter_mut().for_each(|change| change.method = old.name.to_string());
}

/// Whether the section of a field is on one side alone, and another field of it says what that means.
fn is_decided_by_head(field: &str, before: &DynamicMessage, after: &DynamicMessage) -> bool {
    HEADS.iter().any(|(section, head)| {
        let is_there = |policy| Leaf::of(policy, section.trim_end_matches('.')).is_some();
        field.starts_with(section) && field != *head && is_there(before) != is_there(after)
    })
}

fn of_field(field: &str, rule: Rule, before: &DynamicMessage, after: &DynamicMessage, changes: &mut Vec<Change>) {
    let (old, new) = (Leaf::of(before, field), Leaf::of(after, field));
    let text = |leaf: &Option<Leaf>| leaf.as_ref().map(Leaf::text).unwrap_or_default();
    let said = compare(rule, old.as_ref(), new.as_ref());
    changes.extend(said.into_iter().map(|said| told(field, said, text(&old), text(&new))));
}

fn told(field: &str, (effect, why): Said, before: String, after: String) -> Change {
    Change { before, after, effect, ..Change::neutral("", field, why) }
}

/// Who may call. Another permission lets in others, and refuses some.
fn access(old: &Method, new: &Method) -> Option<Change> {
    let (before, after) = (&old.policy.access, &new.policy.access);
    let said = match width(before).cmp(&width(after)) {
        _ if before == after => return None,
        std::cmp::Ordering::Less => (Effect::LOOSENS, "more callers may call"),
        std::cmp::Ordering::Greater => (Effect::BREAKS, "callers are refused who were let in"),
        std::cmp::Ordering::Equal => (Effect::BOTH, "whoever holds the one permission need not hold the other"),
    };
    Some(told("access", said, who(before), who(after)))
}

fn width(access: &Access) -> u8 {
    match access {
        Access::Denied => 0,
        Access::Permission(_) => 1,
        Access::Authenticated => 2,
        Access::Public => 3,
    }
}

fn who(access: &Access) -> String {
    match access {
        Access::Denied => "nobody".to_owned(),
        Access::Permission(permission) => format!("permission {permission}"),
        Access::Authenticated => "authenticated".to_owned(),
        Access::Public => "public".to_owned(),
    }
}

/// What the method is.
fn shape(old: &Method, new: &Method) -> Vec<Change> {
    let message =
        |method: &Method| [method.descriptor.input(), method.descriptor.output()].map(|it| it.full_name().to_owned());
    let ([input, output], [new_input, new_output]) = (message(old), message(new));
    let level = match rank(old.idempotency_level).cmp(&rank(new.idempotency_level)) {
        std::cmp::Ordering::Less => (Effect::LOOSENS, "calls may be made again unasked"),
        _ => (Effect::BREAKS, "GETs of Connect are refused, and nothing repeats a call"),
    };
    let other_type = (Effect::BREAKS, "its messages are of another type");
    let rows = [
        ("kind", old.kind.to_string(), new.kind.to_string(), (Effect::BREAKS, "other sides of it stream")),
        ("input", input, new_input, other_type),
        ("output", output, new_output, other_type),
        ("idempotency_level", old.idempotency_level.to_string(), new.idempotency_level.to_string(), level),
        ("deprecated", old.deprecated.to_string(), new.deprecated.to_string(), (Effect::NONE, "callers are told so")),
    ];
    rows.into_iter()
        .filter(|(_, old, new, _)| old != new)
        .map(|(field, old, new, said)| told(field, said, old, new))
        .collect()
}

fn rank(level: IdempotencyLevel) -> u8 {
    match level {
        IdempotencyLevel::Unknown => 0,
        IdempotencyLevel::Idempotent => 1,
        IdempotencyLevel::NoSideEffects => 2,
    }
}

/// The HTTP bindings, by what they match.
fn bindings(old: &Method, new: &Method) -> Vec<Change> {
    let is_same =
        |one: &Binding, other: &Binding| one.method == other.method && one.template.shape() == other.template.shape();
    let mut changes = Vec::new();
    for binding in &old.http {
        match new.http.iter().find(|other| is_same(binding, other)) {
            None => {
                let said = (Effect::BREAKS, "calls of this path are not found");
                changes.push(told("http", said, binding.to_string(), String::new()));
            }
            Some(now) if mapping(binding) != mapping(now) => {
                let said = (Effect::BREAKS, "path, body or answer stand for other fields");
                changes.push(told("http", said, mapping(binding), mapping(now)));
            }
            Some(_) => {}
        }
    }
    let added = new.http.iter().filter(|binding| !old.http.iter().any(|other| is_same(binding, other)));
    let said = (Effect::NONE, "it can be called by this path");
    changes.extend(added.map(|binding| told("http", said, String::new(), binding.to_string())));
    changes
}

/// What a binding is, whole.
fn mapping(binding: &Binding) -> String {
    let body = match &binding.body {
        Body::None => String::new(),
        Body::Whole => ", body *".to_owned(),
        Body::Field(field) => format!(", body {}", field.name()),
    };
    let answer = binding.response_body.as_ref().map(|field| format!(", response_body {}", field.name()));
    format!("{binding}{body}{}", answer.unwrap_or_default())
}
