//! What API keys and certificate identities have in common.

use std::time::Duration;

use accord_token::{Type, claims::LEEWAY};

use super::AdminError;
use crate::store::Transaction;

/// The longest note, in bytes.
const MAX_NOTE: usize = 256;

/// A note that can be shown in one line.
pub(super) fn checked_note(note: String) -> Result<String, AdminError> {
    if note.len() > MAX_NOTE || note.chars().any(char::is_control) { Err(AdminError::Note) } else { Ok(note) }
}

/// Revokes the tokens that came from a credential, by the name that they have of it.
pub(super) async fn revoke_source(tx: &mut Transaction, source: &str, now: i64) -> Result<(), AdminError> {
    let revision = tx.next_revision().await?;
    // None that there is by now lives longer than a token may.
    let last_end = now + seconds(Type::Access.longest_life() + LEEWAY);
    Ok(tx.revoke_token(source, last_end, revision).await?)
}

pub(super) fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX / 4)
}
