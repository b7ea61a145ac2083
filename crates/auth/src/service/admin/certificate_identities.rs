//! Certificate identities, as administrators add, see and end them.

use accord_api::accord::auth::v1::{
    AddCertificateIdentityRequest, CertificateIdentity as WireCertificateIdentity, ListCertificateIdentitiesRequest,
    ListCertificateIdentitiesResponse, SetCertificateIdentityStandingRequest, Standing,
};
use prost::Message as _;
use tonic::Status;

use super::{Administration, version};
use crate::{
    domain::{admin::CertificateIdentityOrder, denial::Denial},
    service::{
        message::{given, seconds},
        page::Page,
    },
    store::certificate_identities::CertificateIdentity,
};

impl Administration {
    pub(super) async fn add_identity(
        &self,
        actor: &str,
        request: AddCertificateIdentityRequest,
    ) -> Result<WireCertificateIdentity, Status> {
        let once = self.once(&request.idempotency_key, "AddCertificateIdentity", &request.encode_to_vec())?;
        let admin = self.admin(actor).once(once.as_ref());
        let AddCertificateIdentityRequest { identity, subject, note, .. } = request;
        let added = if admin.was_done().await? {
            admin.certificate_identity(&identity).await?
        } else {
            admin.add_certificate_identity(CertificateIdentityOrder { identity, subject, note }).await?
        };
        Ok(known(added))
    }

    pub(super) async fn list_identities(
        &self,
        request: ListCertificateIdentitiesRequest,
    ) -> Result<ListCertificateIdentitiesResponse, Status> {
        let ListCertificateIdentitiesRequest { page_size, page_token, subject } = request;
        let page = Page::of(page_size, &page_token)?;
        let read = self.0.store.certificate_identities_after(&page.after, given(&subject)).await?;
        let (read, next_page_token) = page.cut(read, |known| known.identity.clone());
        let certificate_identities = read.into_iter().map(known).collect();
        Ok(ListCertificateIdentitiesResponse { certificate_identities, next_page_token })
    }

    pub(super) async fn set_identity_standing(
        &self,
        actor: &str,
        request: SetCertificateIdentityStandingRequest,
    ) -> Result<(), Status> {
        let once = self.once(&request.idempotency_key, "SetCertificateIdentityStanding", &request.encode_to_vec())?;
        let admin = self.admin(actor).once(once.as_ref()).expecting(version(request.expected_version));
        if admin.was_done().await? {
            return Ok(());
        }
        let name = &request.certificate_identity_id;
        match request.standing() {
            Standing::Active => admin.enable_certificate_identity(name).await?,
            Standing::Disabled => admin.disable_certificate_identity(name).await?,
            Standing::Removed => admin.remove_certificate_identity(name).await?,
            Standing::Unspecified => return Err(Denial::Field("standing", "must be given").into()),
        }
        self.announce().await
    }
}

/// An identity as the store has it.
pub(super) fn known(known: CertificateIdentity) -> WireCertificateIdentity {
    WireCertificateIdentity {
        standing: if known.disabled { Standing::Disabled } else { Standing::Active }.into(),
        create_time: Some(seconds(known.created_at)),
        last_use_time: (known.used_at != 0).then(|| seconds(known.used_at)),
        version: known.version,
        certificate_identity_id: known.id,
        identity: known.identity,
        subject: known.subject,
        note: known.note,
    }
}
