//! Writes of a namespace with `write = "through"`: the record first, then what the cache holds.

use std::sync::Arc;
use std::time::Duration;

use accord_api::accord::fault::v1::Reason;
use accord_readthrough::{
    Change, Committed, Expected, InvalidationLog, Namespace, Origin, Overload, Store, World, Written,
};
use accord_runtime::fault;
use bytes::Bytes;
use tonic::Status;

use super::checks::conflict;
use super::replicated::{Told, Until};
use super::{NamespaceService, Replicated};
use crate::namespace_origin::records::{NotWritten, RecordsOrigin, Required};
use crate::namespaces::Space;
use crate::service::overloaded;

/// A write of one key, whoever waits for it.
pub(super) struct ThroughWrite<L, O, S, W> {
    pub replicated: Replicated<L, O, S, W>,
    pub namespace: Namespace,
    pub records: Arc<RecordsOrigin>,
    pub tenant: String,
    pub key: String,
    pub required: Required,
    pub until: Until,
}

/// What became of a put.
pub(super) struct Done {
    pub told: Told,
    /// The serial number that it took when it began.
    pub serial: u64,
    /// Whether the value is in memory.
    pub stored: bool,
}

/// What is put.
pub(super) struct ThroughValue {
    pub value: Bytes,
    pub tags: Vec<String>,
    pub ttl: Duration,
}

impl<L: InvalidationLog, O: Origin, S: Store, W: World, A> NamespaceService<L, O, S, W, A> {
    /// The write of a key in a namespace that writes through.
    pub(super) fn through(
        &self,
        space: &Space,
        tenant: String,
        key: &str,
        expected: Expected,
        until: Until,
    ) -> Result<Option<ThroughWrite<L, O, S, W>>, Status> {
        let Some(records) = space.through.clone() else { return Ok(None) };
        self.replicated.check()?;
        let required = match expected {
            Expected::Anything => Required::Anything,
            Expected::Nothing => Required::Nothing,
            Expected::OfOrigin(version) => i64::try_from(version).map_or(Required::Impossible, Required::Version),
            Expected::Version(_) => Required::Impossible,
        };
        let (replicated, namespace) = (self.replicated.clone(), space.namespace.clone());
        Ok(Some(ThroughWrite { replicated, namespace, records, tenant, key: key.to_owned(), required, until }))
    }
}

impl<L: InvalidationLog, O: Origin, S: Store, W: World> ThroughWrite<L, O, S, W> {
    /// Puts a value; the version that its record has. A caller that leaves changes nothing of it.
    pub(super) async fn put(self, put: ThroughValue) -> Result<(u64, Done), Status> {
        detached(async move {
            let write = async {
                let place = (&*self.tenant, &*self.key);
                let version =
                    self.records.put(place, &put.value, self.required, self.until.deadline.remaining()).await?;
                let version = u64::try_from(version).unwrap_or_default();
                Ok((version, Some(Committed { value: put.value.clone(), version, tags: &put.tags, ttl: put.ttl })))
            };
            let (version, written) = self.run(write).await?;
            let told = self.tell(Change::Put { key: self.key.as_str().into(), version: (0, Some(version)) }).await?;
            let serial = written.map_or_else(|| self.replicated.replica().next_serial(), |written| written.span.serial);
            Ok((version, Done { told, serial, stored: written.is_some_and(|written| written.stored) }))
        })
        .await
    }

    /// Deletes a value; the version that its record had.
    pub(super) async fn delete(self) -> Result<(Option<u64>, Told), Status> {
        detached(async move {
            let write = async {
                let place = (&*self.tenant, &*self.key);
                let version = self.records.delete(place, self.required, self.until.deadline.remaining()).await?;
                Ok((version.and_then(|version| u64::try_from(version).ok()), None))
            };
            let version = self.run(write).await?.0;
            let told = self.tell(Change::Deleted { key: self.key.as_str().into(), version }).await?;
            Ok((version, told))
        })
        .await
    }

    /// Waits for its turn, and writes. Where nobody knows how that ended, the key is forgotten once more when it can't be carried
    /// out any more.
    async fn run<'a, T>(
        &'a self,
        write: impl Future<Output = Result<(T, Option<Committed<'a>>), NotWritten>>,
    ) -> Result<(T, Option<Written>), Status> {
        let place = (&*self.tenant, &*self.key);
        let written = self.replicated.engine().write_through(&self.namespace, place, write);
        let status = match tokio::time::timeout(self.until.deadline.remaining(), written).await {
            Ok(Ok(Ok(written))) => return Ok(written),
            Ok(Ok(Err(NotWritten::Conflict))) => return Err(conflict(self.namespace.conflict())),
            Ok(Err(overload @ (Overload::Waiters | Overload::Flights))) => return Err(overloaded(overload)),
            Ok(Ok(Err(NotWritten::Open(status)))) => status,
            Err(_) => fault::status(Reason::DeadlineExceeded, "the record was not written in time"),
        };
        self.replicated.tell_later(&self.namespace, place);
        Err(status)
    }

    /// Tells other replicas. Where that fails, the record is written all the same, and they are told as soon as it can be done.
    async fn tell(&self, change: Change) -> Result<Told, Status> {
        let told = self.replicated.tell((&self.namespace, &self.tenant), change, self.until).await;
        if told.is_err() {
            self.replicated.tell_later(&self.namespace, (&self.tenant, &self.key));
        }
        told
    }
}

/// Runs to its end, whoever leaves.
pub(super) async fn detached<T: Send + 'static>(
    write: impl Future<Output = Result<T, Status>> + Send + 'static,
) -> Result<T, Status> {
    let written = tokio::spawn(write).await;
    written.unwrap_or_else(|_| Err(fault::status(Reason::Internal, "the write panicked")))
}
