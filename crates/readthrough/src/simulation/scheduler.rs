//! A scheduler of one thread that lets a seed choose which task goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::{Moment, World};

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The random numbers of a run, shared by everything in it.
#[derive(Clone)]
pub(crate) struct Rng(Arc<Mutex<SmallRng>>);

impl Rng {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(SmallRng::seed_from_u64(seed))))
    }

    /// From here on as if it began with this seed.
    pub(super) fn reseed(&self, seed: u64) {
        *self.0.lock().unwrap() = SmallRng::seed_from_u64(seed);
    }

    /// From 0 (inclusive) to `bound` (exclusive).
    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.0.lock().unwrap().random_range(0..bound)
    }
}

/// The simulated world: time that stands until it is moved, and tasks that wait until they are chosen.
#[derive(Clone)]
pub(super) struct Simulated {
    now: Arc<AtomicU64>,
    spawned: Arc<Mutex<Vec<Task>>>,
    sleeping: Arc<Mutex<BTreeMap<u64, Vec<Waker>>>>,
    pub rng: Rng,
}

impl World for Simulated {
    fn now(&self) -> Moment {
        Moment(self.now.load(Ordering::Relaxed))
    }

    #[expect(clippy::cast_precision_loss, reason = "a thousand steps are exact")]
    fn random(&self) -> f64 {
        self.rng.below(1000) as f64 / 1000.0
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.spawned.lock().unwrap().push(Box::pin(task));
    }
}

impl Simulated {
    pub(super) fn begin(rng: Rng) -> Self {
        // Not from nothing, so that moments before now exist.
        Self {
            now: Arc::new(AtomicU64::new(1_000_000_000_000)),
            spawned: Arc::default(),
            sleeping: Arc::default(),
            rng,
        }
    }

    pub(super) fn advance(&self, nanoseconds: u64) {
        let now = self.now.fetch_add(nanoseconds, Ordering::Relaxed) + nanoseconds;
        let mut sleeping = self.sleeping.lock().unwrap();
        while let Some(due) = sleeping.first_entry().filter(|due| *due.key() <= now) {
            due.remove().into_iter().for_each(Waker::wake);
        }
    }

    /// Waits until this true moment has come. Whoever sleeps is not chosen.
    pub(super) async fn sleep_until(&self, until: Moment) {
        std::future::poll_fn(|context| {
            if self.now() >= until {
                return Poll::Ready(());
            }
            self.sleeping.lock().unwrap().entry(until.0).or_default().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

pub(super) struct Scheduler {
    world: Simulated,
    tasks: BTreeMap<u64, (Task, Waker)>,
    ready: Arc<Mutex<BTreeSet<u64>>>,
    next: u64,
}

struct TaskWaker {
    task: u64,
    ready: Arc<Mutex<BTreeSet<u64>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.ready.lock().unwrap().insert(self.task);
    }
}

impl Scheduler {
    pub(super) fn new(world: Simulated) -> Self {
        Self { world, tasks: BTreeMap::new(), ready: Arc::default(), next: 0 }
    }

    /// Adds a task; its number.
    pub(super) fn add(&mut self, task: Task) -> u64 {
        let number = self.next;
        self.next += 1;
        let waker = Waker::from(Arc::new(TaskWaker { task: number, ready: Arc::clone(&self.ready) }));
        self.tasks.insert(number, (task, waker));
        self.ready.lock().unwrap().insert(number);
        number
    }

    /// Drops a task where it stands, as a caller does that goes away.
    pub(super) fn cancel(&mut self, number: u64) {
        self.tasks.remove(&number);
        self.ready.lock().unwrap().remove(&number);
    }

    /// Lets one chosen task go on; whether there was one.
    pub(super) fn step(&mut self) -> bool {
        let Some(number) = self.choose() else { return false };
        if let Some((task, waker)) = self.tasks.get_mut(&number)
            && let Poll::Ready(()) = task.as_mut().poll(&mut Context::from_waker(waker))
        {
            self.tasks.remove(&number);
        }
        self.adopt();
        true
    }

    fn choose(&mut self) -> Option<u64> {
        let mut ready = self.ready.lock().unwrap();
        if ready.is_empty() {
            return None;
        }
        let chosen = usize::try_from(self.world.rng.below(ready.len() as u64)).ok()?;
        let number = *ready.iter().nth(chosen)?;
        ready.remove(&number);
        Some(number)
    }

    fn adopt(&mut self) {
        let spawned = std::mem::take(&mut *self.world.spawned.lock().unwrap());
        for task in spawned {
            self.add(task);
        }
    }
}

/// Lets others go first.
pub(super) async fn give_way(turns: u64) {
    for _ in 0..turns {
        let mut gave = false;
        std::future::poll_fn(|context| {
            if std::mem::replace(&mut gave, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}
