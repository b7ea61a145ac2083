//! `AdminService`: what administrators see and change.

use std::{sync::Arc, time::Duration};

use accord_api::accord::auth::v1::{
    AddApiKeyRequest, AddApiKeyResponse, AddCertificateIdentityRequest, AddCertificateIdentityResponse,
    AddClientKeyRequest, AddClientKeyResponse, AddClientRequest, AddClientResponse, AddLinkRequest, AddLinkResponse,
    AddPrincipalRequest, AddPrincipalResponse, CancelDeviceRequest, CancelDeviceResponse, ChangeRolesRequest,
    ChangeRolesResponse, CreateResetCodeRequest, CreateResetCodeResponse, DropSecondFactorRequest,
    DropSecondFactorResponse, EndSessionRequest, EndSessionResponse, GetApiKeyRequest, GetApiKeyResponse,
    GetCertificateIdentityRequest, GetCertificateIdentityResponse, GetPolicyRequest, GetPolicyResponse,
    GetPrincipalRequest, GetPrincipalResponse, ListApiKeysRequest, ListApiKeysResponse, ListAuditEntriesRequest,
    ListAuditEntriesResponse, ListCertificateIdentitiesRequest, ListCertificateIdentitiesResponse,
    ListClientKeysRequest, ListClientKeysResponse, ListDevicesRequest, ListDevicesResponse, ListLinksRequest,
    ListLinksResponse, ListPoliciesRequest, ListPoliciesResponse, ListPrincipalsRequest, ListPrincipalsResponse,
    ListRoleHoldersRequest, ListRoleHoldersResponse, ListRolesRequest, ListRolesResponse, ListSessionsRequest,
    ListSessionsResponse, ManagedPrincipal, RemoveClientKeyRequest, RemoveClientKeyResponse, RemoveLinkRequest,
    RemoveLinkResponse, RotateApiKeyRequest, RotateApiKeyResponse, RotateClientKeysRequest, RotateClientKeysResponse,
    RotateClientRequest, RotateClientResponse, SetApiKeyStandingRequest, SetApiKeyStandingResponse,
    SetCertificateIdentityStandingRequest, SetCertificateIdentityStandingResponse, SetStandingRequest,
    SetStandingResponse, WatchAuditEntriesRequest, WatchAuditEntriesResponse, admin_service_server::AdminService,
};
use prost::Message as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

pub(crate) use self::audit::AuditStreams;
use self::principals::managed;

use super::{guard::Caller, message::audit_entry, page::Page};
use crate::{
    domain::{
        admin::{Admin, AdminError, Once},
        auth::Auth,
        denial::Denial,
        encryption_key::generate_secret,
    },
    store::principals::Which,
};

mod api_keys;
mod certificate_identities;
mod clients;
mod devices;
mod audit;
mod links;
mod policies;
mod principals;

/// How long the secret or the key before stays valid where the caller does not say.
const OVERLAP: Duration = Duration::from_hours(24);

/// The service.
pub(crate) struct Administration(pub(crate) Arc<Auth>, pub(crate) AuditStreams);

impl Administration {
    fn admin<'a>(&'a self, actor: &'a str) -> Admin<'a> {
        Admin::new(&self.0.store, actor)
    }

    async fn managed(&self, admin: &Admin<'_>, subject: &str) -> Result<Option<ManagedPrincipal>, Status> {
        Ok(Some(managed(admin.principal(subject).await?)))
    }

    fn once(&self, key: &str, method: &str, request: &[u8]) -> Result<Option<Once>, AdminError> {
        Once::new(key, method, request, &self.0.encryption_key)
    }

    /// The secret of this request, or the same one as before where it was made before; and whether it was.
    async fn secret(&self, admin: &Admin<'_>, once: Option<&Once>) -> Result<(String, bool), Status> {
        let done = admin.done().await?;
        let secret = match done.as_ref().or(once) {
            Some(once) => self.0.encryption_key.under(once.key_id()).client_secret(once.nonce()),
            None => generate_secret().map_err(Denial::from)?,
        };
        Ok((secret, done.is_some()))
    }

    /// Verifiers are told at once of what was revoked.
    async fn announce(&self) -> Result<(), Status> {
        self.0.state.current().await?;
        Ok(())
    }
}

