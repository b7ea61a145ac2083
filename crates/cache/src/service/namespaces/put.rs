//! Puts and deletions: in memory alone, or at the origin first.

use std::time::Duration;

use accord_api::accord::cache::v1::{self as api, Freshness, PutRequest, PutResponse};
use accord_mesh::guard::Decider;
use accord_readthrough::{Change, Expected, InvalidationLog, Origin, Store, World, Write, Written};
use tonic::Status;

use super::checks::{MOST_TAGS, check_key, check_tags, check_value, conflict, life, one_replica_alone};
use super::replicated::{Told, Until};
use super::through::{Done, ThroughValue};
use super::{Admitted, NamespaceService, version_text};
use crate::namespaces::Space;

impl<L: InvalidationLog, O: Origin, S: Store, W: World, A: Decider> NamespaceService<L, O, S, W, A> {
    /// A put that may go on. It is carried out by itself, whoever waits for it.
    pub(super) fn prepare_put(
        &self,
        admitted: &Admitted<'_, A::Caller>,
        put: &PutRequest,
    ) -> Result<impl Future<Output = Result<PutResponse, Status>> + Send + use<L, O, S, W, A>, Status> {
        let Admitted { space, tenant, .. } = admitted;
        let until = admitted.until(put.acknowledgement);
        check_key(space, "key", &put.key)?;
        check_value(space, put.value.len())?;
        check_tags(&put.tags, MOST_TAGS)?;
        let ttl = life(space, put.ttl.as_ref())?;
        let expected = self.expected(put.expected_version.as_ref());
        // A copy as large as the value: the buffer that it came in is larger, and would live for as long as the value.
        let value = bytes::Bytes::copy_from_slice(&put.value);
        let through = self.through(space, tenant.clone(), &put.key, expected, until)?;
        if through.is_none() && self.replicated.is_shared() {
            return Err(one_replica_alone("Put", &space.config.name));
        }
        let (engine, namespace) = (self.engine().clone(), space.namespace.clone());
        let (tenant, key, tags) = (tenant.clone(), put.key.clone(), put.tags.clone());
        let freshness = self.freshness(api::Outcome::Unspecified, Duration::ZERO, ttl);
        let prefix = self.version_prefix.clone();
        let tokens = self.write_tokens(space, &tenant);
        Ok(async move {
            let (version, done) = if let Some(write) = through {
                let (version, done) = write.put(ThroughValue { value, tags, ttl }).await?;
                ((0, Some(version)), done)
            } else {
                let write = Write { tenant: &tenant, key: &key, value, tags: &tags, ttl, expected };
                let Written { version, stored, span } = engine.put(&namespace, write).map_err(conflict)?;
                ((version, None), Done { told: Told::ALONE, serial: span.serial, stored })
            };
            let freshness = Freshness { stored: done.stored, ..freshness };
            Ok(PutResponse {
                version: version_text(&prefix, version),
                freshness: Some(freshness),
                consistency_token: tokens.issue(done.told, done.serial),
                acknowledgement: done.told.acknowledgement(),
            })
        })
    }

    /// Lets a key hold nothing; the version that it held here.
    pub(super) async fn delete_around(
        &self,
        space: &Space,
        tenant: &str,
        key: &str,
        expected: Expected,
        until: Until,
    ) -> Result<(Option<(u64, Option<u64>)>, Told), Status> {
        if !self.replicated.is_shared() {
            let deleted = self.engine().delete(&space.namespace, tenant, key, expected).map_err(conflict)?;
            return Ok((deleted, Told::ALONE));
        }
        if expected != Expected::Anything {
            return Err(one_replica_alone("Delete with `expected_version`", &space.config.name));
        }
        self.replicated.check()?;
        let deleted = self.engine().delete(&space.namespace, tenant, key, expected).map_err(conflict)?;
        let version = deleted.and_then(|(_, of_origin)| of_origin);
        let change = Change::Deleted { key: key.into(), version };
        let told = self.replicated.tell((&space.namespace, tenant), change, until).await?;
        Ok((deleted, told))
    }
}
