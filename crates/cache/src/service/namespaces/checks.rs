//! What callers may ask for: keys, values, tags and lives within the bounds of their namespace. Else they are told why not.

use std::time::Duration;

use accord_api::accord::fault::v1::Reason;
use accord_mesh::refusal;
use accord_readthrough::Conflict;
use accord_runtime::fault::{self, StatusBuilder};
use accord_token::Refusal;
use tonic::Status;

use crate::malformed::{bounded, duration};
use crate::namespaces::Space;

/// Most bytes of keys and values that a batch answers with: with all that is around them less than the 4 MiB that clients take.
pub(super) const MOST_BATCH_BYTES: usize = 3 * 1024 * 1024;

/// Most tags of a value.
pub(super) const MOST_TAGS: usize = 16;

/// Most tags of one invalidation.
pub(super) const MOST_INVALIDATED_TAGS: usize = 100;

/// Longest tag.
const LONGEST_TAG: usize = 256;

pub(super) fn unknown(name: &str) -> Status {
    let name: String = name.chars().take(64).collect();
    let message =
        format!("the cache's configuration declares no namespace {name:?}: give it the section [[namespace]]");
    fault::status(Reason::NamespaceUnknown, message)
}

/// Says which permission it was, and where: the caller can ask for it.
pub(super) fn denied(refused: Refusal, permission: &str, place: &str) -> Status {
    if refused != Refusal::PermissionMissing {
        return refusal::status(refused);
    }
    let message = format!(
        "this takes the permission `{permission}` {place}, which the caller lacks; a policy of auth grants it to a role"
    );
    fault::status(Reason::PermissionMissing, message)
}

/// Where replicas share a log, memory has what an origin has, and nothing else: another replica would not see it.
pub(super) fn one_replica_alone(what: &str, namespace: &str) -> Status {
    let message = format!(
        "{what} would change the memory of one replica of the cache alone: the namespace {namespace} is shared by several. Change its \
         origin and delete the key, or give the namespace `write = \"through\"` with [namespace.records]"
    );
    fault::status(Reason::NamespaceReadOnly, message)
}

pub(super) fn too_large() -> Status {
    let message = format!("the values are more than {MOST_BATCH_BYTES} bytes: ask for fewer keys at a time");
    fault::status(Reason::ResponseTooLarge, message)
}

pub(super) fn absent() -> Status {
    fault::status(Reason::KeyAbsent, "the key holds nothing, or nothing any more")
}

pub(super) fn conflict(conflict: Conflict) -> Status {
    fault::status(Reason::VersionConflict, format!("{conflict}: read it again"))
}

pub(super) fn invalid(field: &str, problem: &str) -> Status {
    StatusBuilder::new(Reason::FieldInvalid, format!("`{field}` {problem}")).field(field, problem).build()
}

pub(super) fn check_key(space: &Space, field: &str, key: &str) -> Result<(), Status> {
    let most = space.config.max_key_bytes;
    if (1..=most).contains(&key.len()) {
        return Ok(());
    }
    Err(invalid(field, &format!("has a key that is empty, or longer than the namespace's {most} bytes")))
}

pub(super) fn check_value(space: &Space, bytes: usize) -> Result<(), Status> {
    let most = space.config.max_value_bytes;
    if bytes <= most {
        return Ok(());
    }
    let message = format!("the value has {bytes} bytes, more than the namespace's {most}");
    Err(fault::status(Reason::RequestTooLarge, message))
}

pub(super) fn check_tags(tags: &[String], most: usize) -> Result<(), Status> {
    bounded("tags", tags.len(), most)?;
    let is_tag = |tag: &String| (1..=LONGEST_TAG).contains(&tag.len());
    if tags.iter().all(is_tag) { Ok(()) } else { Err(invalid("tags", "has a tag that is not of 1 to 256 bytes")) }
}

/// The life that a caller wants, or the one that the namespace gives.
pub(super) fn life(space: &Space, ttl: Option<&prost_types::Duration>) -> Result<Duration, Status> {
    let Some(ttl) = ttl else { return Ok(space.config.default_ttl) };
    let (ttl, most) = (duration("ttl", Some(ttl))?, space.config.max_ttl);
    if !ttl.is_zero() && ttl <= most {
        return Ok(ttl);
    }
    Err(invalid("ttl", &format!("is nothing, or longer than the namespace's {} s", most.as_secs_f64())))
}
