//! The gRPC services: each translates its request, asks the domain, and translates the answer.

use std::sync::Arc;

use accord_mesh::admit::bearer;
use accord_token::Verified;
use tonic::metadata::MetadataMap;

use crate::domain::{auth::Auth, denial::Denial, state::AuthState};

pub(crate) mod access;
pub(crate) mod key;
pub(crate) mod revocation;
pub(crate) mod token;

mod message;
mod status;

/// The caller of a method that needs this permission, and the state on which its token was verified. The first line of
/// every guarded method.
async fn guard(auth: &Auth, metadata: &MetadataMap, permission: &str) -> Result<(Arc<AuthState>, Verified), Denial> {
    let state = auth.state.current().await?;
    let caller = auth.authorize(bearer(metadata)?, permission, &state)?;
    Ok((state, caller))
}
