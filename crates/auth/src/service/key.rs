//! `KeyService`: the keys that sign tokens.

use std::sync::Arc;

use accord_api::accord::auth::v1::{
    ListKeysRequest, ListKeysResponse, RotateRequest, RotateResponse, key_service_server::KeyService,
};
use tonic::{Request, Response, Status};

use super::{guard::Caller, message};
use crate::domain::{auth::Auth, denial::Denial};

/// The service.
pub(crate) struct Keys(pub(crate) Arc<Auth>);

#[tonic::async_trait]
impl KeyService for Keys {
    async fn list_keys(&self, _: Request<ListKeysRequest>) -> Result<Response<ListKeysResponse>, Status> {
        let state = self.0.state.current().await?;
        Ok(Response::new(ListKeysResponse { keys: state.published.iter().map(message::key).collect() }))
    }

    async fn rotate(&self, request: Request<RotateRequest>) -> Result<Response<RotateResponse>, Status> {
        let caller = Caller::of(&request)?;
        let key = self.0.rotate_key(&caller.verified.claims.sub).await.map_err(Denial::from)?;
        Ok(Response::new(RotateResponse { key: Some(message::key(&key)) }))
    }
}
