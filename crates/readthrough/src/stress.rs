//! The rules on real threads and the real store: what the simulation can't show is whether the locks hold.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::*;

/// An origin that holds one number, and takes a while to say it.
#[derive(Clone, Default)]
struct Counter(Arc<AtomicU64>);

impl Origin for Counter {
    type Call = ();

    async fn load(&self, (): (), _: Duration) -> Loaded {
        let value = self.0.load(Ordering::SeqCst);
        tokio::task::yield_now().await;
        let load = Ok(Bytes::copy_from_slice(&value.to_be_bytes()));
        Loaded { tags: Some(vec![Tag::named("answer")]), ..load.into() }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn read_after_acknowledged_invalidation_never_sees_older_answer() {
    let origin = Counter::default();
    let engine = engine(origin.clone());
    let acknowledged = Arc::new(AtomicU64::new(0));
    let broken = Arc::new(Mutex::new(None));

    let mut readers = JoinSet::new();
    for _ in 0..4 {
        let (engine, acknowledged, broken) = (engine.clone(), Arc::clone(&acknowledged), Arc::clone(&broken));
        readers.spawn(async move {
            for _ in 0..5_000 {
                let floor = acknowledged.load(Ordering::SeqCst);
                let seen = value(&engine.read(&read()).await.unwrap());
                if seen < floor {
                    broken.lock().unwrap().get_or_insert((seen, floor));
                }
            }
        });
    }
    let tags = [Tag::named("request"), Tag::named("answer")];
    for round in 0.. {
        if readers.is_empty() || readers.try_join_next().is_some_and(|reader| reader.is_err()) {
            break;
        }
        let written = origin.0.fetch_add(1, Ordering::SeqCst) + 1;
        engine.invalidate([tags[round % 2]]);
        acknowledged.store(written, Ordering::SeqCst);
        tokio::task::yield_now().await;
    }
    assert_eq!(*broken.lock().unwrap(), None, "seen, though a newer one was acknowledged");
}

/// A value that counts up by compare-and-set: each step that succeeded is in it once.
#[test]
fn concurrent_compare_and_sets_lose_no_update() {
    let engine = engine(Counter::default());
    let space = engine.namespace("counters", NamespaceLimits { bytes: 1 << 16, entries: 10, changes: 100 });
    let put = |value: u64, expected| {
        let value = Bytes::copy_from_slice(&value.to_be_bytes());
        engine.put(&space, Write { tenant: "", key: "n", value, tags: &[], ttl: Duration::from_mins(1), expected })
    };
    put(0, Expected::Anything).unwrap();
    let number = |found: &Found| u64::from_be_bytes(found.value.as_ref().try_into().expect("eight bytes"));
    let succeeded = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5_000 {
                    let found = engine.get(&space, "", "n").expect("there is room for it");
                    if put(number(&found) + 1, Expected::Version(found.version)).is_ok() {
                        succeeded.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    let last = engine.get(&space, "", "n").map(|found| number(&found));
    assert_eq!(last, Some(succeeded.load(Ordering::SeqCst)));
}

/// A chain of compare-and-sets ends with an invalidation: no later link was compared before it and stored after it.
#[test]
fn value_derived_from_an_invalidated_one_is_not_seen_after_the_acknowledgement() {
    let engine = engine(Counter::default());
    let space = engine.namespace("chains", NamespaceLimits { bytes: 1 << 16, entries: 10, changes: 100 });
    let tags = ["chain".to_owned()];
    let put = |chain: u64, expected| {
        let value = Bytes::copy_from_slice(&chain.to_be_bytes());
        let ttl = Duration::from_mins(1);
        engine.put(&space, Write { tenant: "", key: "n", value, tags: &tags, ttl, expected })
    };
    let chain = || {
        let found = engine.get(&space, "", "n")?;
        Some(u64::from_be_bytes(found.value.as_ref().try_into().expect("eight bytes")))
    };
    let running = AtomicBool::new(true);
    let survivor = std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in (1..).take_while(|_| running.load(Ordering::SeqCst)) {
                let mut link = put(number, Expected::Anything);
                while let (Ok(written), true) = (link, running.load(Ordering::SeqCst)) {
                    link = put(number, Expected::Version(written.version));
                }
            }
        });
        let (mut dead, mut survivor) = (0, None);
        for round in 0..100_000 {
            let Some(seen) = chain() else { continue };
            survivor = survivor.or((seen <= dead).then_some(seen));
            if round % 2 == 0 {
                engine.invalidate_tags(&space, "", &tags);
            } else {
                engine.invalidate_prefix(&space, "", "n");
            }
            dead = seen;
        }
        running.store(false, Ordering::SeqCst);
        survivor
    });
    assert_eq!(survivor, None, "a chain goes on after its invalidation");
}

fn engine(origin: Counter) -> Engine<Counter, MemoryStore, Live> {
    let limits = Limits {
        capacity: 1 << 20,
        waiters: 100,
        flights: 100,
        tags: 8,
        cool_down: Duration::ZERO,
        uncacheable: Duration::ZERO,
        max_lease: Duration::ZERO,
        first_lease_time: Duration::ZERO,
    };
    let metrics = Metrics::new(&opentelemetry::global::meter("stress"));
    let store = MemoryStore::new(limits.capacity, |_| {});
    Engine::new(origin, store, Live, limits, metrics)
}

fn read() -> Read<()> {
    let identity = Identity { method: "m", origin: "o", tenant: "", audience: Audience::Shared, bytes: b"" };
    let policy = Policy {
        ttl: Duration::from_mins(1),
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        negative_ttl: Duration::ZERO,
        max_bytes: 100,
    };
    let tags = [Tag::named("request")].into();
    Read {
        key: Key::of(&identity),
        policy,
        tags,
        consistency: ConsistencyRequirement::MinimizeLatency,
        floor: StartFloor::default(),
        wait_budget: Duration::MAX,
        load_timeout: Duration::MAX,
        too_late: None,
        call: (),
        lease: None,
    }
}

fn value(answer: &Answer) -> u64 {
    let bytes = answer.load.as_ref().expect("the counter does not fail");
    u64::from_be_bytes(bytes.as_ref().try_into().expect("eight bytes"))
}
