//! The policies in force one by one, and the roles that they name.

use std::collections::{BTreeMap, BTreeSet};

use super::{Policies, source::PolicyFile};

/// A policy as it is shown.
pub(crate) struct ListedPolicy {
    /// Its `@id`, or its file and place.
    pub(crate) id: String,
    /// The file that it comes from, or `built-in`.
    pub(crate) origin: String,
    /// Whether it is only tried.
    pub(crate) is_shadow: bool,
    /// Its text.
    pub(crate) text: String,
}

/// In the order of their ids.
pub(super) fn listed(enforced: &[PolicyFile], tried: &[PolicyFile]) -> Vec<ListedPolicy> {
    let of = |source: &PolicyFile, is_shadow| -> Vec<_> {
        let listed = source.policies.iter().map(|policy| ListedPolicy {
            id: policy.id().to_string(),
            origin: source.name.clone(),
            is_shadow,
            text: policy.to_string(),
        });
        listed.collect()
    };
    let enforced = enforced.iter().flat_map(|source| of(source, false));
    let mut all: Vec<_> = enforced.chain(tried.iter().flat_map(|source| of(source, true))).collect();
    all.sort_by(|one, other| one.id.cmp(&other.id));
    all
}

impl Policies {
    /// All of them, in the order of their ids.
    pub(crate) fn listed(&self) -> &[ListedPolicy] {
        &self.listed
    }

    /// Whether a policy names this role. Without one the role means nothing.
    pub(crate) fn names_role(&self, role: &str) -> bool {
        self.enforced.name_role(role) || self.shadow.as_ref().is_some_and(|shadow| shadow.name_role(role))
    }

    /// The roles that those which are enforced name, each with their ids.
    pub(crate) fn roles(&self) -> BTreeMap<String, Vec<String>> {
        let mut roles: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for policy in self.listed.iter().filter(|policy| !policy.is_shadow) {
            for role in named_roles(&policy.text) {
                roles.entry(role.to_owned()).or_default().push(policy.id.clone());
            }
        }
        roles
    }
}

/// The roles that a policy's text names, each once.
fn named_roles(text: &str) -> BTreeSet<&str> {
    text.split("Accord::Role::\"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0)).collect()
}
