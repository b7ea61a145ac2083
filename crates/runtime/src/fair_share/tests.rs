use std::net::Ipv4Addr;

use futures_util::FutureExt as _;

use super::*;

const HALF: u64 = 50;

fn caller(number: u8) -> Holder {
    on_connection(number, number.into())
}

fn on_connection(caller: u8, connection: u64) -> Holder {
    Holder::address(Ipv4Addr::new(192, 0, 2, caller).into(), connection)
}

/// All that a caller gets, by as many connections as it likes.
fn fill(budget: &FairShare, number: u8) -> Vec<Held> {
    (0..).map_while(|connection| budget.hold(Some(on_connection(number, connection)), 1, 0).ok()).collect()
}

#[test]
fn one_caller_alone_gets_its_share() {
    for (max_share, expected) in [(HALF, 500), (80, 800), (99, 990), (10, 100)] {
        let held = fill(&FairShare::new(1000, max_share), 1);
        assert!(held.len().abs_diff(expected) <= 1, "{max_share}: {}", held.len());
    }
}

#[test]
fn caller_who_holds_nothing_gets_something_while_others_hold_their_shares() {
    let budget = FairShare::new(1000, HALF);
    let held: Vec<_> = (1..=9).map(|number| fill(&budget, number)).collect();
    assert!(budget.hold(Some(caller(10)), 1, 0).is_ok());
    assert!(held.iter().all(|held| held.len() > 1));
}

#[test]
fn budget_that_is_resized_holds_for_the_next_and_takes_nothing_away() {
    let budget = FairShare::new(100, HALF);
    let held = fill(&budget, 1);
    assert_eq!(held.len(), 50);
    budget.resize(20, HALF);
    assert_eq!(budget.hold(Some(caller(2)), 1, 0).err(), Some(Shed::Full));
    drop(held);
    assert_eq!(fill(&budget, 2).len(), 10);
    budget.resize(1000, 10);
    assert!(fill(&budget.kind(), 3).len().abs_diff(100) <= 1);
}

#[test]
fn caller_with_the_most_is_shed_first() {
    let budget = FairShare::new(1000, HALF);
    let most = fill(&budget, 1);
    let little: Vec<_> = (0..100).map(|_| budget.hold(Some(caller(2)), 1, 0).unwrap()).collect();
    assert_eq!(budget.hold(Some(caller(1)), 1, 0).unwrap_err(), Shed::Share);
    assert!(budget.hold(Some(caller(2)), 1, 0).is_ok());
    drop((most, little));
}

#[test]
fn one_connection_leaves_room_for_others_of_its_caller() {
    let budget = FairShare::new(1000, HALF);
    let one: Vec<_> = std::iter::from_fn(|| budget.hold(Some(on_connection(1, 1)), 1, 0).ok()).collect();
    assert!(one.len().abs_diff(250) <= 1, "{}", one.len());
    let other: Vec<_> = (0..50).map_while(|_| budget.hold(Some(on_connection(1, 2)), 1, 0).ok()).collect();
    assert_eq!(other.len(), 50);
}

#[test]
fn principal_and_address_have_shares_of_their_own() {
    let budget = FairShare::new(1000, HALF);
    let held = fill(&budget, 1);
    assert!(budget.hold(Some(Holder::principal("ada", 1)), 100, 0).is_ok(), "{}", held.len());
}

#[test]
fn more_than_is_free_is_refused_as_full() {
    let budget = FairShare::new(10, HALF);
    let all = budget.hold(None, 10, 0).unwrap();
    assert_eq!(budget.hold(None, 1, 0).unwrap_err(), Shed::Full);
    drop(all);
    assert_eq!(budget.hold(Some(caller(1)), 6, 5).unwrap_err(), Shed::Full);
}

#[test]
fn what_is_dropped_is_free_again_and_forgotten() {
    let budget = FairShare::new(100, HALF);
    drop((fill(&budget, 1), fill(&budget, 2)));
    let state = budget.state();
    assert_eq!((state.held, state.callers.len(), state.connections.len()), (0, 0, 0));
}

#[test]
fn held_amount_grows_and_shrinks() {
    let budget = FairShare::new(100, HALF);
    let mut held = budget.nothing(Some(caller(1)));
    held.grow(20).unwrap();
    assert_eq!(held.grow(90), Err(Shed::Full));
    assert_eq!(held.grow(50), Err(Shed::Share));
    assert_eq!(budget.held().load(Ordering::Relaxed), 20, "what was refused is not held");
    held.set(5).unwrap();
    assert_eq!(budget.held().load(Ordering::Relaxed), 5);
}

#[test]
fn kinds_of_a_budget_are_counted_apart_and_bounded_together() {
    let budget = FairShare::new(100, HALF);
    let other = budget.kind();
    let _held = (budget.hold(None, 60, 0).unwrap(), other.hold(None, 30, 0).unwrap());
    assert_eq!((budget.held().load(Ordering::Relaxed), other.held().load(Ordering::Relaxed)), (60, 30));
    assert!(other.hold(None, 11, 0).is_err());
}

#[tokio::test]
async fn budget_is_idle_when_the_last_thing_is_given_back() {
    let budget = FairShare::new(10, HALF);
    let held = budget.hold(None, 1, 0).unwrap();
    let idle = budget.idle();
    tokio::pin!(idle);
    assert!(idle.as_mut().now_or_never().is_none());
    drop(held);
    idle.await;
}

#[test]
fn addresses_of_one_ipv6_network_count_as_one() {
    let read = |address: &str| network_of(address.parse().unwrap());
    assert_eq!(read("2001:db8::1"), read("2001:db8::ffff:1"));
    assert_ne!(read("2001:db8::1"), read("2001:db8:0:1::1"));
}

#[test]
fn mapped_ipv4_address_counts_as_the_ipv4_address() {
    assert_eq!(network_of("::ffff:192.0.2.1".parse().unwrap()), Ipv4Addr::new(192, 0, 2, 1));
}
