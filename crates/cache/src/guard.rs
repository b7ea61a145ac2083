//! Who calls the cache, and for whom.

use accord_mesh::{MeshClient, refusal};
use accord_runtime::{deadline::Deadline, request::RequestId};
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

/// Whose answer is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The tenant; empty where there is but one.
    pub tenant: String,
    /// The subject.
    pub subject: String,
}

/// What a method asks of its caller, as its contract declares it.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The method, `pkg.Service/Method`.
    pub method: &'static str,
    /// The permission.
    pub permission: &'static str,
}

/// What travels with a call.
#[derive(Clone, Debug)]
pub struct Terms {
    /// When its caller leaves.
    pub deadline: Deadline,
    /// Its id.
    pub id: RequestId,
}

impl Terms {
    /// As the layers around the services found them.
    pub fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let deadline = request.extensions().get::<Deadline>().copied();
        let deadline = deadline.ok_or_else(|| Status::internal("the call has no deadline"))?;
        let id = request.extensions().get::<RequestId>().cloned().unwrap_or_default();
        Ok(Self { deadline, id })
    }
}

/// Admits callers and verifies passports.
pub trait Guard: Clone + Send + Sync + 'static {
    /// Lets a workload in that holds the permission.
    fn admit(
        &self,
        metadata: &MetadataMap,
        entry: Entry,
        terms: &Terms,
    ) -> impl Future<Output = Result<(), Status>> + Send;

    /// Whose passport this is, if it is a good one for this audience.
    fn owner(&self, passport: &str, audience: &str) -> Result<Owner, Status>;
}

impl Guard for MeshClient {
    async fn admit(&self, metadata: &MetadataMap, entry: Entry, terms: &Terms) -> Result<(), Status> {
        let admitted =
            MeshClient::admit(self, metadata, entry.method, entry.permission, terms.deadline, &terms.id).await;
        admitted.map(drop).map_err(refusal::status)
    }

    fn owner(&self, passport: &str, audience: &str) -> Result<Owner, Status> {
        let verified = self.verify_passport(passport, audience).map_err(refusal::status)?;
        Ok(Owner { tenant: verified.claims.tenant.clone(), subject: verified.claims.sub.clone() })
    }
}
