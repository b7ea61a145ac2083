//! Devices that ask to act for somebody, as administrators see and end them. None is approved here: that is for its person alone.

use accord_token::verify;

use super::{Admin, AdminError};
use crate::domain::device::{DENY, NO_SUCH_DEVICE, normalized};

impl Admin<'_> {
    /// Gives a device nothing: one that waits, or that was approved and has no tokens yet.
    pub async fn cancel_device(&self, user_code: &str) -> Result<(), AdminError> {
        let mut tx = self.begin().await?;
        let client = tx.close_device_code(&normalized(user_code), None, verify::now()).await?;
        self.audit_and_commit(tx, DENY, &client.ok_or(NO_SUCH_DEVICE)?).await
    }
}