/// Under whose name the audit log has it.
fn actor<T>(request: &Request<T>) -> Result<String, Status> {
    Ok(Caller::of(request)?.verified.claims.sub.clone())
}

#[tonic::async_trait]
impl AdminService for Administration {
    async fn add_principal(
        &self,
        request: Request<AddPrincipalRequest>,
    ) -> Result<Response<AddPrincipalResponse>, Status> {
        let (actor, request) = (actor(&request)?, request.into_inner());
        Ok(Response::new(self.add(&actor, request).await?))
    }

    async fn get_principal(
        &self,
        request: Request<GetPrincipalRequest>,
    ) -> Result<Response<GetPrincipalResponse>, Status> {
        let actor = actor(&request)?;
        let principal = self.managed(&self.admin(&actor), &request.get_ref().subject).await?;
        Ok(Response::new(GetPrincipalResponse { principal }))
    }

    async fn list_principals(
        &self,
        request: Request<ListPrincipalsRequest>,
    ) -> Result<Response<ListPrincipalsResponse>, Status> {
        let ListPrincipalsRequest { page_size, page_token, clients_only } = request.into_inner();
        let page = Page::of(page_size, &page_token)?;
        let which = if clients_only { Which::Clients } else { Which::Principals };
        let read = self.0.store.principals_after(&page.after, which).await?;
        let (principals, next_page_token) = page.cut(read, |principal| principal.subject.clone());
        let principals = principals.into_iter().map(managed).collect();
        Ok(Response::new(ListPrincipalsResponse { principals, next_page_token }))
    }

    async fn set_standing(
        &self,
        request: Request<SetStandingRequest>,
    ) -> Result<Response<SetStandingResponse>, Status> {
        let (actor, request) = (actor(&request)?, request.into_inner());
        self.stand(&actor, request).await?;
        Ok(Response::new(SetStandingResponse {}))
    }

    async fn change_roles(
        &self,
        request: Request<ChangeRolesRequest>,
    ) -> Result<Response<ChangeRolesResponse>, Status> {
        let (actor, request) = (actor(&request)?, request.into_inner());
        let once = self.once(&request.idempotency_key, "ChangeRoles", &request.encode_to_vec())?;
        let admin = self.admin(&actor).once(once.as_ref()).expecting(version(request.expected_version));
        if !admin.was_done().await? {
            admin.change_roles(&request.subject, &request.grant, &request.remove).await?;
            self.announce().await?;
        }
        let principal = self.managed(&admin, &request.subject).await?;
        Ok(Response::new(ChangeRolesResponse { principal }))
    }

    async fn add_client(&self, request: Request<AddClientRequest>) -> Result<Response<AddClientResponse>, Status> {
        let (actor, request) = (actor(&request)?, request.into_inner());
        Ok(Response::new(self.add_program(&actor, request).await?))
    }

    async fn rotate_client(
        &self,
        request: Request<RotateClientRequest>,
    ) -> Result<Response<RotateClientResponse>, Status> {
        let (actor, request) = (actor(&request)?, request.into_inner());
        Ok(Response::new(self.rotate_secret(&actor, request).await?))
    }

    async fn list_client_keys(
        &self,
        request: Request<ListClientKeysRequest>,
    ) -> Result<Response<ListClientKeysResponse>, Status> {
        let actor = actor(&request)?;
        let (keys, version) = self.client_keys(&self.admin(&actor), &request.get_ref().client_id).await?;
        Ok(Response::new(ListClientKeysResponse { keys, version }))
    }

    async fn add_client_key(
        &self,
        request: Request<AddClientKeyRequest>,
    ) -> Result<Response<AddClientKeyResponse>, Status> {
        let (actor, request) = (actor(&request)?, request.into_inner());
        Ok(Response::new(self.add_public_key(&actor, request).await?))
    }

    async fn rotate_client_keys(
        &self,
        request: Request<RotateClientKeysRequest>,
    ) -> Result<Response<RotateClientKeysResponse>, Status> {
        let (actor, request) = (actor(&request)?, request.into_inner());
        let (keys, version) = self.rotate_public_keys(&actor, request).await?;
        Ok(Response::new(RotateClientKeysResponse { keys, version }))
    }

