//! What administrators do for persons who have lost a password or a second factor.

use std::time::Duration;

use accord_token::{Kind, verify};

use super::{Admin, AdminError, existing};
use crate::domain::{client::hash_client_secret, denial::Denial};

/// How long a code is good to set another password.
const RESET_CODE: Duration = Duration::from_hours(1);

impl Admin<'_> {
    /// Lets a person set another password with this code, once. Returns when it ends, in seconds since 1970.
    pub async fn add_reset_code(&self, subject: &str, code: &str) -> Result<i64, AdminError> {
        let mut tx = self.begin().await?;
        let principal = existing(self.store, subject).await?;
        if principal.kind != Kind::User {
            return Err(Denial::Field("subject", "is a program; rotate its client's secret").into());
        }
        let expires_at = verify::now() + i64::try_from(RESET_CODE.as_secs()).unwrap_or(0);
        tx.add_reset_code(subject, &hash_client_secret(code), expires_at).await?;
        self.audit_and_commit(tx, "password.reset_code", subject).await?;
        Ok(expires_at)
    }

    /// Takes away a person's second factor.
    pub async fn drop_second_factor(&self, subject: &str) -> Result<(), AdminError> {
        let mut tx = self.begin().await?;
        existing(self.store, subject).await?;
        if !tx.remove_second_factor(subject).await? {
            return Err(Denial::Field("subject", "has no second factor").into());
        }
        self.audit_and_commit(tx, "second_factor.drop", subject).await
    }
}
