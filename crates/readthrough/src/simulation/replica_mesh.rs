//! How a gateway writes by way of replicas: a batch at a time, to any of them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::gateway::{CacheProcess, Gateway};
use super::log::{Database, LogFaults, ModelledLog};
use super::mesh::{Mesh, engine, tag};
use super::process::{ClockKind, Process};
use super::replica_process::{REPLICA_LEASE, Sender, SimulatedReplica};
use super::sessions::Session;
use super::through_model::{NAMESPACE, QUOTA};
use crate::{Acknowledgement, ConsistencyToken, Invalidated, Invalidation, Replica, World, own_wait};

/// How often a gateway asks for an acknowledgement before its write answers as deferred.
const QUESTIONS: usize = 4;

impl CacheProcess {
    pub(super) fn start_replica(mesh: &Mesh, database: &Database, name: u128, rate: u64) -> Arc<Self> {
        let process = Process::start(&mesh.world, ClockKind::Boot, rate);
        let engine = engine(mesh, &process);
        let (faults, is_idle) = (Arc::<LogFaults>::default(), Arc::<AtomicBool>::default());
        let (network, own) = (mesh.network.clone(), process.clone());
        let log = ModelledLog { database: database.clone(), process: own, network, faults: Arc::clone(&faults) };
        let replica = Replica::with_rules(engine.clone(), log, name, REPLICA_LEASE, mesh.variant.replica);
        let namespace = engine.namespace(NAMESPACE, QUOTA);
        let replica = SimulatedReplica { replica, faults, namespace, told: Arc::default(), is_idle };
        let following = replica.clone().follow(process.clone(), database.clone());
        mesh.world.spawn(async move {
            following.await;
        });
        let lingers = AtomicBool::new(false);
        Arc::new(Self { process, engine, incarnation: name, lingers, replica: Some(replica) })
    }

    pub(super) fn replica(&self) -> &SimulatedReplica {
        self.replica.as_ref().expect("a replica")
    }

    /// Ends in order.
    pub(super) async fn leave(self: Arc<Self>) -> Option<()> {
        let replica = &self.replica().replica;
        let over = replica.begin_to_leave();
        while self.process.now() < over {
            self.process.poll().await?;
        }
        // One that can't say so is struck off.
        let _ = replica.depart().await.is_ok();
        self.process.end();
        Some(())
    }
}

impl Gateway {
    /// Tells of this life, and goes on telling that it lives.
    pub(super) async fn announce(self: Arc<Self>) -> Option<()> {
        self.deliver(None, false).await?;
        loop {
            self.process.wait(Duration::from_millis(500)).await?;
            self.beat().await;
        }
    }

    async fn beat(&self) -> Option<()> {
        let mut sender = self.sender.lock().await;
        self.send(&mut sender, None, false).await.map(drop)
    }

    /// Says that nothing is left to deliver, and ends.
    pub(super) async fn say_goodbye(self: Arc<Self>) -> Option<()> {
        let mut sender = self.sender.lock().await;
        while self.send(&mut sender, None, true).await.is_none() {
            self.process.poll().await?;
        }
        self.process.end();
        Some(())
    }

    /// Writes by way of replicas. Where no acknowledgement comes, the write says so, and nothing is promised.
    ///
    /// `overflows`: the sender leaves out a number, since it could not keep what it was to tell.
    pub(super) async fn write_logged(
        self: Arc<Self>,
        object: u8,
        overflows: bool,
        session: Option<Session>,
    ) -> Option<()> {
        let (versions, cache, invalidated) = self.append(object, overflows, session).await?;
        let is_early = self.mesh.variant.drops_when_sending;
        if is_early {
            self.forget(object, overflows);
        }
        self.acknowledged(cache, &invalidated).await?;
        if !is_early {
            self.forget(object, overflows);
        }
        self.mesh.truth.lock().unwrap().acknowledge(versions);
        Some(())
    }