    async fn remove_client_key(
        &self,
        request: Request<RemoveClientKeyRequest>,
    ) -> Result<Response<RemoveClientKeyResponse>, Status> {
        let (actor, request) = (actor(&request)?, request.into_inner());
        self.remove_public_key(&actor, request).await?;
        Ok(Response::new(RemoveClientKeyResponse {}))
    }

    async fn add_link(&self, request: Request<AddLinkRequest>) -> Result<Response<AddLinkResponse>, Status> {
        let (actor, request) = (actor(&request)?, request.into_inner());
        self.link(&actor, request).await?;
        Ok(Response::new(AddLinkResponse {}))
    }

    async fn list_links(&self, request: Request<ListLinksRequest>) -> Result<Response<ListLinksResponse>, Status> {
        Ok(Response::new(self.links(request.into_inner()).await?))
    }

    async fn remove_link(&self, request: Request<RemoveLinkRequest>) -> Result<Response<RemoveLinkResponse>, Status> {
        let (actor, request) = (actor(&request)?, request.into_inner());
        self.unlink(&actor, request).await?;
        Ok(Response::new(RemoveLinkResponse {}))
    }

    async fn list_devices(
        &self,
        request: Request<ListDevicesRequest>,
    ) -> Result<Response<ListDevicesResponse>, Status> {
        Ok(Response::new(self.devices(request.into_inner()).await?))
    }

    async fn cancel_device(
        &self,
        request: Request<CancelDeviceRequest>,
    ) -> Result<Response<CancelDeviceResponse>, Status> {
        let (actor, request) = (actor(&request)?, request.into_inner());
        self.cancel(&actor, request).await?;
        Ok(Response::new(CancelDeviceResponse {}))
    }

    async fn add_api_key(&self, request: Request<AddApiKeyRequest>) -> Result<Response<AddApiKeyResponse>, Status> {
        let (actor, request) = (actor(&request)?, request.into_inner());
        Ok(Response::new(self.add_key(&actor, request).await?))
    }

    async fn get_api_key(&self, request: Request<GetApiKeyRequest>) -> Result<Response<GetApiKeyResponse>, Status> {
        let actor = actor(&request)?;
        let key = self.admin(&actor).api_key(&request.get_ref().api_key_id).await?;
        Ok(Response::new(GetApiKeyResponse { api_key: Some(api_keys::known(key)) }))
    }

    async fn list_api_keys(
        &self,
        request: Request<ListApiKeysRequest>,
    ) -> Result<Response<ListApiKeysResponse>, Status> {
        Ok(Response::new(self.list_keys(request.into_inner()).await?))
    }

    async fn rotate_api_key(
        &self,
        request: Request<RotateApiKeyRequest>,
    ) -> Result<Response<RotateApiKeyResponse>, Status> {
        let (actor, request) = (actor(&request)?, request.into_inner());
        Ok(Response::new(self.rotate_key(&actor, request).await?))
    }

    async fn set_api_key_standing(
        &self,
        request: Request<SetApiKeyStandingRequest>,
    ) -> Result<Response<SetApiKeyStandingResponse>, Status> {
        let (actor, request) = (actor(&request)?, request.into_inner());
        self.set_key_standing(&actor, request).await?;
        Ok(Response::new(SetApiKeyStandingResponse {}))
    }

    async fn add_certificate_identity(
        &self,
        request: Request<AddCertificateIdentityRequest>,
    ) -> Result<Response<AddCertificateIdentityResponse>, Status> {
        let (actor, request) = (actor(&request)?, request.into_inner());
        let certificate_identity = Some(self.add_identity(&actor, request).await?);
        Ok(Response::new(AddCertificateIdentityResponse { certificate_identity }))
    }

    async fn get_certificate_identity(
        &self,
        request: Request<GetCertificateIdentityRequest>,
    ) -> Result<Response<GetCertificateIdentityResponse>, Status> {
        let actor = actor(&request)?;
        let known = self.admin(&actor).certificate_identity(&request.get_ref().certificate_identity_id).await?;
        let certificate_identity = Some(certificate_identities::known(known));
        Ok(Response::new(GetCertificateIdentityResponse { certificate_identity }))
    }

    async fn list_certificate_identities(
        &self,
        request: Request<ListCertificateIdentitiesRequest>,
    ) -> Result<Response<ListCertificateIdentitiesResponse>, Status> {
        Ok(Response::new(self.list_identities(request.into_inner()).await?))
    }

