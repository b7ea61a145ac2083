//! Writes of a namespace with `write = "through"`: the record first, then what the cache holds.

use std::sync::Arc;
use std::time::Duration;

use accord_api::accord::fault::v1::Reason;
use accord_readthrough::{Committed, Engine, Expected, Namespace, Origin, Overload, Store, World, Written};
use accord_runtime::{deadline::Deadline, fault};
use bytes::Bytes;
use tonic::Status;

use super::{NamespaceService, OpenOutcomes, conflict};
use crate::namespace_origin::records::{NotWritten, RecordsOrigin, Required};
use crate::namespaces::Space;
use crate::service::overloaded;

/// A write of one key, whoever waits for it.
pub(super) struct ThroughWrite<O, S, W> {
    pub engine: Engine<O, S, W>,
    pub open_outcomes: OpenOutcomes<O, S, W>,
    pub namespace: Namespace,
    pub records: Arc<RecordsOrigin>,
    pub tenant: String,
    pub key: String,
    pub required: Required,
    pub deadline: Deadline,
}

/// What is put.
pub(super) struct ThroughValue {
    pub value: Bytes,
    pub tags: Vec<String>,
    pub ttl: Duration,
}

impl<O, S, W, A> NamespaceService<O, S, W, A> {
    /// The write of a key in a namespace that writes through.
    pub(super) fn through(
        &self,
        space: &Space,
        tenant: String,
        key: &str,
        expected: Expected,
        deadline: Deadline,
    ) -> Option<ThroughWrite<O, S, W>> {
        let records = Arc::clone(space.through.as_ref()?);
        let required = match expected {
            Expected::Anything => Required::Anything,
            Expected::Nothing => Required::Nothing,
            Expected::OfOrigin(version) => i64::try_from(version).map_or(Required::Impossible, Required::Version),
            Expected::Version(_) => Required::Impossible,
        };
        let (engine, open_outcomes) = (self.engine.clone(), self.open_outcomes.clone());
        let namespace = space.namespace.clone();
        Some(ThroughWrite {
            engine,
            open_outcomes,
            namespace,
            records,
            tenant,
            key: key.to_owned(),
            required,
            deadline,
        })
    }
}

impl<O: Origin, S: Store, W: World> ThroughWrite<O, S, W> {
    /// Puts a value; the version that its record has, and whether it is in memory. A caller that leaves changes nothing of it.
    pub(super) async fn put(self, put: ThroughValue) -> Result<(u64, bool), Status> {
        detached(async move {
            let write = async {
                let place = (&*self.tenant, &*self.key);
                let version = self.records.put(place, &put.value, self.required, self.deadline.remaining()).await?;
                let version = u64::try_from(version).unwrap_or_default();
                Ok((version, Some(Committed { value: put.value.clone(), version, tags: &put.tags, ttl: put.ttl })))
            };
            let (version, written) = self.run(write).await?;
            Ok((version, written.is_some_and(|written| written.stored)))
        })
        .await
    }

    /// Deletes a value; the version that its record had.
    pub(super) async fn delete(self) -> Result<Option<u64>, Status> {
        detached(async move {
            let write = async {
                let place = (&*self.tenant, &*self.key);
                let version = self.records.delete(place, self.required, self.deadline.remaining()).await?;
                Ok((version.and_then(|version| u64::try_from(version).ok()), None))
            };
            Ok(self.run(write).await?.0)
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
        let written = self.engine.write_through(&self.namespace, place, write);
        let status = match tokio::time::timeout(self.deadline.remaining(), written).await {
            Ok(Ok(Ok(written))) => return Ok(written),
            Ok(Ok(Err(NotWritten::Conflict))) => return Err(conflict(self.namespace.conflict())),
            Ok(Err(overload @ (Overload::Waiters | Overload::Flights))) => return Err(overloaded(overload)),
            Ok(Ok(Err(NotWritten::Open(status)))) => status,
            Err(_) => fault::status(Reason::DeadlineExceeded, "the record was not written in time"),
        };
        self.open_outcomes.forget_later(&self.namespace, place);
        Err(status)
    }
}

/// Runs to its end, whoever leaves.
pub(super) async fn detached<T: Send + 'static>(
    write: impl Future<Output = Result<T, Status>> + Send + 'static,
) -> Result<T, Status> {
    let written = tokio::spawn(write).await;
    written.unwrap_or_else(|_| Err(fault::status(Reason::Internal, "the write panicked")))
}
