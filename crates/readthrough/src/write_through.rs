//! Writes that go to the origin first (write-through), and then to the cache.
//!
//! Their rules, beside those of every key of a namespace:
//! 1. One write of a key at a time (`write_turns`): so the cache holds what was written last.
//! 2. A load that began before a write was acknowledged may have read what was there before: it is not held.
//! 3. A key whose write was refused, failed, or ended with nobody knowing how, holds nothing: the origin is asked.
//! 4. Nor is what was written held, where its key was invalidated by a prefix meanwhile: its origin may have something newer.
//! 5. The comparison of a compare-and-set is the origin's. What the key holds here is not looked at.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::change::Change;
use crate::engine::Engine;
use crate::entry::Entry;
use crate::limits::Overload;
use crate::load_span::LoadSpan;
use crate::namespace::{Namespace, Written};
use crate::origin::Origin;
use crate::quota::Put;
use crate::store::Store;
use crate::world::World;

/// A value that its origin has taken.
#[derive(Clone, Debug)]
pub struct Committed<'a> {
    /// The value.
    pub value: Bytes,
    /// The version that the origin gave it.
    pub version: u64,
    /// Names under which it can be invalidated.
    pub tags: &'a [String],
    /// Its life in the cache.
    pub ttl: Duration,
}

/// Lets a key hold nothing when it is dropped: however a write ends, unless it is known to have succeeded.
struct Forget<'a, O: Origin, S: Store, W: World> {
    engine: &'a Engine<O, S, W>,
    namespace: &'a Namespace,
    of: (&'a str, &'a str),
    is_needed: bool,
    is_deleted: bool,
}

impl<O: Origin, S: Store, W: World> Drop for Forget<'_, O, S, W> {
    fn drop(&mut self) {
        if self.is_needed {
            self.engine.forget(self.namespace, self.of, self.is_deleted);
        }
    }
}

impl<O: Origin, S: Store, W: World> Engine<O, S, W> {
    /// Writes a key at its origin, by `write`, and holds what that committed; nothing where it deleted the key. What else `write`
    /// brings is passed on. Other writers of the key wait for their turn meanwhile. Dropped before its end, it leaves the key
    /// holding nothing.
    pub async fn write_through<'a, T, E>(
        &self,
        namespace: &Namespace,
        (tenant, key): (&str, &str),
        write: impl Future<Output = Result<(T, Option<Committed<'a>>), E>>,
    ) -> Result<Result<(T, Option<Written>), E>, Overload> {
        let place = namespace.place(tenant, key);
        let turn = self.0.write_turns.take(place, self.0.limits.waiters).await?;
        let _turn = self.0.rules.write_turns.then_some(turn);
        let is_needed = self.0.rules.failed_writes_forget;
        let mut forget = Forget { engine: self, namespace, of: (tenant, key), is_needed, is_deleted: false };
        // Before the origin is asked: an invalidation that comes in between reaches what is stored here.
        let (epoch, number, generation) = (self.0.validity.now(), self.position(), namespace.generation());
        let (serial, began) = (self.0.flights.take_serial(), self.0.world.now());
        let written = write.await;
        namespace.count_write(written.is_ok());
        let (told, committed) = match written {
            Ok(written) => written,
            Err(error) => return Ok(Err(error)),
        };
        let Some(Committed { value, version: of_origin, tags, ttl }) = committed else {
            (forget.is_needed, forget.is_deleted) = (true, true);
            return Ok(Ok((told, None)));
        };
        forget.is_needed = false;
        let mut shard = self.0.flights.lock(&place);
        let (version, now) = (self.next_version(&place), self.0.world.now());
        let put = Put::new(version, namespace.key_name(tenant, key), now.after(ttl)).of_origin(Some(of_origin));
        let tags = tags.iter().map(|name| namespace.tag(tenant, name)).collect();
        let span = LoadSpan { number, ..self.span_of_write(serial) };
        let entry = Entry::put(value, tags, epoch, now, put).versioned(self.versioned_at(place, Some(of_origin), now));
        let entry = Arc::new(entry.of_load(span));
        // A load may have brought what somebody else has written since.
        let is_current = namespace.generation() == generation;
        if is_current && self.may_hold_key(began) && self.is_newest(&place, &entry) {
            self.hold(&place, &entry);
        }
        if self.0.rules.put_retires_loads {
            shard.retire_newest(&place);
        }
        if !self.tell_put(namespace, (tenant, key), &entry) {
            // Its row has changed, though its copy is invalidated already: who read the row before that has to hear of it.
            self.tell(namespace, tenant, Change::Forgotten(key.into()));
        }
        drop(shard);
        self.make_room(namespace);
        namespace.count_put();
        let written = Written { version, stored: self.stored_version(&place) == Some(version), span };
        Ok(Ok((told, Some(written))))
    }

    /// Lets a key hold nothing, and what is being loaded for it be held by nobody: what it holds may be older than its origin.
    pub fn forget_key(&self, namespace: &Namespace, tenant: &str, key: &str) {
        self.forget(namespace, (tenant, key), false);
    }

    fn forget(&self, namespace: &Namespace, (tenant, key): (&str, &str), is_deleted: bool) {
        let place = namespace.place(tenant, key);
        let mut shard = self.0.flights.lock(&place);
        let last = self.version_at(&place);
        self.0.store.remove(&place);
        if is_deleted {
            self.bury_deleted(&place, last);
        }
        if self.0.rules.delete_retires_loads {
            shard.retire_newest(&place);
        }
        let deleted = || Change::Deleted { key: key.into(), version: last };
        self.tell(namespace, tenant, if is_deleted { deleted() } else { Change::Forgotten(key.into()) });
    }
}
