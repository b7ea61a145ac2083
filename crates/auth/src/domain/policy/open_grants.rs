//! Open grants: policies that give the mesh's own permissions to whoever has a token.
//!
//! `permit (principal, action, resource);` is good Cedar, and it lets everybody rotate keys. It is found by asking: somebody
//! without a role is tried for each of those permissions, so that conditions and `forbid` count as they do for a call.

use std::collections::{BTreeMap, BTreeSet};

use accord_token::Kind;

use super::{AccessQuestion, Policies};
use crate::store::principals::Principal;

/// What the permissions of the mesh's own services begin with.
const OWN: &str = "accord.";

/// What the built-in policies themselves give to every program.
const MEANT: &str = "accord.auth.introspect";

impl Policies {
    /// A warning for each policy that grants the mesh's own permissions to everybody.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut grants = BTreeMap::<_, BTreeSet<_>>::new();
        for permission in self.enforced.actions().filter(|name| name.starts_with(OWN) && *name != MEANT) {
            for policy in [Kind::User, Kind::Service].into_iter().flat_map(|kind| self.open_to(kind, permission)) {
                grants.entry(policy).or_default().insert(permission);
            }
        }
        grants.iter().map(|(policy, permissions)| warning(policy, permissions)).collect()
    }

    /// The policies that grant this to somebody without a role.
    fn open_to(&self, kind: Kind, permission: &str) -> Vec<String> {
        let nobody_special = Principal::new(String::new(), kind, String::new(), Vec::new());
        let decision = self.decide(&nobody_special, &AccessQuestion { permission, ..AccessQuestion::default() });
        if decision.allowed { decision.policies } else { Vec::new() }
    }
}

fn warning(policy: &str, permissions: &BTreeSet<&str>) -> String {
    let names: Vec<_> = permissions.iter().copied().collect();
    format!(
        "the policy `{policy}` grants administration of the mesh to everybody ({}); name a role in it \
         (`principal in Accord::Role::\"…\"`), its actions, or an upstream as its resource",
        names.join(", ")
    )
}
