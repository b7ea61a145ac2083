//! Certificate identities: added, paused and taken away.

use accord_runtime::client_identity::ClientIdentity;
use accord_token::verify;
use uuid::Uuid;

use super::{
    Admin, AdminError,
    credentials::{checked_note, revoke_source},
    existing,
};
use crate::store::{Transaction, certificate_identities::CertificateIdentity};

/// What is said of an identity that is added.
pub struct CertificateIdentityOrder {
    /// The name in certificates.
    pub identity: String,
    /// As whom its owner acts.
    pub subject: String,
    /// What it is for.
    pub note: String,
}

impl Admin<'_> {
    /// Lets whoever shows a certificate of this identity act as a principal.
    pub async fn add_certificate_identity(
        &self,
        order: CertificateIdentityOrder,
    ) -> Result<CertificateIdentity, AdminError> {
        let CertificateIdentityOrder { identity, subject, note } = order;
        if ClientIdentity::parse(&identity).is_none() {
            return Err(AdminError::CertificateIdentity(identity));
        }
        let mut tx = self.begin().await?;
        existing(self.store, &subject).await?;
        let added = CertificateIdentity {
            id: new_id(),
            identity,
            subject,
            note: checked_note(note)?,
            created_at: verify::now(),
            disabled: false,
            edition: 1,
            version: 1,
            used_at: 0,
        };
        if !tx.add_certificate_identity(&added).await? {
            return Err(AdminError::Exists(added.identity));
        }
        self.audit_and_commit(tx, "certificate_identity.add", &target(&added)).await?;
        Ok(added)
    }

    /// The one of this name or id.
    pub async fn certificate_identity(&self, name: &str) -> Result<CertificateIdentity, AdminError> {
        let found = self.store.certificate_identity(name).await?;
        found.ok_or_else(|| AdminError::UnknownCertificateIdentity(name.to_owned()))
    }

    /// Refuses one until it is enabled again, and revokes what came from it.
    pub async fn disable_certificate_identity(&self, name: &str) -> Result<(), AdminError> {
        let (mut tx, mut known) = self.begin_certificate_identity(name).await?;
        revoke(&mut tx, &mut known).await?;
        known.disabled = true;
        tx.change_certificate_identity(&known).await?;
        self.audit_and_commit(tx, "certificate_identity.disable", &target(&known)).await
    }

    /// Accepts a disabled one again. What came from it before stays revoked.
    pub async fn enable_certificate_identity(&self, name: &str) -> Result<(), AdminError> {
        let (mut tx, known) = self.begin_certificate_identity(name).await?;
        let known = CertificateIdentity { disabled: false, ..known };
        tx.change_certificate_identity(&known).await?;
        self.audit_and_commit(tx, "certificate_identity.enable", &target(&known)).await
    }

    /// Takes one away, and revokes what came from it.
    pub async fn remove_certificate_identity(&self, name: &str) -> Result<(), AdminError> {
        let (mut tx, mut known) = self.begin_certificate_identity(name).await?;
        revoke(&mut tx, &mut known).await?;
        tx.remove_certificate_identity(&known.id).await?;
        self.audit_and_commit(tx, "certificate_identity.remove", &target(&known)).await
    }

    async fn begin_certificate_identity(&self, name: &str) -> Result<(Transaction, CertificateIdentity), AdminError> {
        let tx = self.begin().await?;
        let known = self.certificate_identity(name).await?;
        self.expected_version(known.version, &known.identity)?;
        Ok((tx, known))
    }
}

/// Revokes the tokens that came from one; those that it brings from now on have another name.
async fn revoke(tx: &mut Transaction, known: &mut CertificateIdentity) -> Result<(), AdminError> {
    revoke_source(tx, &known.source(), verify::now()).await?;
    known.edition += 1;
    Ok(())
}

fn new_id() -> String {
    let random = Uuid::new_v4().simple().to_string();
    format!("ci_{}", random.get(..16).unwrap_or_default())
}

fn target(known: &CertificateIdentity) -> String {
    format!("{} {} {}", known.subject, known.id, known.identity)
}
