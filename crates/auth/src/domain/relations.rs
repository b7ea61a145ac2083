//! Relations of principals and groups to objects: registered by services, asked for by policies.
//!
//! Invariant: nobody is decided about with a part of their relations. Where there are more than are looked at, or the store does
//! not answer, nothing is allowed.

use std::collections::{BTreeMap, BTreeSet};

use accord_token::{Kind, Verified, verify};

use super::{
    admin::{Admin, AdminError, Once},
    auth::Auth,
    denial::Denial,
    policy::{AccessQuestion, ObjectError, ObjectTypes, Policies},
};
use crate::store::{
    StoreError, Transaction,
    principals::Principal,
    relations::{Relation, Which},
};

/// The most changes that happen together.
const MAX_CHANGES: usize = 500;

/// The most steps from a principal to what it is in: a member of a group in a group has taken two.
const MAX_DEPTH: i64 = 8;

/// The most that a principal may stand in a relation to, of groups and of the object in question.
const MAX_HELD: usize = 1000;

/// Why somebody in more than that is denied everything that takes a relation.
pub(super) const TOO_MANY: &str =
    "the principal is in more than 1000 groups, or in one that is more than 8 steps away, and no part of them decides";

/// What the permission to write and list relations is where a type declares none.
const ADMINISTRATION: &str = "accord.auth.admin";

/// Relations that are refused.
#[derive(Debug, thiserror::Error)]
pub enum RelationError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Auth says no.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// The change as such is refused.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// There can be none such.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// Nothing is to change: nobody's permission would be asked for what is of no type.
    #[error("there is no change; name a relation to add or to remove")]
    Nothing,
    /// More than happens together.
    #[error("there are {0} changes, and at most {MAX_CHANGES} happen together; make them in several calls")]
    TooMany(usize),
    /// Somebody else has changed it.
    #[error("`{object}` is of version {is} by now, and not {version}; read it again")]
    Version {
        /// Which object.
        object: String,
        /// What was expected.
        version: u64,
        /// What it is.
        is: u64,
    },
}

/// Changes that happen together.
#[derive(Debug, Default)]
pub struct RelationChanges {
    /// What is to be there.
    pub add: Vec<Relation>,
    /// What is not to be there.
    pub remove: Vec<Relation>,
    /// The versions that objects have to have.
    pub expected: Vec<(String, u64)>,
}

impl RelationChanges {
    fn all(&self) -> impl Iterator<Item = &Relation> {
        self.add.iter().chain(&self.remove)
    }
}

impl RelationChanges {
    /// The types of the objects that are changed, or looked at.
    fn types<'a>(&'a self, objects: &ObjectTypes) -> Result<BTreeSet<&'a str>, ObjectError> {
        let named = self.all().map(|relation| &relation.object).chain(self.expected.iter().map(|(name, _)| name));
        named.map(|object| Ok(objects.object(object)?.0)).collect()
    }

    /// Whether there can be these relations, and may be so many.
    fn check(&self, objects: &ObjectTypes) -> Result<(), RelationError> {
        if self.add.is_empty() && self.remove.is_empty() {
            return Err(RelationError::Nothing);
        }
        let count = (self.add.len() + self.remove.len()).max(self.expected.len());
        if count > MAX_CHANGES {
            return Err(RelationError::TooMany(count));
        }
        Ok(self.all().try_for_each(|relation| objects.check(relation))?)
    }
}

/// What came of changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WrittenRelations {
    /// How many relations were not so before.
    pub changed: u32,
    /// The version of the objects that were changed; 0 where none was.
    pub version: u64,
}

impl WrittenRelations {
    /// As it is remembered with an idempotency key.
    fn to_text(self) -> String {
        format!("{} {}", self.changed, self.version)
    }

    fn parse(text: &str) -> Self {
        let (changed, version) = text.split_once(' ').unwrap_or_default();
        Self { changed: changed.parse().unwrap_or(0), version: version.parse().unwrap_or(0) }
    }
}

impl Admin<'_> {
    /// Makes these changes, all or none.
    pub(crate) async fn write_relations(
        &self,
        wanted: &RelationChanges,
        objects: &ObjectTypes,
    ) -> Result<WrittenRelations, RelationError> {
        wanted.check(objects)?;
        if let Some(done) = self.done().await? {
            return Ok(WrittenRelations::parse(done.answer()));
        }
        let mut tx = self.begin().await?;
        for (object, version) in &wanted.expected {
            // Nobody else writes while this transaction is open.
            let is = self.store().object_version(object).await?;
            if is != *version {
                return Err(RelationError::Version { object: object.clone(), version: *version, is });
            }
        }
        let changed = self.change_relations(&mut tx, wanted).await?;
        let mut written = WrittenRelations { changed: changed.values().sum(), version: 0 };
        if !changed.is_empty() {
            written.version = tx.next_revision().await?;
            for object in changed.keys() {
                tx.date_object(object, written.version).await?;
            }
            tx.date_relations(written.version).await?;
        }
        self.remember_answer(&mut tx, &written.to_text()).await?;
        tx.commit().await?;
        Ok(written)
    }

    /// By object, how many of its relations were not so before.
    async fn change_relations<'a>(
        &self,
        tx: &mut Transaction,
        wanted: &'a RelationChanges,
    ) -> Result<BTreeMap<&'a str, u32>, RelationError> {
        let mut changed = BTreeMap::<&str, u32>::new();
        let added = wanted.add.iter().map(|relation| (relation, true));
        for (relation, is_added) in added.chain(wanted.remove.iter().map(|relation| (relation, false))) {
            let is_news =
                if is_added { tx.add_relation(relation).await? } else { tx.remove_relation(relation).await? };
            if is_news {
                let Relation { object, relation, subject } = relation;
                let action = if is_added { "relation.add" } else { "relation.remove" };
                tx.audit(verify::now(), self.actor(), action, &format!("{object}#{relation} {subject}")).await?;
                *changed.entry(object).or_default() += 1;
            }
        }
        Ok(changed)
    }
}

