//! Keys that replicas share and write through.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::schedule::Schedule;
use super::{assert_fails, engine_without};
use crate::Committed;
use crate::simulation::mesh::Variant;
use crate::simulation::replica_keys::TENANT;
use crate::simulation::through_model::{Floor, KEYS};

const TTL: Duration = Duration::from_secs(20);

/// What a write has committed at the origin is replaced there, and everything invalidated by way of the second replica, before the
/// first one hears that it is committed.
fn invalidation_during_write_through(variant: Variant) -> Result<(), String> {
    let mut schedule = Schedule::begin(variant, 0, [1_000; 2]);
    let (key, keys) = (KEYS[0], Arc::clone(&schedule.mesh.keys));
    let (first, second) = (Arc::clone(&schedule.near_writer), Arc::clone(&schedule.near_reader));
    let (comes_back, back) = oneshot::channel();
    let number = keys.lock().unwrap().commit(key, true);
    let writer = Arc::clone(&first);
    let written = schedule.start(async move {
        let write = async {
            let _ = back.await;
            let value = Bytes::copy_from_slice(&number.to_be_bytes());
            Ok::<_, ()>(((), Some(Committed { value, version: number, tags: &[], ttl: TTL })))
        };
        writer.engine.write_through(&writer.replica().namespace, (TENANT, key), write).await.is_ok()
    });
    schedule.pass(Duration::from_millis(1));
    let mesh = schedule.mesh.clone();
    schedule.run(async move { second.invalidate_key(&mesh, 0).await }).expect("it is acknowledged");
    let _ = comes_back.send(());
    while written.lock().unwrap().is_none() {
        schedule.pass(Duration::from_micros(100));
    }
    let held = first.engine.get(&first.replica().namespace, TENANT, key);
    let mut truth = keys.lock().unwrap();
    if let Some(found) = held {
        let acknowledged = truth.acknowledged(key);
        let told = found.value.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
        truth.see(key, told, Floor { acknowledged, seen: 0 });
    }
    truth.broken.take().map_or(Ok(()), Err)
}

#[test]
fn write_through_that_an_invalidation_overtook_is_not_kept() {
    invalidation_during_write_through(Variant::ALL).unwrap();
}

#[test]
fn invalidation_of_keys_that_leaves_writes_under_way_alone_schedule_fails() {
    assert_fails(invalidation_during_write_through, engine_without(|rules| rules.invalidation_reaches_writes = false));
}
