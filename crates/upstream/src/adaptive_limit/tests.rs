//! A world in paused time: callers that come whatever happens, a limit, and an upstream with workers and a queue.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{sleep, sleep_until, timeout};

use super::*;
use crate::config::AdaptiveConfig;

const WORKERS: usize = 10;
const SERVICE: Duration = Duration::from_millis(50);
/// Calls per second that the workers can take.
const CAPACITY: f64 = 200.0;
const DEADLINE: Duration = Duration::from_millis(500);

/// A seeded generator (xorshift), so that every run is the same.
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        f64::from(u32::try_from(self.0 >> 32).unwrap()) / f64::from(u32::MAX)
    }

    /// Exponentially distributed, with this mean.
    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).max(1e-9).ln()
    }
}

/// Calls of one kind.
#[derive(Clone, Copy)]
struct Load {
    method: &'static str,
    rate: f64,
    criticality: Criticality,
    caller: &'static str,
    service: fn(&mut Random) -> Duration,
}

impl Load {
    fn of(rate: f64) -> Self {
        Self { method: "Get", rate, criticality: Criticality::Critical, caller: "", service: |_| SERVICE }
    }
}

/// What came of calls of one kind.
#[derive(Clone, Debug, Default)]
struct Outcomes {
    offered: usize,
    shed: usize,
    late: usize,
    times: Vec<Duration>,
}

impl Outcomes {
    fn good(&self) -> f64 {
        f64::from(u32::try_from(self.times.len()).unwrap())
    }

    fn share_shed(&self) -> f64 {
        f64::from(u32::try_from(self.shed).unwrap()) / f64::from(u32::try_from(self.offered).unwrap())
    }

    fn p99(&self) -> Duration {
        let mut times = self.times.clone();
        times.sort();
        times[times.len() * 99 / 100]
    }
}

/// An upstream whose workers take one call each, and go on with those whose caller has left.
#[derive(Clone)]
struct World {
    limit: Option<Arc<AdaptiveLimit>>,
    workers: Arc<Semaphore>,
    /// What `max_in_flight` allows.
    places: Arc<Semaphore>,
    random: Rc<RefCell<Random>>,
}

impl World {
    fn new(workers: usize) -> Self {
        let adaptive = AdaptiveConfig { enabled: true, ..AdaptiveConfig::default() };
        let config = UpstreamConfig { max_in_flight: 2048, adaptive, ..UpstreamConfig::default() };
        let (limit, random) = (AdaptiveLimit::new(&config), Rc::new(RefCell::new(Random(0x9E37_79B9_7F4A_7C15))));
        let places = Arc::new(Semaphore::new(config.max_in_flight));
        Self { limit, workers: Arc::new(Semaphore::new(workers)), places, random }
    }

    fn unlimited(self) -> Self {
        Self { limit: None, ..self }
    }

    /// All loads at once for so long; what came of each in its time.
    async fn run<const N: usize>(&self, seconds: u64, loads: [Load; N]) -> [Outcomes; N] {
        let end = Instant::now() + Duration::from_secs(seconds);
        let outcomes = loads.map(|load| (load, Rc::new(RefCell::new(Outcomes::default()))));
        let local = LocalSet::new();
        for (load, outcomes) in &outcomes {
            let world = self.clone();
            local.spawn_local(world.offer(*load, Rc::clone(outcomes), end));
        }
        local.await;
        outcomes.map(|(_, outcomes)| outcomes.take())
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
        let holder = (!load.caller.is_empty()).then(|| Holder::principal(load.caller, None));
        let entered = self.limit.as_ref().map(|limit| limit.enter(load.criticality, holder)).transpose();
        let (Ok(_waiting), Ok(_place)) = (entered, self.places.clone().try_acquire_owned()) else {
            outcomes.borrow_mut().shed += 1;
            return;
        };
        let begun = Instant::now();
        let timing = self.limit.as_ref().map(|limit| limit.time(TimedMethod::new(load.method), begun, true));
        let service = (load.service)(&mut self.random.borrow_mut());
        let workers = Arc::clone(&self.workers);
        let work = tokio::task::spawn_local(async move {
            let _worker = workers.acquire_owned().await;
            sleep(service).await;
        });
        if timeout(DEADLINE, work).await.is_err() {
            outcomes.borrow_mut().late += 1;
            return;
        }
        outcomes.borrow_mut().times.push(begun.elapsed());
        if let Some(timing) = timing {
            timing.answered(begun.elapsed());
        }
    }
}

