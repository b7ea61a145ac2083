//! `KeyService`: the keys that sign tokens.

use std::sync::Arc;

use accord_api::accord::auth::v1::{
    ListKeysRequest, ListKeysResponse, RetireRequest, RetireResponse, RotateRequest, RotateResponse,
    key_service_server::KeyService,
};
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::{guard::Caller, message};
use crate::domain::{
    admin::{Admin, Once},
    auth::Auth,
};

/// The service.
pub(crate) struct Keys(pub(crate) Arc<Auth>);

#[tonic::async_trait]
impl KeyService for Keys {
    async fn list_keys(&self, _: Request<ListKeysRequest>) -> Result<Response<ListKeysResponse>, Status> {
        let state = self.0.state.current().await?;
        let keys = state.published.iter().map(message::key).collect();
        Ok(Response::new(ListKeysResponse { keys, signing_kid: self.0.signing_kid().await? }))
    }

    async fn rotate(&self, request: Request<RotateRequest>) -> Result<Response<RotateResponse>, Status> {
        let (caller, request) = (Caller::of(&request)?, request.into_inner());
        let once = self.once(&request.idempotency_key, "Rotate", &request.encode_to_vec())?;
        let admin = Admin::new(&self.0.store, &caller.verified.claims.sub).once(once.as_ref());
        let key = self.0.rotate_key(&admin).await?;
        Ok(Response::new(RotateResponse { key: Some(message::key(&key)) }))
    }

    async fn retire(&self, request: Request<RetireRequest>) -> Result<Response<RetireResponse>, Status> {
        let (caller, request) = (Caller::of(&request)?, request.into_inner());
        let once = self.once(&request.idempotency_key, "Retire", &request.encode_to_vec())?;
        let admin = Admin::new(&self.0.store, &caller.verified.claims.sub).once(once.as_ref());
        let signing_kid = self.0.retire_key(&admin, &request.kid).await?;
        Ok(Response::new(RetireResponse { signing_kid }))
    }
}

impl Keys {
    fn once(&self, key: &str, method: &str, request: &[u8]) -> Result<Option<Once>, Status> {
        Ok(Once::new(key, method, request, &self.0.encryption_key)?)
    }
}
