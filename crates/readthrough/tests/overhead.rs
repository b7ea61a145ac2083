//! What an entry costs in memory beside its bytes, against what it is charged: the bound of the cache is one of real bytes.
//! A process of its own, so that nothing else takes memory meanwhile.
#![cfg(target_os = "linux")]

use std::sync::Arc;
use std::time::Duration;

use accord_readthrough::*;
use bytes::Bytes;

/// As in the binaries.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ENTRIES: u32 = 100_000;
const MESSAGE: usize = 128;

struct Instant;

impl Origin for Instant {
    type Call = ();

    async fn load(&self, (): (), _: Duration) -> Loaded {
        Ok(Bytes::copy_from_slice(&[7; MESSAGE])).into()
    }
}

/// The store, to be looked at from outside.
#[derive(Clone)]
struct Shared(Arc<MemoryStore>);

impl Store for Shared {
    fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.0.get(key)
    }

    fn insert(&self, key: Key, entry: Arc<Entry>) {
        self.0.insert(key, entry);
    }

    fn remove(&self, key: &Key) {
        self.0.remove(key);
    }

    fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    fn entries(&self) -> u64 {
        self.0.entries()
    }
}

fn read(n: u32) -> Read<()> {
    let bytes = &n.to_be_bytes();
    let identity = Identity { method: "m", origin: "o", tenant: "", audience: Audience::Shared, bytes };
    let time = Duration::from_mins(10);
    Read {
        key: Key::of(&identity),
        policy: Policy {
            ttl: time,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            negative_ttl: Duration::ZERO,
            max_bytes: 1 << 20,
        },
        tags: [Tag::named(&n.to_string())].into(),
        consistency: ConsistencyRequirement::MinimizeLatency,
        floor: StartFloor::default(),
        wait_budget: time,
        load_timeout: time,
        too_late: None,
        call: (),
        lease: None,
    }
}

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * u64::try_from(rustix::param::page_size()).unwrap()
}

#[tokio::test]
async fn entry_costs_no_more_memory_than_it_is_charged() {
    let limits = Limits {
        capacity: 1 << 30,
        waiters: 1,
        flights: 1,
        tags: 1000,
        cool_down: Duration::ZERO,
        uncacheable: Duration::ZERO,
        max_lease: Duration::ZERO,
        first_lease_time: Duration::ZERO,
    };
    let store = Shared(Arc::new(MemoryStore::new(limits.capacity, |_| {})));
    let metrics = Metrics::new(&opentelemetry::global::meter("test"));
    let engine = Engine::new(Instant, store.clone(), Live, limits, metrics);
    let before = resident();
    for n in 0..ENTRIES {
        // Read twice: what is shared from then on is counted as well.
        for _ in 0..2 {
            engine.read(&read(n)).await.unwrap().load.unwrap();
        }
    }
    store.0.make_room();
    assert_eq!(store.entries(), u64::from(ENTRIES));
    let cost = (resident() - before) / u64::from(ENTRIES);
    let charged = store.bytes() / u64::from(ENTRIES);
    let beside = (MESSAGE + size_of::<Tag>()) as u64;
    println!("an entry costs {} bytes beside its message and tag, and is charged {}", cost - beside, charged - beside);
    assert!(cost <= charged, "it costs {cost} bytes, and is charged {charged}");
    assert!(charged < cost + cost / 4, "it costs {cost} bytes, and is charged {charged}");
}
