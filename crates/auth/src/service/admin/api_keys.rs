//! API keys, as administrators make, replace and end them.

use std::time::Duration;

use accord_api::accord::auth::v1::{
    AddApiKeyRequest, AddApiKeyResponse, ApiKey as WireApiKey, ListApiKeysRequest, ListApiKeysResponse,
    RotateApiKeyRequest, RotateApiKeyResponse, SetApiKeyStandingRequest, Standing,
};
use prost::Message as _;
use tonic::Status;

use super::{Administration, overlap, version};
use crate::{
    domain::{
        admin::{Admin, ApiKeyOrder, Once, SecretError},
        api_key::NewApiKey,
        denial::Denial,
        scope::Scope,
    },
    service::{
        message::{given, seconds},
        page::Page,
    },
    store::api_keys::ApiKey,
};

impl Administration {
    pub(super) async fn add_key(&self, actor: &str, request: AddApiKeyRequest) -> Result<AddApiKeyResponse, Status> {
        let once = self.once(&request.idempotency_key, "AddApiKey", &request.encode_to_vec())?;
        let admin = self.admin(actor).once(once.as_ref());
        let (key, api_key) = if let Some(made) = self.made_before(&admin).await? {
            made
        } else {
            let mut text = String::new();
            let made = admin.add_api_key(order(request)?, &self.0.encryption_key, keep_in(&mut text)).await?;
            (text, made)
        };
        Ok(AddApiKeyResponse { key, api_key: Some(known(api_key)) })
    }

    pub(super) async fn list_keys(&self, request: ListApiKeysRequest) -> Result<ListApiKeysResponse, Status> {
        let ListApiKeysRequest { page_size, page_token, subject } = request;
        let page = Page::of(page_size, &page_token)?;
        let read = self.0.store.api_keys_after(&page.after, given(&subject)).await?;
        let (keys, next_page_token) = page.cut(read, |key| key.id.clone());
        let api_keys = keys.into_iter().map(known).collect();
        Ok(ListApiKeysResponse { api_keys, next_page_token })
    }

    pub(super) async fn rotate_key(
        &self,
        actor: &str,
        request: RotateApiKeyRequest,
    ) -> Result<RotateApiKeyResponse, Status> {
        let once = self.once(&request.idempotency_key, "RotateApiKey", &request.encode_to_vec())?;
        let admin = self.admin(actor).once(once.as_ref()).expecting(version(request.expected_version));
        let (id, overlap) = (&request.api_key_id, overlap(request.overlap)?);
        let (key, successor, earlier) = if let Some((text, successor)) = self.made_before(&admin).await? {
            (text, successor, admin.api_key(id).await?)
        } else {
            let mut text = String::new();
            let keep = keep_in(&mut text);
            let (successor, earlier) = admin.rotate_api_key(id, overlap, &self.0.encryption_key, keep).await?;
            self.announce().await?;
            (text, successor, earlier)
        };
        let earlier_key_until = Some(seconds(earlier.expires_at));
        Ok(RotateApiKeyResponse { key, api_key: Some(known(successor)), earlier_key_until })
    }

    pub(super) async fn set_key_standing(&self, actor: &str, request: SetApiKeyStandingRequest) -> Result<(), Status> {
        let once = self.once(&request.idempotency_key, "SetApiKeyStanding", &request.encode_to_vec())?;
        let admin = self.admin(actor).once(once.as_ref()).expecting(version(request.expected_version));
        if admin.was_done().await? {
            return Ok(());
        }
        match request.standing() {
            Standing::Active => admin.enable_api_key(&request.api_key_id).await?,
            Standing::Disabled => admin.disable_api_key(&request.api_key_id).await?,
            Standing::Removed => admin.remove_api_key(&request.api_key_id).await?,
            Standing::Unspecified => return Err(Denial::Field("standing", "must be given").into()),
        }
        self.announce().await
    }

    /// The key that this request made when it came before, with its text; None where it did not.
    async fn made_before(&self, admin: &Admin<'_>) -> Result<Option<(String, ApiKey)>, Status> {
        let Some(done) = admin.done().await? else { return Ok(None) };
        let made = NewApiKey::of(&self.0.encryption_key.under(done.key_id()), Once::nonce(&done));
        let key = admin.api_key(&made.id).await?;
        Ok(Some((made.text, key)))
    }
}

/// Keeps the text of a key for the answer.
fn keep_in(text: &mut String) -> impl FnOnce(&str) -> Result<(), SecretError> {
    |key| {
        key.clone_into(text);
        Ok(())
    }
}

fn order(request: AddApiKeyRequest) -> Result<ApiKeyOrder, Denial> {
    let AddApiKeyRequest { subject, note, scope, lifetime, .. } = request;
    let life = lifetime.map(Duration::try_from).transpose();
    let life = life.map_err(|_| Denial::Field("lifetime", "must not be negative"))?;
    Ok(ApiKeyOrder { subject, note, scope: Scope::parse(&scope)?, life })
}

/// A key as the store has it.
pub(super) fn known(key: ApiKey) -> WireApiKey {
    let moment = |at: i64| (at != 0).then(|| seconds(at));
    WireApiKey {
        standing: if key.disabled { Standing::Disabled } else { Standing::Active }.into(),
        create_time: moment(key.created_at),
        expire_time: moment(key.expires_at),
        last_use_time: moment(key.used_at),
        version: key.version,
        api_key_id: key.id,
        subject: key.subject,
        note: key.note,
        scope: key.scope,
    }
}