/// A world that has served half of its capacity for a while, and knows how long answers take.
async fn quiet() -> World {
    let world = World::new(WORKERS);
    let [calm] = world.run(10, [Load::of(CAPACITY / 2.0)]).await;
    assert_eq!(calm.shed, 0);
    world
}

/// What comes of a load once the limit has settled.
async fn settled<const N: usize>(world: &World, loads: [Load; N]) -> [Outcomes; N] {
    world.run(5, loads).await;
    world.run(20, loads).await
}

#[tokio::test(start_paused = true)]
async fn goodput_at_three_times_the_capacity_stays_at_its_peak() {
    let [peak] = settled(&quiet().await, [Load::of(CAPACITY * 0.95)]).await;
    let [over] = settled(&quiet().await, [Load::of(CAPACITY * 3.0)]).await;
    assert!(over.good() >= 0.9 * peak.good(), "{} of {}", over.good(), peak.good());
}

#[tokio::test(start_paused = true)]
async fn goodput_at_three_times_the_capacity_collapses_without_the_limit() {
    let world = quiet().await.unlimited();
    let [over] = settled(&world, [Load::of(CAPACITY * 3.0)]).await;
    assert!(over.good() < 0.1 * CAPACITY * 20.0, "{}", over.good());
}

#[tokio::test(start_paused = true)]
async fn admitted_calls_take_at_most_three_times_as_long_in_an_overload() {
    let [over] = settled(&quiet().await, [Load::of(CAPACITY * 3.0)]).await;
    assert!(over.p99() <= SERVICE * 3, "{:?}", over.p99());
    assert_eq!(over.late, 0);
}

#[tokio::test(start_paused = true)]
async fn goodput_stays_at_its_peak_where_answers_take_widely_different_times() {
    fn service(random: &mut Random) -> Duration {
        Duration::from_millis(if random.unit() < 0.8 { 5 } else { 230 })
    }
    let world = World::new(WORKERS);
    world.run(10, [Load { service, ..Load::of(CAPACITY / 2.0) }]).await;
    let [over] = settled(&world, [Load { service, ..Load::of(CAPACITY * 3.0) }]).await;
    assert!(over.good() > 0.9 * CAPACITY * 20.0, "{}", over.good());
}

#[tokio::test(start_paused = true)]
async fn limit_follows_a_capacity_that_falls_during_an_overload() {
    let world = quiet().await;
    settled(&world, [Load::of(CAPACITY * 3.0)]).await;
    let degraded = Load { service: |_| SERVICE * 4, ..Load::of(CAPACITY) };
    let [over] = settled(&world, [degraded]).await;
    assert!(over.good() > 0.9 * CAPACITY / 4.0 * 20.0, "{}", over.good());
}

#[tokio::test(start_paused = true)]
async fn critical_calls_are_served_while_sheddable_ones_are_shed() {
    let critical = Load::of(CAPACITY * 0.5);
    let sheddable = Load { criticality: Criticality::Sheddable, ..Load::of(CAPACITY * 2.5) };
    let [critical, sheddable] = settled(&quiet().await, [critical, sheddable]).await;
    assert!(critical.share_shed() < 0.01, "{}", critical.share_shed());
    assert!(sheddable.share_shed() > 0.7, "{}", sheddable.share_shed());
    let good = critical.good() + sheddable.good();
    assert!(good > 0.9 * CAPACITY * 20.0, "{good}");
}

