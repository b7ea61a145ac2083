//! How many reads find their answer in memory, beside an LRU of the same bytes: on popular keys, with scans between them, and
//! where what is popular changes. `cargo xtask hit-ratio` prints the table.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::entry::Entry;
use crate::key::{Audience, Identity, Key};
use crate::store::{MemoryStore, Store};
use crate::validity::Validity;
use crate::world::Moment;

/// Reads of each trace; another number of them.
const READS: u32 = 60_000;
const OTHER_READS: &str = "ACCORD_HIT_RATIO_READS";
/// Keys that are popular, each in its degree.
const KEYS: u32 = 10_000;
/// Room for about one key of five.
const CAPACITY: u64 = 3 << 20;
/// What an LRU of another make may need beside the bytes of an entry.
const LEAN_OVERHEAD: u64 = 200;

/// Which keys are read.
#[derive(Clone, Copy, Debug)]
enum Trace {
    /// Key n as often as 1/n^0.9 (Zipf).
    Popular,
    /// The same, and after every 4,000 reads come 2,000 of keys that are never read again.
    Scanned,
    /// The same, and after every 20,000 reads others are popular.
    Shifting,
}

/// What of a thousand reads was found.
#[derive(Debug)]
struct PerMille {
    accord: i64,
    /// LRU whose entries have the overhead of ours.
    lru: i64,
    /// LRU whose entries have a small one.
    lean: i64,
}

impl Trace {
    fn keys(self, reads: u32) -> impl Iterator<Item = u32> {
        let mut rng = StdRng::seed_from_u64(7);
        let mut total = 0.0;
        let ranks = (1..=KEYS).map(|rank| {
            total += f64::from(rank).powf(-0.9);
            total
        });
        let ranks: Vec<_> = ranks.collect();
        let mut fresh = u32::MAX;
        (0..reads).map(move |read| {
            if matches!(self, Self::Scanned) && read % 6_000 >= 4_000 {
                fresh -= 1;
                return fresh;
            }
            let place = rng.random::<f64>() * total;
            let rank = u32::try_from(ranks.partition_point(|below| *below < place)).unwrap_or(KEYS);
            match self {
                Self::Shifting => rank + read / 20_000 * KEYS,
                Self::Popular | Self::Scanned => rank,
            }
        })
    }

    fn measure(self, reads: u32) -> PerMille {
        let store = MemoryStore::new(CAPACITY, |_| {});
        let overhead = entry(0).weight() as u64;
        let [mut lru, mut lean] = [overhead, LEAN_OVERHEAD].map(Lru::new);
        let [mut hits, mut lru_hits, mut lean_hits] = [0_i64; 3];
        for key in self.keys(reads) {
            hits += i64::from(is_hit(&store, key));
            lru_hits += i64::from(lru.is_hit(key));
            lean_hits += i64::from(lean.is_hit(key));
        }
        let [accord, lru, lean] = [hits, lru_hits, lean_hits].map(|hits| hits * 1000 / i64::from(reads));
        PerMille { accord, lru, lean }
    }
}

/// 100 to 4,000 bytes, small ones more often.
fn size(key: u32) -> u64 {
    let spread = u64::from(key.wrapping_mul(2_654_435_769) >> 16);
    100 + spread * spread * 3_900 / (1 << 32)
}

fn entry(bytes: u64) -> Entry {
    let value = Bytes::from(vec![0; usize::try_from(bytes).unwrap()]);
    Entry::new(Ok(value), Bytes::new(), Validity::new(1, true).now(), Moment::default(), Arc::default(), 1.0)
}

/// Reads it, and keeps it where it was not there.
fn is_hit(store: &MemoryStore, key: u32) -> bool {
    let bytes = &key.to_be_bytes();
    let place = Key::of(&Identity { method: "m", origin: "o", tenant: "", audience: Audience::Shared, bytes });
    let is_hit = store.get(&place).is_some();
    if !is_hit {
        store.insert(place, Arc::new(entry(size(key))));
    }
    is_hit
}

/// Keeps what was read last.
struct Lru {
    overhead: u64,
    bytes: u64,
    reads: u64,
    read: HashMap<u32, u64>,
    oldest: BTreeMap<u64, u32>,
}

impl Lru {
    fn new(overhead: u64) -> Self {
        Self { overhead, bytes: 0, reads: 0, read: HashMap::new(), oldest: BTreeMap::new() }
    }

    fn is_hit(&mut self, key: u32) -> bool {
        self.reads += 1;
        let before = self.read.insert(key, self.reads);
        self.oldest.insert(self.reads, key);
        if let Some(before) = before {
            self.oldest.remove(&before);
            return true;
        }
        self.bytes += size(key) + self.overhead;
        while self.bytes > CAPACITY {
            let Some((_, oldest)) = self.oldest.pop_first() else { break };
            self.read.remove(&oldest);
            self.bytes -= size(oldest) + self.overhead;
        }
        false
    }
}

#[test]
fn popular_keys_are_found_more_often_than_by_lru_of_the_same_bytes() {
    let reads = std::env::var(OTHER_READS).map_or(READS, |reads| reads.parse().unwrap());
    println!("{:<12} {:>8} {:>8} {:>18}", "trace", "Accord", "LRU", "LRU, 200 B an entry");
    // Frequencies tell more than the last read, and less while what is popular changes.
    for (trace, better) in [(Trace::Popular, 10), (Trace::Scanned, 40), (Trace::Shifting, -70)] {
        let found = trace.measure(reads);
        let percent = |found: i64| format!("{}.{} %", found / 10, found % 10);
        let [accord, lru, lean] = [found.accord, found.lru, found.lean].map(percent);
        println!("{:<12} {accord:>8} {lru:>8} {lean:>18}", format!("{trace:?}"));
        assert!(found.accord >= found.lru + better, "{trace:?}: {found:?}");
    }
}
