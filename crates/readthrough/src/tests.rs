//! Single reads, on Tokio, with an origin that a test answers by hand.

mod batch_loads;
mod check;
mod expire;
mod flights;
mod leases;
mod metadata;
mod namespace_changes;
mod namespace_loads;
mod namespaces;
mod refresh;
mod replicas;
mod second_level;
mod stale;
mod stored;
mod too_late;
mod versions;
mod write_through;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::sync::oneshot;

use crate::*;

/// An origin whose loads wait until the test answers them.
#[derive(Clone, Default)]
struct ManualOrigin {
    loads: Arc<Mutex<Vec<oneshot::Sender<Loaded>>>>,
    /// How much time each load had.
    times: Arc<Mutex<Vec<Duration>>>,
}

impl Origin for ManualOrigin {
    type Call = ();

    async fn load(&self, (): (), time: Duration) -> Loaded {
        let (answer, answered) = oneshot::channel();
        self.times.lock().unwrap().push(time);
        self.loads.lock().unwrap().push(answer);
        answered.await.expect("the origin panics where the test drops its load")
    }
}

impl ManualOrigin {
    /// The oldest load that waits.
    async fn next(&self) -> oneshot::Sender<Loaded> {
        for _ in 0..1_000 {
            if let Some(load) = self.take() {
                return load;
            }
            tokio::task::yield_now().await;
        }
        panic!("nothing is loaded");
    }

    fn take(&self) -> Option<oneshot::Sender<Loaded>> {
        let mut loads = self.loads.lock().unwrap();
        if loads.is_empty() { None } else { Some(loads.remove(0)) }
    }
}

/// A world whose clock the test moves, and in which something else may happen the next time that somebody looks at it.
#[derive(Clone, Default)]
struct ManualWorld(Arc<Mutex<Moment>>, Arc<Mutex<Option<Meanwhile>>>, Arc<Mutex<f64>>);

type Meanwhile = Box<dyn FnOnce() + Send>;

impl World for ManualWorld {
    fn now(&self) -> Moment {
        let meanwhile = self.1.lock().unwrap().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile();
        }
        *self.0.lock().unwrap()
    }

    fn random(&self) -> f64 {
        *self.2.lock().unwrap()
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(task);
    }
}

impl ManualWorld {
    fn at_next_look(&self, meanwhile: impl FnOnce() + Send + 'static) {
        *self.1.lock().unwrap() = Some(Box::new(meanwhile));
    }

    /// What is drawn from now on, from 0 to 1.
    fn draw(&self, random: f64) {
        *self.2.lock().unwrap() = random;
    }

    fn advance(&self, seconds: u64) {
        let mut now = self.0.lock().unwrap();
        *now = now.after(Duration::from_secs(seconds));
    }
}

type Subject = Engine<ManualOrigin, MemoryStore, ManualWorld>;

const POLICY: Policy = Policy {
    ttl: Duration::from_secs(10),
    stale_while_revalidate: Duration::from_secs(5),
    stale_if_error: Duration::from_mins(1),
    negative_ttl: Duration::ZERO,
    max_bytes: 10,
};

/// The span of a load that is sampled.
const TRACE: LoadTrace = LoadTrace { trace_id: [7; 16], span_id: [9; 8] };

const LIMITS: Limits = Limits {
    capacity: 1 << 20,
    waiters: 3,
    flights: 2,
    tags: 100,
    cool_down: Duration::from_secs(1),
    uncacheable: Duration::from_secs(10),
    max_lease: Duration::ZERO,
    first_lease_time: Duration::ZERO,
};

fn subject() -> (Subject, ManualOrigin, ManualWorld) {
    subject_with(LIMITS)
}

fn subject_with(limits: Limits) -> (Subject, ManualOrigin, ManualWorld) {
    let (origin, world) = (ManualOrigin::default(), ManualWorld::default());
    let metrics = Metrics::new(&opentelemetry::global::meter("test"));
    let store = MemoryStore::new(limits.capacity, |_| {});
    (Engine::new(origin.clone(), store, world.clone(), limits, metrics), origin, world)
}

fn of(name: &str) -> Read<()> {
    let identity =
        Identity { method: "m", origin: "o", tenant: "", audience: Audience::Shared, bytes: name.as_bytes() };
    Read {
        key: Key::of(&identity),
        policy: POLICY,
        tags: [Tag::named(name)].into(),
        consistency: ConsistencyRequirement::MinimizeLatency,
        floor: StartFloor::default(),
        wait_budget: Duration::from_secs(100),
        load_timeout: Duration::from_secs(7),
        too_late: None,
        call: (),
        lease: None,
    }
}

fn says(text: &'static str) -> Loaded {
    Ok(Bytes::from_static(text.as_bytes())).into()
}

fn fails(code: i32) -> Loaded {
    Err(Failure { code, ..Failure::default() }).into()
}

fn ask(engine: &Subject, read: Read<()>) -> tokio::task::JoinHandle<Result<Answer, Overload>> {
    let engine = engine.clone();
    tokio::spawn(async move { engine.read(&read).await })
}

async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

async fn stored(engine: &Subject, origin: &ManualOrigin, name: &str, text: &'static str) {
    let asked = ask(engine, of(name));
    origin.next().await.send(says(text)).unwrap();
    assert!(asked.await.unwrap().unwrap().stored);
}
