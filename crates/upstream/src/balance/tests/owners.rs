//! Which endpoint takes the calls of a key.

use std::collections::HashMap;

use super::*;
use crate::metrics::NotOwner;
use crate::owner::CallKey;
use crate::owners::Owners;

const KEYS: u64 = 10_000;

fn key(hash: u64) -> CallKey {
    CallKey { hash: accord_wire::mix(hash), share: 0.0 }
}

/// The owner of each key, by its address.
fn owners(upstream: &Upstream) -> Vec<String> {
    let endpoints = upstream.endpoints();
    (0..KEYS).map(|hash| endpoints.for_key(key(hash), None).unwrap().0.label().to_owned()).collect()
}

/// How many keys moved, of which of these owners.
fn moved(before: &[String], after: &[String]) -> HashMap<String, usize> {
    let mut moved = HashMap::new();
    for (before, _) in before.iter().zip(after).filter(|(before, after)| before != after) {
        *moved.entry(before.clone()).or_default() += 1;
    }
    moved
}

#[tokio::test]
async fn key_has_the_same_owner_whatever_the_order_of_the_endpoints() {
    let urls: Vec<_> = (0..5).map(|index| format!("http://127.0.0.1:{}", 10_000 + index)).collect();
    let reversed: Vec<_> = urls.iter().rev().cloned().collect();
    assert_eq!(owners(&upstream(&urls)), owners(&upstream(&reversed)));
}

#[tokio::test]
async fn owners_have_about_as_many_keys_each() {
    let mut counts = HashMap::<_, u64>::new();
    for owner in owners(&anywhere(5)) {
        *counts.entry(owner).or_default() += 1;
    }
    let fair = KEYS / 5;
    assert!(counts.len() == 5 && counts.values().all(|count| count.abs_diff(fair) < fair / 10), "{counts:?}");
}

#[tokio::test]
async fn endpoint_that_joins_takes_its_share_of_the_keys_from_all_and_moves_no_other() {
    let (before, after) = (owners(&anywhere(4)), owners(&anywhere(5)));
    let newcomer = "http://127.0.0.1:10004";
    let took = before.iter().zip(&after).filter(|(before, after)| before != after);
    assert!(took.clone().all(|(_, after)| after == newcomer));
    let share = took.count() as u64;
    assert!(share.abs_diff(KEYS / 5) < KEYS / 50, "{share} of {KEYS} moved");
    assert_eq!(moved(&before, &after).len(), 4);
}

#[tokio::test]
async fn endpoint_that_is_ejected_moves_its_own_keys_alone_to_all_others() {
    let upstream = anywhere(5);
    let before = owners(&upstream);
    let ejected = Arc::clone(&upstream.endpoints()[2]);
    ejected.eject(EjectionCause::HealthCheck);
    let after = owners(&upstream);
    let own = before.iter().filter(|owner| *owner == ejected.label()).count();
    assert_eq!(moved(&before, &after), HashMap::from([(ejected.label().to_owned(), own)]));
    let heirs = before.iter().zip(&after).filter(|(before, after)| before != after).map(|(_, after)| after);
    assert_eq!(heirs.collect::<std::collections::HashSet<_>>().len(), 4);
    ejected.succeeded();
    assert_eq!(owners(&upstream), before);
}

#[tokio::test]
async fn call_that_failed_at_the_owner_goes_to_the_next_in_the_order() {
    let endpoints = anywhere(3).endpoints();
    let (owner, _) = endpoints.for_key(key(7), None).unwrap();
    let (next, why) = endpoints.for_key(key(7), Some(owner)).unwrap();
    assert!(!Arc::ptr_eq(owner, next) && why == Some(NotOwner::Unavailable));
    owner.eject(EjectionCause::ConnectFailed);
    assert!(Arc::ptr_eq(endpoints.for_key(key(7), None).unwrap().0, next), "as for all later calls");
}

#[tokio::test]
async fn owner_with_far_more_than_its_share_in_flight_passes_calls_to_the_next() {
    let endpoints = anywhere(3).endpoints();
    let owner = Arc::clone(endpoints.for_key(key(7), None).unwrap().0);
    let mut held: Vec<_> = (0..63).map(|_| owner.enter()).collect();
    assert_eq!(endpoints.for_key(key(7), None).unwrap().1, None, "few are never too many");
    held.extend((0..137).map(|_| owner.enter()));
    let (next, why) = endpoints.for_key(key(7), None).unwrap();
    assert!(!Arc::ptr_eq(next, &owner) && why == Some(NotOwner::Overloaded));
    let others = endpoints.iter().filter(|other| !Arc::ptr_eq(other, &owner));
    held.extend(others.flat_map(|other| (0..150).map(|_| other.enter())));
    assert_eq!(endpoints.for_key(key(7), None).unwrap().1, None, "200 of 500 are no more than 1.5 of its share");
}

#[tokio::test]
async fn key_is_called_somewhere_though_all_endpoints_are_ejected() {
    let endpoints = anywhere(3).endpoints();
    endpoints.iter().for_each(|endpoint| endpoint.eject(EjectionCause::ConnectFailed));
    assert!(endpoints.for_key(key(7), None).is_some());
}

/// How many endpoints take the calls of a key that has this part of all.
fn width(endpoints: &Endpoints, share: f64) -> usize {
    let hot = CallKey { share, ..key(7) };
    let taken: std::collections::HashSet<_> =
        (0..200).map(|_| endpoints.for_key(hot, None).unwrap().0.label().to_owned()).collect();
    taken.len()
}

#[tokio::test]
async fn key_is_spread_over_as_many_endpoints_as_its_share_takes() {
    let endpoints = anywhere(4).endpoints();
    assert_eq!([0.0, 0.12, 0.2, 0.3, 0.5, 1.0].map(|share| width(&endpoints, share)), [1, 1, 2, 3, 4, 4]);
}

/// Through [`Owners`], as the gateway calls.
#[tokio::test(start_paused = true)]
async fn hot_key_has_several_endpoints_and_others_keep_their_owner() {
    let (hot, upstream) = (accord_wire::mix(7), anywhere(3));
    let owners = Owners::new(Arc::clone(&upstream));
    let of_others: Vec<_> = (8..1_008).map(accord_wire::mix).collect();
    let endpoints = upstream.endpoints();
    let mut taken = HashMap::<_, u32>::new();
    for other in of_others {
        for _ in 0..4 {
            let (endpoint, _) = endpoints.for_key(owners.key(hot), None).unwrap();
            *taken.entry(endpoint.label()).or_default() += 1;
        }
        assert_eq!(endpoints.for_key(owners.key(other), None).unwrap().1, None);
    }
    assert!(taken.len() == 3 && taken.values().all(|taken| *taken > 500), "{taken:?}");
}
