//! A world in paused time: callers that come whatever happens, a limit, an upstream with workers and a queue, and a machine that
//! others use as well.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet, spawn_local};
use tokio::time::{sleep, sleep_until, timeout};

use super::super::*;
use crate::config::AdaptiveConfig;

pub(super) const WORKERS: usize = 10;
pub(super) const SERVICE: Duration = Duration::from_millis(50);
/// Calls per second that the workers can take.
pub(super) const CAPACITY: f64 = 200.0;
const DEADLINE: Duration = Duration::from_millis(500);
/// Of the gateway's process: whoever takes all of them stops it.
const STEPS: u32 = 100_000;

/// A seeded generator (xorshift), so that every run is the same.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        f64::from(u32::try_from(self.0 >> 32).unwrap()) / f64::from(u32::MAX)
    }

    /// Exponentially distributed, with this mean.
    pub(super) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).max(1e-9).ln()
    }

    fn between(&mut self, least: f64, most: f64) -> f64 {
        least + (most - least) * self.unit()
    }
}

/// Calls of one kind.
#[derive(Clone, Copy)]
pub(super) struct Load {
    pub method: &'static str,
    pub rate: f64,
    pub criticality: Criticality,
    pub caller: &'static str,
    pub service: fn(&mut Random) -> Duration,
}

impl Load {
    pub(super) fn of(rate: f64) -> Self {
        Self { method: "Get", rate, criticality: Criticality::Critical, caller: "", service: |_| SERVICE }
    }
}

/// What came of calls of one kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcomes {
    pub offered: usize,
    pub shed: usize,
    pub late: usize,
    times: Vec<Duration>,
}

impl Outcomes {
    pub(super) fn good(&self) -> f64 {
        f64::from(u32::try_from(self.times.len()).unwrap())
    }

    pub(super) fn share_shed(&self) -> f64 {
        f64::from(u32::try_from(self.shed).unwrap()) / f64::from(u32::try_from(self.offered).unwrap())
    }

    pub(super) fn p99(&self) -> Duration {
        let mut times = self.times.clone();
        times.sort();
        times[times.len() * 99 / 100]
    }
}

/// An upstream whose workers take one call each, and go on with those whose caller has left.
#[derive(Clone)]
pub(super) struct World {
    pub limit: Option<Arc<AdaptiveLimit>>,
    pub workers: Arc<Semaphore>,
    /// What `max_in_flight` allows.
    places: Arc<Semaphore>,
    random: Rc<RefCell<Random>>,
    /// What the gateway's process does, and by how much all answers are late, while the machine is busy.
    steps: Arc<Semaphore>,
    lag: Rc<Cell<Duration>>,
    is_noisy: bool,
}

impl World {
    pub(super) fn new(workers: usize) -> Self {
        Self::seeded(workers, 0)
    }

    pub(super) fn seeded(workers: usize, seed: u64) -> Self {
        let adaptive = AdaptiveConfig { enabled: true, ..AdaptiveConfig::default() };
        let config = UpstreamConfig { max_in_flight: 2048, adaptive, ..UpstreamConfig::default() };
        Self {
            limit: AdaptiveLimit::new(&config),
            workers: Arc::new(Semaphore::new(workers)),
            places: Arc::new(Semaphore::new(config.max_in_flight)),
            random: Rc::new(RefCell::new(Random(0x9E37_79B9_7F4A_7C15 ^ seed))),
            steps: Arc::new(Semaphore::new(STEPS as usize)),
            lag: Rc::default(),
            is_noisy: false,
        }
    }

    /// Another gateway before the same upstream.
    pub(super) fn another_gateway(&self) -> Self {
        Self { limit: Self::new(0).limit, ..self.clone() }
    }

    pub(super) fn unlimited(self) -> Self {
        Self { limit: None, ..self }
    }

    /// On a machine that others use as well.
    pub(super) fn noisy(self) -> Self {
        Self { is_noisy: true, ..self }
    }

