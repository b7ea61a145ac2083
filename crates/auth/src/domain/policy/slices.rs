//! A policy set, sliced: for each action the policies that can be about it, since evaluation is linear in their number.

use std::collections::{BTreeSet, HashMap, HashSet};

use cedar_policy::{ActionConstraint, EntityUid, Policy, PolicySet};

use super::PolicyError;

/// The policies of a set by the action they are about.
pub(super) struct Slices {
    by_action: HashMap<String, PolicySet>,
    /// Those that are about every action.
    general: PolicySet,
    /// The actions that policies look at relations for.
    relational: HashSet<String>,
    /// Whether those about every action do.
    is_general_relational: bool,
}

impl Slices {
    /// Of these policies; the actions are all that any of them names.
    pub(super) fn new<'a>(
        policies: impl IntoIterator<Item = &'a Policy>,
        actions: &BTreeSet<String>,
    ) -> Result<Self, PolicyError> {
        let mut by_action: HashMap<_, Vec<_>> = actions.iter().map(|action| (action.clone(), Vec::new())).collect();
        let mut general = Vec::new();
        for policy in policies {
            match actions_of(policy) {
                None => general.push(policy),
                Some(actions) => {
                    for action in BTreeSet::from_iter(actions) {
                        by_action.entry(action).or_default().push(policy);
                    }
                }
            }
        }
        let relational = by_action.iter().filter(|(_, policies)| policies.iter().copied().any(reads_relations));
        let relational = relational.map(|(action, _)| action.clone()).collect();
        let slice = |(action, policies): (String, Vec<_>)| Ok((action, set(policies.iter().chain(&general).copied())?));
        let by_action = by_action.into_iter().map(slice).collect::<Result<_, _>>()?;
        let is_general_relational = general.iter().copied().any(reads_relations);
        Ok(Self { by_action, general: set(general)?, relational, is_general_relational })
    }

    /// The policies that can be about this action.
    pub(super) fn about(&self, action: &str) -> &PolicySet {
        self.by_action.get(action).unwrap_or(&self.general)
    }

    /// Whether one of the policies that can be about this action looks at relations.
    pub(super) fn read_relations(&self, action: &str) -> bool {
        self.is_general_relational || self.relational.contains(action)
    }

    /// The actions that policies name.
    pub(super) fn actions(&self) -> impl Iterator<Item = &str> {
        self.by_action.keys().map(String::as_str)
    }

    /// Whether a policy names this role.
    pub(super) fn name_role(&self, role: &str) -> bool {
        let named = format!("Accord::Role::{role:?}");
        let mut sets = self.by_action.values().chain([&self.general]);
        sets.any(|set| set.policies().any(|policy| policy.to_string().contains(&named)))
    }
}

/// Whether a policy asks what somebody is `in` that is no role, by its words. What stands in it for something else costs a question of
/// the store, and nothing else; the operator itself can be written in one way only.
fn reads_relations(policy: &Policy) -> bool {
    let text = policy.to_string();
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    text.match_indices("in").any(|(start, operator)| {
        let (before, after) = (&text[..start], &text[start + operator.len()..]);
        let is_literal = before.ends_with('"') && after.starts_with('"');
        if is_literal || before.ends_with(is_name) || after.starts_with(is_name) {
            return false;
        }
        let is_action = before
            .trim_end()
            .strip_suffix("action")
            .is_some_and(|before| before.ends_with([' ', '\n', '\t', '(', ',']));
        !is_action && !after.trim_start().starts_with("Accord::Role::")
    })
}

/// The actions that a policy is about; None for all.
pub(super) fn actions_of(policy: &Policy) -> Option<Vec<String>> {
    let name = |action: &EntityUid| action.id().unescaped().to_owned();
    match policy.action_constraint() {
        ActionConstraint::Any => None,
        ActionConstraint::Eq(action) => Some(vec![name(&action)]),
        ActionConstraint::In(actions) => Some(actions.iter().map(name).collect()),
    }
}

pub(super) fn set<'a>(policies: impl IntoIterator<Item = &'a Policy>) -> Result<PolicySet, PolicyError> {
    PolicySet::from_policies(policies.into_iter().cloned())
        .map_err(|error| PolicyError::Invalid(format!("{error}; give each its own `@id`, and each file once")))
}