#[tokio::test(start_paused = true)]
async fn neighbour_is_served_while_one_caller_calls_three_times_the_capacity() {
    let greedy = Load { caller: "greedy", ..Load::of(CAPACITY * 3.0) };
    let neighbour = Load { caller: "neighbour", ..Load::of(CAPACITY * 0.1) };
    let [greedy, neighbour] = settled(&quiet().await, [greedy, neighbour]).await;
    assert!(neighbour.share_shed() < 0.01, "{}", neighbour.share_shed());
    assert!(greedy.good() > 0.7 * CAPACITY * 20.0, "{}", greedy.good());
}

#[tokio::test(start_paused = true)]
async fn limit_opens_again_once_the_overload_is_over() {
    let world = quiet().await;
    settled(&world, [Load::of(CAPACITY * 3.0)]).await;
    let limit = world.limit.as_ref().unwrap();
    assert!(limit.limit() < 40, "{}", limit.limit());
    world.run(12, [Load::of(CAPACITY / 2.0)]).await;
    assert_eq!(limit.limit(), 2048);
}

#[tokio::test(start_paused = true)]
async fn limit_opens_again_while_nobody_calls() {
    let world = quiet().await;
    settled(&world, [Load::of(CAPACITY * 3.0)]).await;
    sleep(Duration::from_secs(15)).await;
    let [burst] = world.run(1, [Load::of(CAPACITY / 2.0)]).await;
    assert_eq!(burst.shed, 0);
}

/// Enough workers for anything.
async fn healthy<const N: usize>(loads: [Load; N]) -> World {
    let world = World::new(10_000);
    let served = world.run(20, loads).await;
    assert_eq!(served.map(|served| served.shed), [0; N]);
    world
}

#[tokio::test(start_paused = true)]
async fn upstream_with_widely_different_methods_is_served_when_their_mix_changes() {
    let quick = Load { service: |_| Duration::from_millis(1), ..Load::of(900.0) };
    let slow = Load { method: "Report", service: |_| Duration::from_millis(400), ..Load::of(100.0) };
    let world = healthy([quick, slow]).await;
    let mixed = world.run(20, [Load { rate: 50.0, ..quick }, Load { rate: 1_000.0, ..slow }]).await;
    assert_eq!(mixed.map(|mixed| mixed.shed), [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn method_whose_answers_take_widely_different_times_is_served() {
    fn service(random: &mut Random) -> Duration {
        let is_hit = random.unit() < 0.7;
        Duration::from_secs_f64(random.exponential(if is_hit { 0.002 } else { 0.3 }))
    }
    healthy([Load { service, ..Load::of(1_500.0) }]).await;
}

#[tokio::test(start_paused = true)]
async fn pause_of_an_upstream_is_no_queue() {
    let world = healthy([Load::of(1_000.0)]).await;
    let pause = Arc::clone(&world.workers);
    let ((), [served]) = tokio::join!(
        async {
            sleep(Duration::from_secs(1)).await;
            let all = pause.acquire_many(10_000).await.unwrap();
            sleep(Duration::from_millis(150)).await;
            drop(all);
        },
        world.run(5, [Load::of(1_000.0)])
    );
    assert_eq!(served.shed, 0);
}

#[tokio::test(start_paused = true)]
async fn upstream_that_becomes_slower_without_a_queue_is_served_after_one_trial() {
    let world = healthy([Load::of(1_000.0)]).await;
    let slower = Load { service: |_| Duration::from_millis(300), ..Load::of(1_000.0) };
    let [first] = world.run(5, [slower]).await;
    assert!(first.share_shed() < 0.2, "{}", first.share_shed());
    let [later] = world.run(20, [slower]).await;
    assert_eq!(later.shed, 0);
}
