//! Zone-aware routing: how many of the calls stay in the caller's own zone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::discovery::Discovered;
use crate::endpoint::Endpoint;

/// How much more than its part a zone may take before calls leave it: what Kubernetes allows as overload when it allots
/// endpoints to zones.
const OVERLOAD: f64 = 1.2;

/// How often endpoints are counted that are not ejected.
const INTERVAL: Duration = Duration::from_millis(100);

/// The part of the calls that stays in the own zone.
///
/// The zone is expected to take a part: where the control plane allotted endpoints to zones (hints), the part of the endpoints
/// that it allotted to this one; else one of as many parts as there are zones. It can take the part that it has of the
/// endpoints which are not ejected, and a fifth more. Where that is less than what is expected, calls stay in proportion, and
/// the others go to all endpoints. So a zone with too few endpoints, or with ejected ones, is not run over, and one without any
/// gets no calls.
#[derive(Debug)]
pub(crate) struct ZoneShare {
    /// How many endpoints of the list are near, from its begin.
    near: usize,
    expected: f64,
    /// The part that stays, as the bits of a number; all of them from 1 on.
    share: AtomicU64,
    since: Instant,
    /// When endpoints are counted next, in milliseconds.
    next: AtomicU64,
}

impl ZoneShare {
    /// Sorts those that are near to the begin. None where none is near, or all are.
    pub(crate) fn sort(found: &mut [Discovered], zone: &str, now: Instant) -> Option<Self> {
        let is_zone = |other: &Arc<str>| !zone.is_empty() && **other == *zone;
        // Hints count where all endpoints have them and some are for this zone (Kubernetes' rule for kube-proxy).
        let is_hinted = |found: &Discovered| found.for_zones.iter().any(is_zone);
        let has_hints = found.iter().all(|found| !found.for_zones.is_empty()) && found.iter().any(is_hinted);
        let is_near = |found: &Discovered| {
            if has_hints { is_hinted(found) } else { found.zone.as_ref().is_some_and(is_zone) }
        };
        found.sort_by_key(|found| !is_near(found));
        let near = found.iter().filter(|found| is_near(found)).count();
        if near == 0 || near == found.len() {
            return None;
        }
        let zones = found.iter().map(|found| &found.zone).collect::<BTreeSet<_>>().len();
        let expected = if has_hints { ratio(near, found.len()) } else { ratio(1, zones) };
        Some(Self { near, expected, share: AtomicU64::new(0), since: now, next: AtomicU64::new(0) })
    }

    /// The endpoints of the own zone, for the part of the calls that stays there.
    pub(crate) fn draw<'a>(&self, endpoints: &'a [Arc<Endpoint>], now: Instant) -> Option<&'a [Arc<Endpoint>]> {
        let near = &endpoints[..self.near];
        self.count(endpoints, near, now);
        let share = f64::from_bits(self.share.load(Ordering::Relaxed));
        (share >= 1.0 || rand::random::<f64>() < share).then_some(near)
    }

    /// Counts anew from time to time; of many threads one does.
    fn count(&self, endpoints: &[Arc<Endpoint>], near: &[Arc<Endpoint>], now: Instant) {
        let next = self.next.load(Ordering::Relaxed);
        let elapsed = now.saturating_duration_since(self.since);
        if millis(elapsed) < next {
            return;
        }
        let following = millis(elapsed + INTERVAL);
        if self.next.compare_exchange(next, following, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let usable = |endpoints: &[Arc<Endpoint>]| endpoints.iter().filter(|it| !it.is_ejected(now)).count();
            let share = ratio(usable(near), usable(endpoints)) * OVERLOAD / self.expected;
            self.share.store(share.to_bits(), Ordering::Relaxed);
        }
    }
}

/// What part one is of the other; of none, none.
fn ratio(part: usize, whole: usize) -> f64 {
    let [part, whole] = [part, whole].map(|count| f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
    if whole > 0.0 { part / whole } else { 0.0 }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
