//! Callers of a namespace that replicas share and write through: what they read at any replica is held against what its origin has
//! committed, and to whom it was acknowledged.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};

use super::gateway::CacheProcess;
use super::mesh::Mesh;
use super::through_model::{FIRST_CALL, KEYS};
use crate::{Acknowledgement, Change, Committed, Invalidation, KeyLoad, NamespaceChange};

const TENANT: &str = "north";
const TTL: Duration = Duration::from_secs(20);
impl CacheProcess {
    /// Something that a caller does by way of this replica.
    pub(super) async fn use_key(self: Arc<Self>, mesh: Mesh) -> Option<()> {
        let rng = mesh.world.rng.clone();
        // Mostly the same one.
        let index = u8::from(rng.below(4) == 0);
        match rng.below(10) {
            0..6 => self.read_key(&mesh, index).await,
            6..9 => self.write_key(&mesh, index, true).await,
            _ => self.write_key(&mesh, index, false).await,
        }
    }

    pub(super) async fn read_key(&self, mesh: &Mesh, index: u8) -> Option<()> {
        let key = KEYS[usize::from(index)];
        let floor = mesh.keys.lock().unwrap().acknowledged(key);
        self.process.turn().await?;
        let namespace = &self.replica().namespace;
        let found = self.engine.get(namespace, TENANT, key);
        if let Some(found) = found {
            mesh.keys.lock().unwrap().see(key, Some(decode(&found.value)), floor);
            return Some(());
        }
        let load = KeyLoad { ttl: TTL, wait_budget: Duration::from_secs(10), call: FIRST_CALL + index };
        let answer = self.engine.load_key(namespace, (TENANT, key), &load).await.ok()?;
        match answer.found {
            Ok(found) => mesh.keys.lock().unwrap().see(key, Some(decode(&found.value)), floor),
            Err(absent) if absent.code == 5 => mesh.keys.lock().unwrap().see(key, None, floor),
            Err(_) => {}
        }
        Some(())
    }

    pub(super) async fn write_key(&self, mesh: &Mesh, index: u8, is_value: bool) -> Option<()> {
        let key = KEYS[usize::from(index)];
        self.process.turn().await?;
        if !self.engine.is_verified() {
            return None;
        }
        let is_told = mesh.world.rng.below(8) > 0;
        let write = async {
            // What gets lost on this way is only late.
            let _ = mesh.network.carry().await;
            let (number, before) = mesh.keys.lock().unwrap().replace(key, is_value);
            let _ = mesh.network.carry().await;
            self.process.turn().await.filter(|()| is_told).ok_or(())?;
            let value = Bytes::copy_from_slice(&number.to_be_bytes());
            let committed = Committed { value, version: number, tags: &[], ttl: TTL };
            Ok::<_, ()>(((number, before), is_value.then_some(committed)))
        };
        let written = self.engine.write_through(&self.replica().namespace, (TENANT, key), write).await;
        let ((number, before), _) = written.ok()?.ok()?;
        self.process.turn().await?;
        let put = Change::Put { key: key.into(), version: (0, Some(number)) };
        let change = if is_value { put } else { Change::Deleted { key: key.into(), version: before } };
        self.tell(change).await?;
        mesh.keys.lock().unwrap().acknowledge(key, number);
        Some(())
    }

    /// Until no replica answers with what was before; nothing where that is not known.
    async fn tell(&self, change: Change) -> Option<()> {
        let change = NamespaceChange::new(self.replica().namespace.name(), TENANT, change);
        let replica = &self.replica().replica;
        let dies = async { while self.process.poll().await.is_some() {} };
        let (appending, dies) = (pin!(replica.invalidate(Invalidation::of_namespace(change))), pin!(dies));
        let Either::Left((appended, _)) = select(appending, dies).await else { return None };
        let appended = appended.ok()?;
        let number = appended.number.expect("a number of the log");
        loop {
            self.process.poll().await?;
            match replica.acknowledgement(appended.incarnation, number) {
                Acknowledgement::Wait(_) => {}
                ended => return (ended == Acknowledgement::Done).then_some(()),
            }
        }
    }
}

fn decode(value: &[u8]) -> u64 {
    value.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
