//! `KeyService`: the keys that sign tokens.

use std::sync::Arc;

use accord_api::accord::auth::v1::{
    ListKeysRequest, ListKeysResponse, RotateRequest, RotateResponse, key_service_server::KeyService,
};
use tonic::{Request, Response, Status};

use crate::{auth::Auth, denial::Denial, message, rotate::rotate};

const ROTATE: &str = "accord.auth.rotate";

/// The service.
pub struct Keys(pub Arc<Auth>);

#[tonic::async_trait]
impl KeyService for Keys {
    async fn list_keys(&self, _: Request<ListKeysRequest>) -> Result<Response<ListKeysResponse>, Status> {
        let state = self.0.ledger.current().await?;
        Ok(Response::new(ListKeysResponse { keys: state.published.iter().map(message::key).collect() }))
    }

    async fn rotate(&self, request: Request<RotateRequest>) -> Result<Response<RotateResponse>, Status> {
        let auth = &self.0;
        let state = auth.ledger.current().await?;
        let caller = auth.guard(request.metadata(), ROTATE, &state)?;
        let key = rotate(&auth.store, &auth.vault, auth.keys.algorithm, auth.keys.overlap, &caller.claims.sub)
            .await
            .map_err(Denial::from)?;
        // Read at once, so that verifiers see the key long before it signs.
        auth.ledger.current().await?;
        Ok(Response::new(RotateResponse { key: Some(message::key(&key)) }))
    }
}