    async fn set_certificate_identity_standing(
        &self,
        request: Request<SetCertificateIdentityStandingRequest>,
    ) -> Result<Response<SetCertificateIdentityStandingResponse>, Status> {
        let (actor, request) = (actor(&request)?, request.into_inner());
        self.set_identity_standing(&actor, request).await?;
        Ok(Response::new(SetCertificateIdentityStandingResponse {}))
    }

    async fn create_reset_code(
        &self,
        request: Request<CreateResetCodeRequest>,
    ) -> Result<Response<CreateResetCodeResponse>, Status> {
        let (actor, request) = (actor(&request)?, request.into_inner());
        Ok(Response::new(self.reset_code(&actor, request).await?))
    }

    async fn drop_second_factor(
        &self,
        request: Request<DropSecondFactorRequest>,
    ) -> Result<Response<DropSecondFactorResponse>, Status> {
        let (actor, request) = (actor(&request)?, request.into_inner());
        let once = self.once(&request.idempotency_key, "DropSecondFactor", &request.encode_to_vec())?;
        let admin = self.admin(&actor).once(once.as_ref());
        if !admin.was_done().await? {
            admin.drop_second_factor(&request.subject).await?;
        }
        Ok(Response::new(DropSecondFactorResponse {}))
    }

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        let (actor, request) = (actor(&request)?, request.into_inner());
        Ok(Response::new(self.sessions(&actor, request).await?))
    }

    async fn end_session(&self, request: Request<EndSessionRequest>) -> Result<Response<EndSessionResponse>, Status> {
        let (actor, request) = (actor(&request)?, request.into_inner());
        let once = self.once(&request.idempotency_key, "EndSession", &request.encode_to_vec())?;
        let admin = self.admin(&actor).once(once.as_ref());
        if !admin.was_done().await? {
            admin.end_session(&request.session).await?;
            self.announce().await?;
        }
        Ok(Response::new(EndSessionResponse {}))
    }

    async fn list_roles(&self, request: Request<ListRolesRequest>) -> Result<Response<ListRolesResponse>, Status> {
        let (actor, request) = (actor(&request)?, request.into_inner());
        Ok(Response::new(self.roles(&actor, request).await?))
    }

    async fn list_role_holders(
        &self,
        request: Request<ListRoleHoldersRequest>,
    ) -> Result<Response<ListRoleHoldersResponse>, Status> {
        Ok(Response::new(self.holders(request.into_inner()).await?))
    }

    async fn list_policies(
        &self,
        request: Request<ListPoliciesRequest>,
    ) -> Result<Response<ListPoliciesResponse>, Status> {
        Ok(Response::new(self.list(request.get_ref()).await?))
    }

    async fn get_policy(&self, request: Request<GetPolicyRequest>) -> Result<Response<GetPolicyResponse>, Status> {
        Ok(Response::new(self.policy(request.get_ref()).await?))
    }

    type WatchAuditEntriesStream = ReceiverStream<Result<WatchAuditEntriesResponse, Status>>;

    async fn watch_audit_entries(
        &self,
        request: Request<WatchAuditEntriesRequest>,
    ) -> Result<Response<Self::WatchAuditEntriesStream>, Status> {
        let (caller, after) = (Caller::of(&request)?.verified, request.get_ref().after);
        if self.0.store.is_beyond_audit(after).await? {
            let problem = "is beyond the newest entry: the store is older than what was read; read it anew";
            return Err(Denial::Field("after", problem).into());
        }
        Ok(Response::new(self.1.open(&self.0, caller, after)?))
    }

    async fn list_audit_entries(
        &self,
        request: Request<ListAuditEntriesRequest>,
    ) -> Result<Response<ListAuditEntriesResponse>, Status> {
        let entries = self.0.store.audit_after(request.get_ref().after).await?;
        Ok(Response::new(ListAuditEntriesResponse { entries: entries.into_iter().map(audit_entry).collect() }))
    }
}

/// How long what was before stays valid.
fn overlap(asked: Option<prost_types::Duration>) -> Result<Duration, Denial> {
    asked.map_or(Ok(OVERLAP), Duration::try_from).map_err(|_| Denial::Field("overlap", "must not be negative"))
}

fn version(expected: u64) -> Option<u64> {
    (expected > 0).then_some(expected)
}
