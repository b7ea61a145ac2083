//! Leases that reads get, and what invalidations wait for.

use super::*;

const MAX: Duration = Duration::from_secs(2);
const ADA: LeaseHolder = LeaseHolder(1);
const BOB: LeaseHolder = LeaseHolder(2);

/// A subject whose first lease time is over.
fn leasing() -> (Subject, ManualOrigin, ManualWorld) {
    let (engine, origin, world) = subject_with(Limits { max_lease: MAX, first_lease_time: MAX, ..LIMITS });
    world.advance(2);
    (engine, origin, world)
}

fn by(holder: LeaseHolder, name: &str) -> Read<()> {
    let lease = Some(LeaseRequest { holder, duration: Duration::from_mins(1), is_bounded: false });
    Read { lease, ..of(name) }
}

fn milk() -> [Tag; 1] {
    [Tag::named("milk")]
}

#[tokio::test]
async fn hit_is_leased_for_the_maximum_and_another_holders_write_waits_for_it() {
    let (engine, origin, _) = leasing();
    stored(&engine, &origin, "milk", "1").await;
    let lease = engine.read(&by(ADA, "milk")).await.unwrap().lease.unwrap();
    assert_eq!((lease.duration, &*lease.tags), (MAX, &milk()[..]));
    assert_eq!(engine.invalidate_leased(&milk(), Some(BOB)), [MAX]);
}

#[tokio::test]
async fn write_of_the_only_holder_waits_for_nothing() {
    let (engine, origin, _) = leasing();
    stored(&engine, &origin, "milk", "1").await;
    engine.read(&by(ADA, "milk")).await.unwrap().lease.unwrap();
    assert_eq!(engine.invalidate_leased(&milk(), Some(ADA)), [Duration::ZERO]);
}

#[tokio::test]
async fn wait_is_what_is_left_of_the_lease_also_when_asked_again() {
    let (engine, origin, world) = leasing();
    stored(&engine, &origin, "milk", "1").await;
    engine.read(&by(ADA, "milk")).await.unwrap().lease.unwrap();
    assert_eq!(engine.invalidate_leased(&milk(), None), [MAX]);
    world.advance(1);
    assert_eq!(engine.invalidate_leased(&milk(), None), [Duration::from_secs(1)]);
    assert_eq!(engine.invalidate_all(None), Duration::from_secs(1));
    world.advance(1);
    assert_eq!(engine.invalidate_leased(&milk(), None), [Duration::ZERO]);
}

#[tokio::test]
async fn read_without_lease_request_gets_none_and_keeps_nobody_waiting() {
    let (engine, origin, _) = leasing();
    stored(&engine, &origin, "milk", "1").await;
    assert!(engine.read(&of("milk")).await.unwrap().lease.is_none());
    assert_eq!(engine.invalidate_leased(&milk(), None), [Duration::ZERO]);
}

#[tokio::test]
async fn bounded_lease_keeps_nobody_waiting() {
    let (engine, origin, _) = leasing();
    stored(&engine, &origin, "milk", "1").await;
    let lease = Some(LeaseRequest { holder: ADA, duration: MAX, is_bounded: true });
    assert!(engine.read(&Read { lease, ..of("milk") }).await.unwrap().lease.is_some());
    assert_eq!(engine.invalidate_leased(&milk(), Some(BOB)), [Duration::ZERO]);
}

#[tokio::test]
async fn each_who_waits_for_one_load_gets_a_lease_of_its_own() {
    let (engine, origin, _) = leasing();
    let asked = [ask(&engine, by(ADA, "milk")), ask(&engine, by(BOB, "milk"))];
    origin.next().await.send(says("1")).unwrap();
    for asked in asked {
        assert!(asked.await.unwrap().unwrap().lease.is_some());
    }
    assert_eq!(engine.invalidate_leased(&milk(), Some(ADA)), [MAX]);
    assert_eq!(engine.invalidate_leased(&milk(), Some(BOB)), [MAX]);
}

