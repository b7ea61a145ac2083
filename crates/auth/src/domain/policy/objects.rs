//! Types of objects that principals stand in relations to, as the configuration declares them.
//!
//! In policies an object is an entity of its type, `Accord::Product::"42"`, with an attribute for each relation of the type.
//! Whoever stands in a relation to it is `in` that attribute, `principal in resource.owner`, and its `member`s are `in` the object
//! itself, `principal in Accord::Group::"sales"`. So one question of the store brings all that policies can ask for.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::{
    config::ObjectConfig,
    store::{principals::is_name, relations::Relation},
};

/// The type of what a question is about that names no object.
const UPSTREAM: &str = "Upstream";

/// The relation to a group by which somebody is in it.
const MEMBER: &str = "member";

/// Types of principals, which are declared by nobody.
const PRINCIPALS: [&str; 2] = ["User", "Service"];

/// All that are declared, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct ObjectTypes(BTreeMap<String, ObjectConfig>);

/// A relation that there can't be, by the types that are declared.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// Nothing is called so.
    #[error(
        "`{0}` is no object: write its type and its id, as in `Product/42`; an id has 1 to 256 bytes, no white space, no `#`"
    )]
    Object(String),
    /// Nobody is called so.
    #[error(
        "`{0}` is no subject: write `User/NAME`, `Service/NAME`, or `TYPE/ID#RELATION` for those in a relation to a group"
    )]
    Subject(String),
    /// A type that is not there.
    #[error(
        "no type of objects is called `{0}`; correct it, or declare it as `[[policy.object]]` in auth's configuration"
    )]
    Type(String),
    /// A relation that is not there.
    #[error(
        "`{object_type}` has no relation `{relation}`; correct it, or add it to `relations` of its `[[policy.object]]`"
    )]
    Relation {
        /// Of which type.
        object_type: String,
        /// Which.
        relation: String,
    },
    /// Only groups are subjects.
    #[error("`{0}` is no type of groups; name persons and programs, or say `groups = true` in its `[[policy.object]]`")]
    NoGroup(String),
}

impl ObjectTypes {
    pub(super) fn of(types: &[ObjectConfig]) -> Self {
        Self(types.iter().map(|declared| (declared.name.clone(), declared.clone())).collect())
    }

    /// Whether there are any.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the permissions to write relations are called, as far as they have a name of their own.
    pub(super) fn permissions(&self) -> impl Iterator<Item = &String> {
        self.0.values().filter_map(|declared| declared.permission.as_ref())
    }

    /// The permission to write and list relations to objects of a type.
    pub(crate) fn permission(&self, name: &str) -> Result<Option<&str>, ObjectError> {
        let declared = self.0.get(name).ok_or_else(|| ObjectError::Type(name.to_owned()))?;
        Ok(declared.permission.as_deref())
    }

    /// The types that are groups, as SQL has them in a list.
    pub(crate) fn groups(&self) -> String {
        let groups: Vec<_> =
            self.0.values().filter(|declared| declared.groups).map(|declared| format!("'{}'", declared.name)).collect();
        // No type is called so, and a list must not be empty.
        if groups.is_empty() { "''".to_owned() } else { groups.join(", ") }
    }

    /// Their part of the schema, apart from what principals are in.
    pub(super) fn schema(&self) -> String {
        let mut schema = String::new();
        if !self.0.contains_key(UPSTREAM) {
            schema.push_str("  entity Upstream;\n");
        }
        for ObjectConfig { name, relations, .. } in self.0.values() {
            let attributes: Vec<_> = relations.iter().map(|relation| format!("{relation}: Relation")).collect();
            // Writing to a text never fails.
            let _ = writeln!(schema, "  entity {name} {{ {} }};", attributes.join(", "));
        }
        schema
    }

    /// The types that principals can be in beside their roles, as the schema has them.
    pub(super) fn containers(&self) -> String {
        let groups = self.0.values().filter(|declared| declared.relations.iter().any(|relation| relation == MEMBER));
        groups.flat_map(|declared| [", ", declared.name.as_str()]).collect()
    }

    /// The types of resources, as the schema has them.
    pub(super) fn resources(&self) -> String {
        let others = self.0.keys().filter(|name| *name != UPSTREAM);
        [UPSTREAM.to_owned()].into_iter().chain(others.cloned()).collect::<Vec<_>>().join(", ")
    }

    /// What is declared, groups included: by it sets of policies differ as well.
    pub(super) fn text(&self) -> String {
        if self.0.is_empty() { String::new() } else { self.groups() }
    }

    /// The relations of an object's type, each with the name of whoever stands in it: `owner` and `Product/42#owner`.
    pub(super) fn relations_of(&self, object: &str) -> impl Iterator<Item = (&str, String)> {
        let declared = object.split_once('/').and_then(|(name, _)| self.0.get(name));
        let relations = declared.map_or(&[][..], |declared| &declared.relations);
        relations.iter().map(move |relation| (relation.as_str(), format!("{object}#{relation}")))
    }

    /// The type and the id of an object that there can be.
    pub(crate) fn object<'a>(&self, object: &'a str) -> Result<(&'a str, &'a str), ObjectError> {
        let malformed = || ObjectError::Object(object.to_owned());
        let (name, id) = object.split_once('/').ok_or_else(malformed)?;
        if !is_name(id) || id.contains('#') {
            return Err(malformed());
        }
        if self.0.contains_key(name) { Ok((name, id)) } else { Err(ObjectError::Type(name.to_owned())) }
    }

    /// Whether there can be this relation.
    pub(crate) fn check(&self, relation: &Relation) -> Result<(), ObjectError> {
        let (name, _) = self.object(&relation.object)?;
        self.declares(name, &relation.relation)?;
        let malformed = || ObjectError::Subject(relation.subject.clone());
        let (name, id) = relation.subject.split_once('/').ok_or_else(malformed)?;
        if PRINCIPALS.contains(&name) {
            return if is_name(id) { Ok(()) } else { Err(malformed()) };
        }
        let (group, held) = relation.subject.rsplit_once('#').ok_or_else(malformed)?;
        let (name, _) = self.object(group)?;
        self.declares(name, held)?;
        let is_group = self.0.get(name).is_some_and(|declared| declared.groups);
        if is_group { Ok(()) } else { Err(ObjectError::NoGroup(name.to_owned())) }
    }

    fn declares(&self, name: &str, relation: &str) -> Result<(), ObjectError> {
        let declared = self.0.get(name).ok_or_else(|| ObjectError::Type(name.to_owned()))?;
        if declared.relations.iter().any(|known| known == relation) {
            return Ok(());
        }
        Err(ObjectError::Relation { object_type: name.to_owned(), relation: relation.to_owned() })
    }
}

/// The group that whoever stands in this relation is in: of `Group/sales#member` its type and id.
pub(super) fn group_of(held: &str) -> Option<(&str, &str)> {
    let (object, relation) = held.rsplit_once('#')?;
    if relation == MEMBER { object.split_once('/') } else { None }
}