    /// All loads at once for so long; what came of each in its time.
    pub(super) async fn run<const N: usize>(&self, seconds: u64, loads: [Load; N]) -> [Outcomes; N] {
        let end = Instant::now() + Duration::from_secs(seconds);
        let outcomes = loads.map(|load| (load, Rc::new(RefCell::new(Outcomes::default()))));
        let offered = async {
            let mut noise = JoinSet::new();
            if self.is_noisy {
                noise.spawn_local(self.clone().bursts());
                noise.spawn_local(self.clone().stalls());
            }
            let offered = outcomes.iter().map(|(load, of)| spawn_local(self.clone().offer(*load, Rc::clone(of), end)));
            for offered in offered.collect::<Vec<_>>() {
                offered.await.unwrap();
            }
        };
        LocalSet::new().run_until(offered).await;
        self.lag.set(Duration::ZERO);
        outcomes.map(|(_, outcomes)| outcomes.take())
    }

    /// Now and then all answers come 5 to 50 ms later for a while.
    async fn bursts(self) {
        loop {
            self.pause(0.3).await;
            self.lag.set(Duration::from_secs_f64(self.random.borrow_mut().between(0.005, 0.05)));
            self.pause(0.2).await;
            self.lag.set(Duration::ZERO);
        }
    }

    /// Now and then the gateway's process stands still for 20 to 200 ms.
    async fn stalls(self) {
        loop {
            self.pause(1.5).await;
            let _all = self.steps.acquire_many(STEPS).await.unwrap();
            let stall = self.random.borrow_mut().between(0.02, 0.2);
            sleep(Duration::from_secs_f64(stall)).await;
        }
    }

    async fn pause(&self, mean: f64) {
        let seconds = self.random.borrow_mut().exponential(mean);
        sleep(Duration::from_secs_f64(seconds)).await;
    }

    async fn offer(self, load: Load, outcomes: Rc<RefCell<Outcomes>>, end: Instant) {
        let (mut next, mut calls) = (Instant::now(), JoinSet::new());
        loop {
            next += Duration::from_secs_f64(self.random.borrow_mut().exponential(1.0 / load.rate));
            if next >= end {
                break;
            }
            sleep_until(next).await;
            calls.spawn_local(self.clone().call(load, Rc::clone(&outcomes)));
        }
        while calls.join_next().await.is_some() {}
    }

    async fn call(self, load: Load, outcomes: Rc<RefCell<Outcomes>>) {
        outcomes.borrow_mut().offered += 1;
        self.step().await;
        let holder = (!load.caller.is_empty()).then(|| Holder::principal(load.caller, None));
        let entered = self.limit.as_ref().map(|limit| limit.enter(load.criticality, holder)).transpose();
        let (Ok(_waiting), Ok(_place)) = (entered, self.places.clone().try_acquire_owned()) else {
            outcomes.borrow_mut().shed += 1;
            return;
        };
        let begun = Instant::now();
        let timing = self.limit.as_ref().map(|limit| limit.time(TimedMethod::new(load.method), begun, true));
        let service = (load.service)(&mut self.random.borrow_mut());
        if timeout(DEADLINE, self.answer(service)).await.is_err() {
            outcomes.borrow_mut().late += 1;
            return;
        }
        outcomes.borrow_mut().times.push(begun.elapsed());
        if let Some(timing) = timing {
            timing.answered(begun.elapsed());
        }
    }

    async fn answer(&self, service: Duration) {
        let workers = Arc::clone(&self.workers);
        let work = spawn_local(async move {
            let _worker = workers.acquire_owned().await;
            sleep(service).await;
        });
        work.await.unwrap();
        if !self.lag.get().is_zero() {
            sleep(self.lag.get()).await;
        }
        self.step().await;
    }

    /// Once the gateway's process runs.
    async fn step(&self) {
        let _step = self.steps.acquire().await.unwrap();
    }
}

/// What comes of a load once the limit has settled.
pub(super) async fn settled<const N: usize>(world: &World, loads: [Load; N]) -> [Outcomes; N] {
    world.run(5, loads).await;
    world.run(20, loads).await
}