#[tokio::test]
async fn tags_that_only_the_answer_tells_are_leased_with_it() {
    let (engine, origin, _) = leasing();
    let asked = ask(&engine, by(ADA, "milk"));
    let shelf = Tag::named("shelf/1");
    origin.next().await.send(Loaded { tags: Some(vec![shelf]), ..says("1") }).unwrap();
    assert_eq!(&*asked.await.unwrap().unwrap().lease.unwrap().tags, &[milk()[0], shelf]);
    assert_eq!(engine.invalidate_leased(&[shelf], Some(BOB)), [MAX]);
}

#[tokio::test]
async fn answer_that_was_invalidated_on_its_way_is_not_leased() {
    let (engine, origin, _) = leasing();
    let asked = ask(&engine, by(ADA, "milk"));
    let load = origin.next().await;
    engine.invalidate_leased(&milk(), None);
    load.send(says("1")).unwrap();
    assert!(asked.await.unwrap().unwrap().lease.is_none());
}

#[tokio::test]
async fn answer_that_is_not_stored_is_not_leased() {
    let (engine, origin, _) = leasing();
    let asked = ask(&engine, by(ADA, "milk"));
    origin.next().await.send(says("larger than the policy allows")).unwrap();
    assert!(asked.await.unwrap().unwrap().lease.is_none());
}

#[tokio::test]
async fn stale_answer_is_not_leased() {
    let (engine, origin, world) = leasing();
    stored(&engine, &origin, "milk", "1").await;
    world.advance(12);
    let answer = engine.read(&by(ADA, "milk")).await.unwrap();
    assert_eq!(answer.stale, Some(Stale::Revalidating));
    assert!(answer.lease.is_none());
}

#[tokio::test]
async fn tag_invalidated_within_the_last_second_is_not_leased() {
    let (engine, origin, world) = leasing();
    engine.invalidate_leased(&milk(), None);
    stored(&engine, &origin, "milk", "1").await;
    assert!(engine.read(&by(ADA, "milk")).await.unwrap().lease.is_none());
    world.advance(1);
    assert!(engine.read(&by(ADA, "milk")).await.unwrap().lease.is_some());
}

#[tokio::test]
async fn without_leases_none_is_granted_and_nothing_waits() {
    let (engine, origin, _) = subject();
    stored(&engine, &origin, "milk", "1").await;
    assert!(engine.read(&by(ADA, "milk")).await.unwrap().lease.is_none());
    assert_eq!(engine.invalidate_leased(&milk(), None), [Duration::ZERO]);
}

#[tokio::test]
async fn first_lease_time_acknowledges_nothing() {
    let (engine, _, world) = subject_with(Limits { max_lease: MAX, first_lease_time: MAX, ..LIMITS });
    world.advance(1);
    assert_eq!(engine.invalidate_leased(&milk(), None), [Duration::from_secs(1)]);
    assert_eq!(engine.invalidate_all(None), Duration::from_secs(1));
}

#[tokio::test]
async fn cache_without_leases_reckons_with_those_of_the_one_before_it() {
    let (engine, _, world) = subject_with(Limits { max_lease: Duration::ZERO, first_lease_time: MAX, ..LIMITS });
    assert_eq!(engine.invalidate_leased(&milk(), None), [MAX]);
    world.advance(2);
    assert_eq!(engine.invalidate_leased(&milk(), None), [Duration::ZERO]);
}

#[tokio::test]
async fn load_of_first_lease_time_is_not_joined_not_kept_and_not_leased() {
    let (engine, origin, world) = subject_with(Limits { max_lease: MAX, first_lease_time: MAX, ..LIMITS });
    let first = ask(&engine, by(ADA, "milk"));
    let load = origin.next().await;
    world.advance(3);
    let second = ask(&engine, by(BOB, "milk"));
    origin.next().await.send(says("2")).unwrap();
    assert!(second.await.unwrap().unwrap().lease.is_some());
    load.send(says("1")).unwrap();
    let answer = first.await.unwrap().unwrap();
    assert!(!answer.stored && answer.lease.is_none());
    assert_eq!(engine.read(&of("milk")).await.unwrap().load.unwrap(), "2");
}
