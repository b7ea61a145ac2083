//! Whose answer is read, as its passport says.

use accord_mesh::{MeshClient, refusal};
use tonic::Status;

/// Whose answer is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The tenant; empty where there is but one.
    pub tenant: String,
    /// The subject.
    pub subject: String,
}

/// Verifies passports.
pub trait Passports: Clone + Send + Sync + 'static {
    /// Whose passport this is, if it is a good one for this audience.
    fn owner(&self, passport: &str, audience: &str) -> Result<Owner, Status>;
}

impl Passports for MeshClient {
    fn owner(&self, passport: &str, audience: &str) -> Result<Owner, Status> {
        let verified = self.verify_passport(passport, audience).map_err(refusal::status)?;
        Ok(Owner { tenant: verified.claims.tenant.clone(), subject: verified.claims.sub.clone() })
    }
}
