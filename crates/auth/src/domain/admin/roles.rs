//! Roles: who holds them, and which policies name them.

use std::collections::BTreeMap;

use super::{Admin, AdminError};

/// A role.
pub struct KnownRole {
    /// Its name.
    pub role: String,
    /// How many hold it.
    pub holders: u64,
    /// The policies that name it.
    pub policies: Vec<String>,
}

/// Where a page of roles ended: those that somebody holds come first, and then those that policies name alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RolePlace {
    /// The last role that somebody holds; empty before the first.
    pub held: String,
    /// The last that policies name alone; None while those that somebody holds are listed.
    pub named: Option<String>,
}

impl RolePlace {
    /// As a text.
    pub fn write(&self) -> String {
        match &self.named {
            Some(named) => format!("named/{named}"),
            None => format!("held/{}", self.held),
        }
    }

    /// What was written; None where it is no such text.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once('/') {
            None if text.is_empty() => Some(Self::default()),
            Some(("held", held)) => Some(Self { held: held.to_owned(), named: None }),
            Some(("named", named)) => Some(Self { held: String::new(), named: Some(named.to_owned()) }),
            _ => None,
        }
    }

    /// After this role.
    pub fn after(role: &KnownRole) -> Self {
        match role.holders {
            0 => Self { held: String::new(), named: Some(role.role.clone()) },
            _ => Self { held: role.role.clone(), named: None },
        }
    }
}

impl Admin<'_> {
    /// The first roles after this place; none where that was the last. `named` are those that policies name, each with its policies.
    pub async fn roles_after(
        &self,
        place: &RolePlace,
        named: &BTreeMap<String, Vec<String>>,
    ) -> Result<Vec<KnownRole>, AdminError> {
        let policies = |role: &str| named.get(role).cloned().unwrap_or_default();
        let mut after = place.named.clone();
        if after.is_none() {
            let held = self.store.held_roles_after(&place.held).await?;
            let known = held.into_iter().map(|held| KnownRole {
                policies: policies(&held.role),
                role: held.role,
                holders: held.holders,
            });
            let known: Vec<_> = known.collect();
            if !known.is_empty() {
                return Ok(known);
            }
            after = Some(String::new());
        }
        let after = after.unwrap_or_default();
        let mut page = Vec::new();
        for (role, policies) in named.iter().filter(|(role, _)| **role > after) {
            if !self.store.is_role_held(role).await? {
                page.push(KnownRole { role: role.clone(), holders: 0, policies: policies.clone() });
            }
        }
        Ok(page)
    }
}