    /// Changes an object, and has a replica append that; what is acknowledged with it. Its token is good from then on.
    async fn append(
        &self,
        object: u8,
        overflows: bool,
        session: Option<Session>,
    ) -> Option<([usize; 3], Arc<CacheProcess>, Invalidated)> {
        let versions = self.commit(object, false).await?;
        let version = versions[usize::from(object)] as u64;
        let session = session.map(|session| (session.committed(object, version), session));
        let (cache, invalidated) = self.deliver(Some(object), overflows).await?;
        if let Some((write, session)) = session {
            session.appended(write, ConsistencyToken::of_write(invalidated.incarnation, invalidated.position));
        }
        Some((versions, cache, invalidated))
    }

    /// A write that waits for nobody but the replica that appended it (`ACKNOWLEDGEMENT_LOCAL`). All others have read its number when a
    /// lease on the log is over, or answer no more.
    pub(super) async fn write_locally(
        self: Arc<Self>,
        object: u8,
        overflows: bool,
        session: Option<Session>,
    ) -> Option<()> {
        let (versions, ..) = self.append(object, overflows, session).await?;
        self.forget(object, overflows);
        if self.mesh.variant.local_is_local {
            self.process.wait(own_wait(REPLICA_LEASE)).await?;
        }
        self.mesh.truth.lock().unwrap().acknowledge(versions);
        Some(())
    }

    fn forget(&self, object: u8, everything: bool) {
        if everything {
            self.near.acknowledged_all();
        } else {
            self.near.acknowledged([tag(object)]);
        }
    }

    /// Sends the next batch until a replica has appended it; which one, and what it said.
    async fn deliver(&self, object: Option<u8>, overflows: bool) -> Option<(Arc<CacheProcess>, Invalidated)> {
        let mut sender = self.sender.lock().await;
        sender.sequence += if overflows { 2 } else { 1 };
        let object = object.filter(|_| !overflows);
        loop {
            self.process.poll().await?;
            if let Some(delivered) = self.send(&mut sender, object, false).await {
                return Some(delivered);
            }
        }
    }

    async fn send(
        &self,
        sender: &mut Sender,
        object: Option<u8>,
        is_last: bool,
    ) -> Option<(Arc<CacheProcess>, Invalidated)> {
        let cache = self.any_replica()?;
        let tags = object.map(tag).into_iter().collect();
        let Sender { sequence, round } = *sender;
        let (name, writer) = (self.holder.0.to_string(), Some(self.holder));
        let invalidation =
            Invalidation { sender: name, sequence, round, is_last, is_flush: false, tags, writer, change: None };
        let asked = self.near.begin();
        self.carry(&cache).await?;
        cache.process.turn().await?;
        let invalidated = cache.replica().replica.invalidate(invalidation).await.ok()?;
        cache.process.turn().await?;
        self.carry(&cache).await?;
        self.process.turn().await?;
        self.near.observe(asked, cache.origin());
        sender.round = invalidated.noted.round;
        Some((cache, invalidated))
    }

    fn any_replica(&self) -> Option<Arc<CacheProcess>> {
        let replicas = self.replicas.lock().unwrap();
        let chosen = self.mesh.world.rng.below(replicas.len().max(1) as u64);
        replicas.get(usize::try_from(chosen).expect("few replicas")).cloned()
    }

    /// Waits until a batch is acknowledged; nothing where that can't be known. Asks the replica that appended it first, and then
    /// any one.
    async fn acknowledged(&self, mut cache: Arc<CacheProcess>, of: &Invalidated) -> Option<()> {
        for _ in 0..QUESTIONS {
            if let Some(is_done) = self.ask_whether_acknowledged(&cache, of).await {
                return is_done.then_some(());
            }
            self.process.turn().await?;
            cache = self.any_replica()?;
        }
        None
    }

    async fn ask_whether_acknowledged(&self, cache: &CacheProcess, of: &Invalidated) -> Option<bool> {
        let number = of.number.expect("a number of the log");
        self.carry(cache).await?;
        let is_done = loop {
            cache.process.poll().await?;
            match cache.replica().replica.acknowledgement(of.incarnation, number) {
                Acknowledgement::Wait(_) => {}
                ended => break ended == Acknowledgement::Done,
            }
        };
        self.carry(cache).await?;
        self.process.turn().await?;
        Some(is_done)
    }

    /// From now on it sees these replicas.
    pub(super) fn see(&self, replicas: &[Arc<CacheProcess>]) {
        *self.replicas.lock().unwrap() = replicas.to_vec();
    }
}
