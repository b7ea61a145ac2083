//! Callers of a namespace that replicas share and write through: what they read at any replica is held against what its origin has
//! committed, and to whom it was acknowledged.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};

use super::gateway::CacheProcess;
use super::mesh::Mesh;
use super::through_model::{FIRST_CALL, Floor, KEYS};
use crate::{
    Acknowledgement, Change, Committed, ConsistencyRequirement, Invalidation, KeyLoad, KeyRequirement, NamespaceChange,
    Opened,
};

pub(super) const TENANT: &str = "north";
const TTL: Duration = Duration::from_secs(20);
impl CacheProcess {
    /// Something that a caller does by way of this replica.
    pub(super) async fn use_key(self: Arc<Self>, mesh: Mesh) -> Option<()> {
        let rng = mesh.world.rng.clone();
        // Mostly the same one.
        let index = u8::from(rng.below(4) == 0);
        match rng.below(40) {
            0..24 => self.read_key(&mesh, index).await,
            24..35 => self.write_key(&mesh, index, true).await,
            35..39 => self.write_key(&mesh, index, false).await,
            // Seldom: it takes out everything, so that nothing is left which could be wrong.
            _ => self.invalidate_key(&mesh, index).await,
        }
    }

    async fn read_key(&self, mesh: &Mesh, index: u8) -> Option<()> {
        let key = KEYS[usize::from(index)];
        self.process.turn().await?;
        let namespace = &self.replica().namespace;
        let (is_strong, passes) = (mesh.world.rng.below(8) == 0, mesh.world.rng.below(3) == 0);
        let session = mesh.keys.lock().unwrap().session(key).filter(|_| passes);
        let tokens: Vec<_> = session.iter().map(|(_, token)| Opened::Known(*token)).collect();
        let issued = self.require(&tokens, &namespace.place(TENANT, key)).await?;
        let consistency =
            if is_strong { ConsistencyRequirement::Strong } else { ConsistencyRequirement::MinimizeLatency };
        let required = KeyRequirement { consistency, floor: issued.floor };
        let floor = {
            let truth = mesh.keys.lock().unwrap();
            let known = if is_strong { truth.latest(key) } else { truth.acknowledged(key) };
            Floor { acknowledged: known.max(self.replica().told(index)), seen: session.map_or(0, |(seen, _)| seen) }
        };
        let found = self.engine.get_required(namespace, (TENANT, key), required);
        let found = if let Some(found) = found {
            Ok(found)
        } else {
            let call = FIRST_CALL + index;
            let load = KeyLoad { ttl: TTL, wait_budget: Duration::from_secs(10), required, call };
            self.engine.load_key(namespace, (TENANT, key), &load).await.ok()?.found
        };
        let mut truth = mesh.keys.lock().unwrap();
        match found {
            Ok(found) => {
                let number = decode(&found.value);
                truth.see(key, Some(number), floor);
                // Another session's read in between would make this one's token the older one.
                if session.is_some() {
                    truth.told(key, number, issued.token(&found.span));
                }
            }
            Err(absent) if absent.code == 5 => truth.see(key, None, floor),
            Err(_) => {}
        }
        Some(())
    }

    /// Changes a key behind the cache, and invalidates it by way of this replica, which knows of it then; the others do when they
    /// have confirmed it.
    pub(super) async fn invalidate_key(&self, mesh: &Mesh, index: u8) -> Option<()> {
        let key = KEYS[usize::from(index)];
        self.process.turn().await?;
        let number = mesh.keys.lock().unwrap().commit(key, true);
        self.process.turn().await?;
        self.tell(mesh, index, (number, Change::PrefixInvalidated("".into()), 0)).await
    }

    async fn write_key(&self, mesh: &Mesh, index: u8, is_value: bool) -> Option<()> {
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
        let ((number, before), written) = written.ok()?.ok()?;
        self.process.turn().await?;
        let put = Change::Put { key: key.into(), version: (0, Some(number)) };
        let change = if is_value { put } else { Change::Deleted { key: key.into(), version: before } };
        let serial = written.map_or_else(|| self.replica().replica.next_serial(), |written| written.span.serial);
        self.tell(mesh, index, (number, change, serial)).await
    }

    /// Until no replica answers with what was before; nothing where that is not known. Before that this one does not.
    async fn tell(&self, mesh: &Mesh, index: u8, (number, change, serial): (u64, Change, u64)) -> Option<()> {
        let key = KEYS[usize::from(index)];
        let change = NamespaceChange::new(self.replica().namespace.name(), TENANT, change);
        let replica = &self.replica().replica;
        let dies = async { while self.process.poll().await.is_some() {} };
        let (appending, dies) = (pin!(replica.invalidate(Invalidation::of_namespace(change))), pin!(dies));
        let Either::Left((appended, _)) = select(appending, dies).await else { return None };
        let appended = appended.ok()?;
        let of_log = appended.number.expect("a number of the log");
        self.replica().tell(index, number);
        let serial = if serial == 0 { replica.next_serial() } else { serial };
        mesh.keys.lock().unwrap().told(key, number, replica.written(Some((appended.incarnation, of_log)), serial));
        loop {
            self.process.poll().await?;
            match replica.acknowledgement(appended.incarnation, of_log) {
                Acknowledgement::Wait(_) => {}
                Acknowledgement::Unknown => return None,
                Acknowledgement::Done => break,
            }
        }
        mesh.keys.lock().unwrap().acknowledge(key, number);
        Some(())
    }
}

fn decode(value: &[u8]) -> u64 {
    value.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
