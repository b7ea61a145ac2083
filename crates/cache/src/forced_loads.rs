//! The least interval between loads that consistency tokens force which can't be judged here: of another log, under another secret,
//! of what another replica loaded, or standing for nothing that could be told.
//!
//! Anybody can make such a token up, and each one asks for a load that starts then. So of one key and one principal a load begins at
//! once, and the next one an interval later: whoever comes meanwhile waits for that, and shares it. Nothing is weakened, since a load
//! that begins later meets the token as well.
//!
//! What is remembered is one moment in each of so many places, whatever is asked for. Two who meet in one wait for each other.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use accord_api::accord::fault::v1::Reason;
use accord_readthrough::Key;
use accord_runtime::fault::StatusBuilder;
use opentelemetry::metrics::Counter;
use tokio::time::{Instant, sleep};
use tonic::Status;

use crate::declared_metrics::FORCED_LOADS_DELAYED;

/// The least time between two of them, of one key and principal.
pub(crate) const INTERVAL: Duration = Duration::from_millis(100);

/// Moments that are remembered: 128 KiB.
const PLACES: usize = 1 << 14;

/// When loads may begin that tokens force.
pub(crate) struct ForcedLoads {
    started: Instant,
    /// Where nobody knows beforehand who meets whom.
    hasher: RandomState,
    /// When the next one may begin, in nanoseconds.
    next: Box<[AtomicU64]>,
    delayed: Counter<u64>,
}

impl fmt::Debug for ForcedLoads {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ForcedLoads").finish_non_exhaustive()
    }
}

impl ForcedLoads {
    pub(crate) fn new() -> Self {
        let delayed = FORCED_LOADS_DELAYED.counter(&accord_runtime::telemetry::meter());
        let next = (0..PLACES).map(|_| AtomicU64::new(0)).collect();
        Self { started: Instant::now(), hasher: RandomState::new(), next, delayed }
    }

    /// Waits until a load of a key may begin for a principal; refused where that is later than its caller leaves.
    pub(crate) async fn turn(&self, key: &Key, principal: &str, left: Duration) -> Result<(), Status> {
        let wait = self.begin(key, principal);
        if wait.is_zero() {
            return Ok(());
        }
        self.delayed.add(1, &[]);
        if wait >= left {
            return Err(refused(wait));
        }
        // The interval itself: what is waited for is time, an interval at most and less than the caller stays.
        sleep(wait).await;
        // The first of those who waited begins an interval, and the others share its load.
        self.begin(key, principal);
        Ok(())
    }

    /// Begins an interval; or how long the one lasts that has begun.
    fn begin(&self, key: &Key, principal: &str) -> Duration {
        let place = self.hasher.hash_one((key.digest(), principal)) % PLACES as u64;
        let place = &self.next[usize::try_from(place).unwrap_or_default()];
        let now = nanoseconds(self.started.elapsed());
        let begun = place.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
            (now >= next).then(|| now.saturating_add(nanoseconds(INTERVAL)))
        });
        begun.map_or_else(|next| Duration::from_nanos(next - now), |_| Duration::ZERO)
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn refused(wait: Duration) -> Status {
    let problem = "a consistency token that can't be judged here needs a load, another one made such a load a moment ago, and the call \
                   ends before the next one may begin; pass the token of a later answer, or give it a longer timeout";
    StatusBuilder::new(Reason::DeadlineTooShort, problem).retry_after(wait).build()
}

#[cfg(test)]
mod tests {
    use accord_readthrough::{Audience, Identity};
    use accord_runtime::fault;

    use super::*;

    const LONG: Duration = Duration::from_secs(5);

    fn key(name: &str) -> Key {
        let bytes = name.as_bytes();
        Key::of(&Identity { method: "m", origin: "o", tenant: "", audience: Audience::Shared, bytes })
    }

    #[tokio::test(start_paused = true)]
    async fn next_load_of_a_key_and_principal_begins_an_interval_later_for_all_who_wait() {
        let (loads, begun, milk) = (ForcedLoads::new(), Instant::now(), key("milk"));
        loads.turn(&milk, "ada", LONG).await.unwrap();
        assert_eq!(begun.elapsed(), Duration::ZERO);
        let turns = (0..1000).map(|_| loads.turn(&milk, "ada", LONG));
        futures_util::future::try_join_all(turns).await.unwrap();
        assert!((INTERVAL..INTERVAL * 2).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        loads.turn(&milk, "ada", LONG).await.unwrap();
        assert!(begun.elapsed() >= INTERVAL * 2, "the one who waited began another interval");
    }

    #[tokio::test(start_paused = true)]
    async fn loads_of_other_keys_and_principals_begin_at_once() {
        let loads = ForcedLoads::new();
        assert!(loads.begin(&key("milk"), "ada").is_zero());
        // Few meet in one place by chance.
        let others = (0..100).map(|n| n.to_string());
        let at_once =
            others.filter(|name| loads.begin(&key(name), "ada").is_zero() && loads.begin(&key("milk"), name).is_zero());
        assert!(at_once.count() > 90);
    }

    #[tokio::test(start_paused = true)]
    async fn caller_who_leaves_before_the_next_load_is_refused_at_once_and_told_when_to_come_again() {
        let (loads, begun) = (ForcedLoads::new(), Instant::now());
        loads.turn(&key("milk"), "ada", LONG).await.unwrap();
        let refused = loads.turn(&key("milk"), "ada", INTERVAL / 2).await.unwrap_err();
        assert_eq!(fault::reason_of(&refused), Some(Reason::DeadlineTooShort));
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
