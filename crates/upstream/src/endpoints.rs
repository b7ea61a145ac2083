//! The endpoints of an upstream at a moment, and which of them takes a call.
//!
//! The choice is power of two over peak EWMA latency times the calls really in flight. It prefers the caller's own zone for as
//! long as that can take its calls, and lets new endpoints warm up.

use std::cmp::Ordering;
use std::ops::Deref;
use std::sync::Arc;

use rand::seq::{IteratorRandom, index};
use tokio::time::Instant;

use crate::discovery::Discovered;
use crate::endpoint::Endpoint;
use crate::zone::ZoneShare;

/// What discovery says at a moment.
#[derive(Debug, Default)]
pub struct Endpoints {
    /// Those of the own zone come first.
    all: Vec<Arc<Endpoint>>,
    own_zone: Option<ZoneShare>,
}

impl Deref for Endpoints {
    type Target = [Arc<Endpoint>];

    fn deref(&self) -> &[Arc<Endpoint>] {
        &self.all
    }
}

impl Endpoints {
    /// Endpoints where these were found, for a caller in this zone.
    pub(crate) fn new(
        mut found: Vec<Discovered>,
        zone: &str,
        now: Instant,
        endpoint: impl FnMut(&Discovered) -> Arc<Endpoint>,
    ) -> Self {
        let own_zone = ZoneShare::sort(&mut found, zone, now);
        Self { all: found.iter().map(endpoint).collect(), own_zone }
    }

    /// The better of two that are drawn at random, of the own zone where it has its share of the calls. None but where there is
    /// none at all.
    pub(crate) fn choose(&self, avoid: Option<&Arc<Endpoint>>) -> Option<&Arc<Endpoint>> {
        match self.all.as_slice() {
            [] => return None,
            [only] => return Some(only),
            _ => {}
        }
        let now = Instant::now();
        let near = self.own_zone.as_ref().and_then(|zone| zone.draw(&self.all, now));
        near.and_then(|near| draw(near, avoid, now))
            .or_else(|| draw(&self.all, avoid, now))
            // With everything ejected, any endpoint is better than a certain refusal.
            .or_else(|| better_of_two(&self.all, 0..self.all.len(), now))
    }
}

/// The better of two that are neither ejected nor avoided; none where no endpoint is.
fn draw<'a>(endpoints: &'a [Arc<Endpoint>], avoid: Option<&Arc<Endpoint>>, now: Instant) -> Option<&'a Arc<Endpoint>> {
    let is_avoided = |endpoint| avoid.is_some_and(|avoid| Arc::ptr_eq(avoid, endpoint));
    let is_usable = |index: &usize| !is_avoided(&endpoints[*index]) && !endpoints[*index].is_ejected(now);
    // As long as all are well, only the two that are drawn are looked at, however many there are.
    let drawn = index::sample_array(&mut rand::rng(), endpoints.len());
    if let Some([first, second]) = drawn.filter(|drawn| drawn.iter().all(is_usable)) {
        return Some(better(&endpoints[first], &endpoints[second], now));
    }
    better_of_two(endpoints, (0..endpoints.len()).filter(is_usable), now)
}

/// The better of two of the candidates, by their places in the list.
fn better_of_two(
    endpoints: &[Arc<Endpoint>],
    candidates: impl Iterator<Item = usize>,
    now: Instant,
) -> Option<&Arc<Endpoint>> {
    let mut drawn = [0; 2];
    let count = candidates.sample_fill(&mut rand::rng(), &mut drawn);
    let [first, second] = drawn.map(|index| &endpoints[index]);
    match count {
        0 => None,
        1 => Some(first),
        _ => Some(better(first, second, now)),
    }
}

fn better<'a>(first: &'a Arc<Endpoint>, second: &'a Arc<Endpoint>, now: Instant) -> &'a Arc<Endpoint> {
    if let Some(warmer) = instead_of_colder(first, second, now) {
        return warmer;
    }
    match first.cost(now).total_cmp(&second.cost(now)) {
        Ordering::Less => first,
        // The draw is random, its order is not.
        Ordering::Equal if rand::random() => first,
        Ordering::Equal | Ordering::Greater => second,
    }
}

/// The warmer of two, where the colder one has had its share: of the draws that it is in beside a warm one, as much as it is
/// warm (slow start). So nobody takes more than twice its own share for others, however many are new; those that are all as
/// new as each other share alike.
fn instead_of_colder<'a>(
    first: &'a Arc<Endpoint>,
    second: &'a Arc<Endpoint>,
    now: Instant,
) -> Option<&'a Arc<Endpoint>> {
    let (one, other) = (first.warmth(now), second.warmth(now));
    let (warmer, share) = match one.total_cmp(&other) {
        Ordering::Equal => return None,
        Ordering::Less => (second, one / other),
        Ordering::Greater => (first, other / one),
    };
    (rand::random::<f64>() >= share).then_some(warmer)
}