impl Auth {
    /// Makes these changes for the caller.
    pub async fn write_relations(
        &self,
        changes: &RelationChanges,
        caller: &Verified,
        once: Option<&Once>,
        method: &str,
    ) -> Result<WrittenRelations, RelationError> {
        let policies = self.policies.get();
        for object_type in changes.types(&policies.objects)? {
            self.may_relate(&policies, caller, object_type, method).await?;
        }
        let admin = Admin::new(&self.store, &caller.claims.sub).once(once);
        let written = admin.write_relations(changes, &policies.objects).await?;
        // Read at once, so that verifiers learn of it at once.
        self.state.current().await?;
        Ok(written)
    }

    /// Relations after this one, and the version of the object where one is asked for.
    pub async fn relations(
        &self,
        which: Which<'_>,
        last: &Relation,
        caller: &Verified,
        method: &str,
    ) -> Result<(Vec<Relation>, u64), RelationError> {
        let policies = self.policies.get();
        self.may_relate(&policies, caller, which.object_type, method).await?;
        // Read before the relations: what comes in between is then seen, and not believed to be of this version.
        let version = if which.object.is_empty() { 0 } else { self.store.object_version(which.object).await? };
        Ok((self.store.relations_after(last, which).await?, version))
    }

    async fn may_relate(
        &self,
        policies: &Policies,
        caller: &Verified,
        object_type: &str,
        method: &str,
    ) -> Result<(), RelationError> {
        let permission = policies.objects.permission(object_type)?.unwrap_or(ADMINISTRATION);
        Ok(self.authorize(caller, permission, method).await.map_err(Denial::Caller)?)
    }

    /// What a principal stands in a relation to, as far as the policies about this question look at it; None where that is more
    /// than is looked at.
    pub(super) async fn held(
        &self,
        policies: &Policies,
        principal: &Principal,
        question: &AccessQuestion<'_>,
    ) -> Result<Option<Vec<String>>, StoreError> {
        if !policies.read_relations(question.permission) {
            return Ok(Some(Vec::new()));
        }
        let limit = MAX_HELD * usize::try_from(MAX_DEPTH).unwrap_or(1) + 1;
        let bounds = (MAX_DEPTH, i64::try_from(limit).unwrap_or(i64::MAX));
        let (subject, object) = (subject(principal), question.object());
        let read = self.store.relations_held(&subject, &object, &policies.objects.groups(), bounds).await?;
        Ok(if read.len() < limit { within_bounds(read) } else { None })
    }
}

/// Each once; None where one is further away, or there are more, than is looked at.
fn within_bounds(read: Vec<(String, i64)>) -> Option<Vec<String>> {
    let mut steps = BTreeMap::<String, i64>::new();
    for (name, depth) in read {
        // A circle of groups leads to each of them again, by more steps.
        let nearest = steps.entry(name).or_insert(depth);
        *nearest = depth.min(*nearest);
    }
    let is_within = steps.len() <= MAX_HELD && steps.values().all(|depth| *depth <= MAX_DEPTH);
    is_within.then(|| steps.into_keys().collect())
}

/// A principal as relations name it.
pub(crate) fn subject(principal: &Principal) -> String {
    let kind = if principal.kind == Kind::User { "User" } else { "Service" };
    format!("{kind}/{}", principal.subject)
}

/// The same by these relations alone, for tables of cases: what the store answers of its own.
pub(crate) fn held_by(subject: &str, relations: &[Relation]) -> Vec<String> {
    let mut held = BTreeSet::new();
    let mut next = vec![subject.to_owned()];
    while let Some(subject) = next.pop() {
        for relation in relations.iter().filter(|relation| relation.subject == subject) {
            let name = format!("{}#{}", relation.object, relation.relation);
            if held.insert(name.clone()) {
                next.push(name);
            }
        }
    }
    held.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(depths: &[(&str, i64)]) -> Vec<(String, i64)> {
        depths.iter().map(|(name, depth)| ((*name).to_owned(), *depth)).collect()
    }

    #[test]
    fn group_that_is_reached_again_by_a_circle_is_one() {
        assert_eq!(within_bounds(read(&[("a", 1), ("b", 2), ("a", 3), ("a", 9)])).unwrap(), ["a", "b"]);
    }

    #[test]
    fn more_steps_or_groups_than_are_looked_at_deny() {
        assert_eq!(within_bounds(read(&[("a", MAX_DEPTH + 1)])), None);
        let names: Vec<_> = (0..=MAX_HELD).map(|number| (number.to_string(), 1)).collect();
        assert!(within_bounds(names[1..].to_vec()).is_some());
        assert_eq!(within_bounds(names), None);
    }
}
