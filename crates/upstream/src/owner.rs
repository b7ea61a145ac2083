//! Which endpoint a key's calls go to: its owner by rendezvous hashing (Thaler and Ravishankar), with bounded loads (Mirrokni,
//! Thorup and Zadimoghaddam).
//!
//! Each endpoint has a score for each key, and the highest owns it. So whoever knows the same endpoints finds the same owner, and
//! an endpoint that comes or goes moves its own keys alone. Where the owner can't take a call, the next in the order does: one
//! that is ejected, or has far more in flight than its share. A key that is too much for one endpoint (`hot_keys`) has several.
//!
//! Zones and slow start count for nothing here: what an owner spares is worth more than a way that is a little shorter.

use std::cmp::Reverse;
use std::sync::Arc;

use accord_wire::mix;
use tokio::time::Instant;

use crate::endpoint::Endpoint;
use crate::endpoints::Endpoints;
use crate::metrics::NotOwner;

/// Calls in flight at an endpoint that are never too many.
const FEW: usize = 64;

/// How many times its share of the calls in flight an owner may have, beyond that.
const BOUND: f64 = 1.5;

/// A call's key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallKey {
    /// Its hash, which everybody makes alike.
    pub hash: u64,
    /// What part of all calls by keys is of this one, where it is hot; else nothing.
    pub share: f64,
}

impl CallKey {
    /// How many of so many endpoints share its calls: so many that it is no more than about half of what each has to do.
    fn width(self, endpoints: usize) -> usize {
        // An upstream has few endpoints, and a share is no more than one.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "above"
        )]
        let wanted = (self.share * 2.0 * endpoints as f64).ceil() as usize;
        wanted.clamp(1, endpoints.max(1))
    }
}

impl Endpoints {
    /// The endpoint for a key, and why it is not the key's owner. None but where there is none at all.
    pub(crate) fn for_key(
        &self,
        key: CallKey,
        avoid: Option<&Arc<Endpoint>>,
    ) -> Option<(&Arc<Endpoint>, Option<NotOwner>)> {
        let now = Instant::now();
        let width = key.width(self.len());
        let mut skipped = if width > 1 { rand::random_range(0..width) } else { 0 };
        let mut why = (skipped > 0).then_some(NotOwner::HotKey);
        let mut first = None;
        for endpoint in order(self, key.hash) {
            let is_avoided = avoid.is_some_and(|avoid| Arc::ptr_eq(avoid, endpoint));
            if is_avoided || endpoint.is_ejected(now) {
                why = why.or(Some(NotOwner::Unavailable));
                continue;
            }
            first = first.or(Some(endpoint));
            if skipped > 0 {
                skipped -= 1;
            } else if is_overloaded(endpoint, self, now) {
                why = why.or(Some(NotOwner::Overloaded));
            } else {
                return Some((endpoint, why));
            }
        }
        // All have too much, or too few are left: then the first. With everything ejected, any is better than a certain refusal.
        first.map(|endpoint| (endpoint, None)).or_else(|| Some((self.choose(avoid)?, Some(NotOwner::Unavailable))))
    }
}

/// All endpoints, the owner of the key first.
fn order(endpoints: &[Arc<Endpoint>], key: u64) -> impl Iterator<Item = &Arc<Endpoint>> {
    let place = move |index: usize| (Reverse(mix(endpoints[index].seed() ^ key)), index);
    let mut last = None;
    // There are few, and mostly the first is taken: they are not sorted.
    std::iter::from_fn(move || {
        let following = (0..endpoints.len()).map(place).filter(|place| last.is_none_or(|last| *place > last)).min()?;
        last = Some(following);
        Some(&endpoints[following.1])
    })
}

/// Whether an endpoint has far more in flight than its share.
fn is_overloaded(endpoint: &Endpoint, all: &[Arc<Endpoint>], now: Instant) -> bool {
    let own = endpoint.in_flight();
    if own < FEW {
        return false;
    }
    let count = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    let usable = all.iter().filter(|other| !other.is_ejected(now));
    let (usable, total) = usable.fold((0, 0), |(usable, total), other| (usable + 1, total + other.in_flight()));
    count(own) * count(usable) > count(total) * BOUND
}
