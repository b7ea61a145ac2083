//! Two replicas and two gateways, of which one writes by way of the first, and the other reads from the second.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;

use crate::simulation::gateway::{CacheProcess, Gateway};
use crate::simulation::log::Database;
use crate::simulation::mesh::{Mesh, Variant, decode, request};
use crate::simulation::process::Network;
use crate::simulation::replica_process::REPLICA_LEASE;
use crate::simulation::scheduler::{Rng, Scheduler, Simulated};
use crate::{ConsistencyRequirement, World};

const LATENCY: ConsistencyRequirement = ConsistencyRequirement::MinimizeLatency;
pub(in crate::simulation) const OBJECT: u8 = 0;

pub(in crate::simulation) struct Schedule {
    scheduler: Scheduler,
    pub mesh: Mesh,
    pub database: Database,
    pub near_writer: Arc<CacheProcess>,
    pub near_reader: Arc<CacheProcess>,
    pub writer: Arc<Gateway>,
    pub reader: Arc<Gateway>,
}

impl Schedule {
    /// With clock rates in thousandths of both replicas. First lease times are over, and the log knows its senders.
    pub(in crate::simulation) fn begin(variant: Variant, seed: u64, [near_writer, near_reader]: [u64; 2]) -> Self {
        let world = Simulated::begin(Rng::seeded(seed));
        let network = Network { world: world.clone(), is_calm: true };
        let database = Database::new(&world, variant.log, REPLICA_LEASE);
        let mesh = Mesh { world: world.clone(), network, truth: Arc::default(), keys: Arc::default(), variant };
        let near_writer = CacheProcess::start_replica(&mesh, &database, 1, near_writer);
        let near_reader = CacheProcess::start_replica(&mesh, &database, 2, near_reader);
        let gateway = |cache: &Arc<CacheProcess>, holder| {
            let gateway = Gateway::start(&mesh, cache, holder, 1_000);
            gateway.see(std::slice::from_ref(cache));
            gateway
        };
        let (writer, reader) = (gateway(&near_writer, 11), gateway(&near_reader, 12));
        let scheduler = Scheduler::new(world);
        let mut schedule = Self { scheduler, mesh, database, near_writer, near_reader, writer, reader };
        schedule.pass(REPLICA_LEASE * 10);
        for gateway in [&schedule.writer, &schedule.reader] {
            let announcing = Arc::clone(gateway).announce();
            schedule.scheduler.add(Box::pin(async move {
                announcing.await;
            }));
        }
        schedule.pass(REPLICA_LEASE * 2);
        schedule
    }

    /// The same with an answer in the second replica, which was verified just now and does so no more by itself.
    pub(in crate::simulation) fn with_answer(variant: Variant, rates: [u64; 2]) -> Self {
        let mut schedule = Self::begin(variant, 0, rates);
        schedule.read();
        schedule.near_reader.replica().is_idle.store(true, Ordering::Relaxed);
        schedule.verify();
        schedule
    }

    /// Lets time pass, while everything goes on.
    pub(in crate::simulation) fn pass(&mut self, time: Duration) {
        let until = self.mesh.world.now().after(time);
        while self.mesh.world.now() < until {
            for _ in 0..200 {
                if !self.scheduler.step() {
                    break;
                }
            }
            self.mesh.world.advance(100_000);
        }
    }

    /// Runs something to its end.
    pub(in crate::simulation) fn run<T: Send + 'static>(
        &mut self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let result = self.start(task);
        loop {
            if let Some(result) = result.lock().unwrap().take() {
                return result;
            }
            self.pass(Duration::from_micros(100));
        }
    }

    /// Begins something that goes on beside what follows; where its result will be.
    pub(in crate::simulation) fn start<T: Send + 'static>(
        &mut self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Arc<Mutex<Option<T>>> {
        let result = Arc::new(Mutex::new(None));
        let told = Arc::clone(&result);
        self.scheduler.add(Box::pin(async move {
            let result = task.await;
            *told.lock().unwrap() = Some(result);
        }));
        result
    }

    pub(in crate::simulation) fn read(&mut self) {
        self.read_at(&Arc::clone(&self.reader));
    }

    pub(in crate::simulation) fn read_at(&mut self, gateway: &Arc<Gateway>) {
        let read = Arc::clone(gateway).read(OBJECT, LATENCY);
        self.run(read);
    }

    pub(in crate::simulation) fn write(&mut self, object: u8) {
        let write = Arc::clone(&self.writer).write_logged(object, false, None);
        self.run(write);
    }

    /// A read that goes on beside what follows; not before its load has read the truth.
    pub(in crate::simulation) fn begin_load(&mut self) {
        let before = self.mesh.truth.lock().unwrap().samples;
        self.start(Arc::clone(&self.reader).read(OBJECT, LATENCY));
        while self.mesh.truth.lock().unwrap().samples == before {
            self.scheduler.step();
        }
    }

    /// A write that goes on beside what follows; not before its batch has a number.
    pub(in crate::simulation) fn begin_write(&mut self) -> Arc<Mutex<Option<bool>>> {
        let (write, head) = (Arc::clone(&self.writer).write_logged(OBJECT, false, None), self.database.head());
        let write = async move { write.await.is_some() };
        let written = self.start(write);
        while self.database.head() == head {
            self.pass(Duration::from_micros(100));
        }
        written
    }

    /// The second replica verifies.
    pub(in crate::simulation) fn verify(&mut self) {
        let replica = self.near_reader.replica().replica.clone();
        self.run(async move { replica.verify().await }).unwrap();
    }

    pub(in crate::simulation) fn verdict(&self) -> Result<(), String> {
        self.mesh.truth.lock().unwrap().broken.take().map_or(Ok(()), Err)
    }

    /// What the second replica has in its memory now, held against the truth.
    pub(in crate::simulation) fn look_into_memory(&self) -> impl FnOnce() + Send + use<> {
        let (engine, truth) = (self.near_reader.engine.clone(), Arc::clone(&self.mesh.truth));
        move || {
            let Some(Ok(answer)) = engine.read(&request(OBJECT, LATENCY, None)).now_or_never() else { return };
            let sample = decode(answer.load.as_ref().expect("the origin does not fail"));
            let mut truth = truth.lock().unwrap();
            let acknowledged = truth.acknowledged[usize::from(OBJECT)];
            truth.ensure(sample.version >= acknowledged, || format!("I6: {sample:?} in memory"));
        }
    }
}
