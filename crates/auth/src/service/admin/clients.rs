//! Clients, their secrets and their keys, as administrators add, see and end them.

use accord_api::accord::auth::v1::{
    AddClientKeyRequest, AddClientKeyResponse, AddClientRequest, AddClientResponse, ClientKey as WireClientKey,
    RemoveClientKeyRequest, RotateClientKeysRequest, RotateClientRequest, RotateClientResponse,
};
use accord_token::{Kind, verify};
use prost::Message as _;
use tonic::Status;

use super::{Administration, overlap, version};
use crate::{
    domain::{
        admin::{Admin, KnownSecret, read_client_key, read_client_keys},
        denial::Denial,
    },
    service::message::seconds,
    store::{client_keys::ClientKey, principals::Principal},
};

impl Administration {
    pub(super) async fn add_program(
        &self,
        actor: &str,
        request: AddClientRequest,
    ) -> Result<AddClientResponse, Status> {
        let once = self.once(&request.idempotency_key, "AddClient", &request.encode_to_vec())?;
        let admin = self.admin(actor).once(once.as_ref());
        let AddClientRequest { client_id, tenant, roles, jwks, .. } = request;
        let principal = Principal::new(client_id, Kind::Service, tenant, roles);
        if !jwks.is_empty() {
            let keys = read_client_keys(jwks.as_bytes())?;
            if !admin.was_done().await? {
                admin.add_client_with_keys(&principal, &keys).await?;
            }
            return Ok(AddClientResponse::default());
        }
        let (client_secret, is_done) = self.secret(&admin, once.as_ref()).await?;
        if !is_done {
            admin.add_client(&principal, || Ok(client_secret.clone())).await?;
        }
        Ok(AddClientResponse { client_secret })
    }

    pub(super) async fn rotate_secret(
        &self,
        actor: &str,
        request: RotateClientRequest,
    ) -> Result<RotateClientResponse, Status> {
        let once = self.once(&request.idempotency_key, "RotateClient", &request.encode_to_vec())?;
        let admin = self.admin(actor).once(once.as_ref()).expecting(version(request.expected_version));
        let overlap = overlap(request.overlap)?;
        let (client_secret, is_done) = self.secret(&admin, once.as_ref()).await?;
        let until = if is_done {
            // Rotated again since, it brings a secret that is on its way out.
            if admin.known_secret(&request.client_id, &client_secret).await? != KnownSecret::Newest {
                return Err(Denial::Field("idempotency_key", "is of a rotation that another one has followed").into());
            }
            admin.client(&request.client_id).await?.earlier_until(verify::now())
        } else {
            Some(admin.rotate_client(&request.client_id, overlap, || Ok(client_secret.clone())).await?)
        };
        let version = admin.client(&request.client_id).await?.keys_version;
        Ok(RotateClientResponse { client_secret, earlier_secret_until: until.map(seconds), version })
    }

    /// The keys of a client, and their version.
    pub(super) async fn client_keys(
        &self,
        admin: &Admin<'_>,
        client_id: &str,
    ) -> Result<(Vec<WireClientKey>, u64), Status> {
        // Read before the keys: what comes in between is then seen, and not believed to be of this version.
        let version = admin.client(client_id).await?.keys_version;
        let keys = admin.client_keys(client_id).await?.iter().map(known).collect();
        Ok((keys, version))
    }

    pub(super) async fn add_public_key(
        &self,
        actor: &str,
        request: AddClientKeyRequest,
    ) -> Result<AddClientKeyResponse, Status> {
        let once = self.once(&request.idempotency_key, "AddClientKey", &request.encode_to_vec())?;
        let admin = self.admin(actor).once(once.as_ref()).expecting(version(request.expected_version));
        let (id, jwk) = (&request.client_id, read_client_key(&request.jwk)?);
        let key = if admin.was_done().await? {
            admin.client_key(id, &jwk.kid).await?
        } else {
            admin.add_client_key(id, &jwk).await?
        };
        let version = admin.client(id).await?.keys_version;
        Ok(AddClientKeyResponse { key: Some(known(&key)), version })
    }

    pub(super) async fn rotate_public_keys(
        &self,
        actor: &str,
        request: RotateClientKeysRequest,
    ) -> Result<(Vec<WireClientKey>, u64), Status> {
        let once = self.once(&request.idempotency_key, "RotateClientKeys", &request.encode_to_vec())?;
        let admin = self.admin(actor).once(once.as_ref()).expecting(version(request.expected_version));
        let (keys, overlap) = (read_client_keys(request.jwks.as_bytes())?, overlap(request.overlap)?);
        if !admin.was_done().await? {
            admin.rotate_client_keys(&request.client_id, &keys, overlap).await?;
        }
        self.client_keys(&admin, &request.client_id).await
    }

    pub(super) async fn remove_public_key(&self, actor: &str, request: RemoveClientKeyRequest) -> Result<(), Status> {
        let once = self.once(&request.idempotency_key, "RemoveClientKey", &request.encode_to_vec())?;
        let admin = self.admin(actor).once(once.as_ref()).expecting(version(request.expected_version));
        if !admin.was_done().await? {
            admin.remove_client_key(&request.client_id, &request.key_id).await?;
        }
        Ok(())
    }
}

/// A key as the store has it.
fn known(key: &ClientKey) -> WireClientKey {
    WireClientKey {
        key_id: key.jwk.kid.clone(),
        algorithm: key.jwk.algorithm.name().to_owned(),
        jwk: key.jwk.to_json().to_string(),
        create_time: Some(seconds(key.added_at)),
        expire_time: (key.expires_at != 0).then(|| seconds(key.expires_at)),
    }
}
