//! Versions of the origin: what is older never replaces what is newer.

use super::*;

fn version(loaded: Loaded, version: u64) -> Loaded {
    Loaded { version: Some(version), ..loaded }
}

/// Reads anew, and is told this.
async fn load(engine: &Subject, origin: &ManualOrigin, read: Read<()>, loaded: Loaded) -> Answer {
    let asked = ask(engine, read);
    origin.next().await.send(loaded).unwrap();
    asked.await.unwrap().unwrap()
}

fn strong() -> Read<()> {
    Read { consistency: ConsistencyRequirement::Strong, ..of("milk") }
}

#[tokio::test]
async fn load_of_an_older_version_is_neither_stored_nor_told_while_the_newer_may_be() {
    let (engine, origin, world) = subject();
    let first = load(&engine, &origin, of("milk"), version(says("2"), 2)).await;
    assert_eq!((first.version, first.stored), (Some(2), true));
    world.advance(3);
    let lagging = load(&engine, &origin, strong(), version(says("1"), 1)).await;
    let told = (lagging.load.unwrap(), lagging.version, lagging.outcome, lagging.stored, lagging.stale);
    assert_eq!(told, (Bytes::from_static(b"2"), Some(2), Outcome::Request, false, Some(Stale::OlderVersion)));
    assert_eq!(lagging.age, Duration::from_secs(3));
    assert_eq!(engine.read(&of("milk")).await.unwrap().version, Some(2));
}

#[tokio::test]
async fn same_version_and_a_newer_one_are_stored() {
    let (engine, origin, _) = subject();
    for (text, number) in [("1", 1), ("1 again", 1), ("2", 2)] {
        assert!(load(&engine, &origin, strong(), version(says(text), number)).await.stored, "{text}");
        assert_eq!(engine.read(&of("milk")).await.unwrap().load.unwrap(), text);
    }
}

#[tokio::test]
async fn stale_answer_stays_in_the_place_of_an_older_version_and_says_so() {
    let (engine, origin, world) = subject();
    load(&engine, &origin, of("milk"), version(says("2"), 2)).await;
    world.advance(30);
    let lagging = load(&engine, &origin, of("milk"), version(says("1"), 1)).await;
    assert_eq!((lagging.load.unwrap(), lagging.stale), (Bytes::from_static(b"2"), Some(Stale::OlderVersion)));
    world.advance(60);
    // No longer: what the origin says is all that there is, and it is not kept.
    let lagging = load(&engine, &origin, of("milk"), version(says("1"), 1)).await;
    assert_eq!((lagging.load.unwrap(), lagging.stored), (Bytes::from_static(b"1"), false));
}

#[tokio::test]
async fn invalidated_answer_keeps_older_versions_out_and_is_not_told() {
    let (engine, origin, _) = subject();
    load(&engine, &origin, of("milk"), version(says("2"), 2)).await;
    engine.invalidate([Tag::named("milk")]);
    let lagging = load(&engine, &origin, of("milk"), version(says("1"), 1)).await;
    assert_eq!((lagging.load.unwrap(), lagging.stored), (Bytes::from_static(b"1"), false));
    assert!(load(&engine, &origin, of("milk"), version(says("2"), 2)).await.stored, "the write may have failed");
}

#[tokio::test]
async fn waiter_of_a_load_is_told_the_newer_version_that_was_stored_meanwhile() {
    let (engine, origin, _) = subject();
    let first = ask(&engine, of("milk"));
    let slow = origin.next().await;
    // Whoever asks now does not join what started before.
    engine.invalidate([Tag::named("milk")]);
    load(&engine, &origin, of("milk"), version(says("2"), 2)).await;
    slow.send(version(says("1"), 1)).unwrap();
    assert_eq!(first.await.unwrap().unwrap().version, Some(2));
}

/// Fills the store until nothing is left of what was there before.
async fn evict(engine: &Subject, origin: &ManualOrigin) {
    for n in 0..60 {
        let read = Read { policy: Policy { max_bytes: 1 << 20, ..POLICY }, ..of(&format!("other {n}")) };
        let asked = ask(engine, read);
        origin.next().await.send(Ok(Bytes::from(vec![0; 100_000])).into()).unwrap();
        asked.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn evicted_answer_that_was_invalid_keeps_older_versions_out_for_ten_minutes() {
    let (engine, origin, world) = subject();
    load(&engine, &origin, of("milk"), version(says("2"), 2)).await;
    engine.invalidate([Tag::named("milk")]);
    evict(&engine, &origin).await;
    assert!(engine.0.store.get(&of("milk").key).is_none(), "nothing was evicted");
    world.advance(599);
    assert!(!load(&engine, &origin, of("milk"), version(says("1"), 1)).await.stored);
    world.advance(60);
    assert!(load(&engine, &origin, of("milk"), version(says("1"), 1)).await.stored);
}

#[tokio::test]
async fn evicted_answer_that_was_valid_keeps_nothing_out() {
    let (engine, origin, _) = subject();
    load(&engine, &origin, of("milk"), version(says("2"), 2)).await;
    evict(&engine, &origin).await;
    assert!(engine.0.store.get(&of("milk").key).is_none(), "nothing was evicted");
    assert!(load(&engine, &origin, of("milk"), version(says("1"), 1)).await.stored);
}

#[tokio::test]
async fn row_created_anew_at_a_lower_version_is_stored_ten_minutes_after_its_last_one_was_told() {
    let (engine, origin, world) = subject();
    load(&engine, &origin, of("milk"), version(says("57"), 57)).await;
    for (seconds, is_stored) in [(599, false), (1, true)] {
        world.advance(seconds);
        let anew = load(&engine, &origin, of("milk"), version(says("1"), 1)).await;
        assert_eq!((anew.load.unwrap(), anew.stored), (Bytes::from_static(b"1"), is_stored));
    }
    assert_eq!(load(&engine, &origin, strong(), version(says("2"), 2)).await.version, Some(2));
}

#[tokio::test]
async fn answer_that_is_fresh_for_longer_than_its_version_counts_is_not_told_in_place_of_a_lower_one() {
    let (engine, origin, world) = subject();
    let for_an_hour = |read: Read<()>| Read { policy: Policy { ttl: Duration::from_hours(1), ..POLICY }, ..read };
    load(&engine, &origin, for_an_hour(of("milk")), version(says("57"), 57)).await;
    for (seconds, told) in [(599, 57), (1, 1)] {
        world.advance(seconds);
        let anew = load(&engine, &origin, for_an_hour(strong()), version(says("1"), 1)).await;
        assert_eq!(anew.version, Some(told));
    }
    assert_eq!(engine.read(&for_an_hour(of("milk"))).await.unwrap().version, Some(1));
}

#[tokio::test]
async fn tombstone_of_what_was_invalidated_lasts_for_ten_minutes_after_its_version_was_told() {
    let (engine, origin, world) = subject();
    load(&engine, &origin, of("milk"), version(says("57"), 57)).await;
    world.advance(590);
    engine.invalidate([Tag::named("milk")]);
    load(&engine, &origin, of("milk"), fails(5)).await;
    assert!(!load(&engine, &origin, of("milk"), version(says("1"), 1)).await.stored);
    world.advance(10);
    assert!(load(&engine, &origin, of("milk"), version(says("1"), 1)).await.stored);
}

#[tokio::test]
async fn answer_that_is_gone_comes_back_at_no_older_version() {
    let (engine, origin, _) = subject();
    load(&engine, &origin, of("milk"), version(says("2"), 2)).await;
    load(&engine, &origin, strong(), fails(5)).await;
    assert!(!load(&engine, &origin, of("milk"), version(says("1"), 1)).await.stored);
    assert!(load(&engine, &origin, of("milk"), version(says("2"), 2)).await.stored);
}

#[tokio::test]
async fn forgotten_tombstone_keeps_older_versions_of_its_shard_out() {
    let (engine, origin, _) = subject_with(Limits { tags: 1, ..LIMITS });
    for (name, number) in [("milk", 7), ("bread", 3)] {
        let read = || Read { consistency: ConsistencyRequirement::Strong, ..of(name) };
        load(&engine, &origin, read(), version(says("1"), number)).await;
        load(&engine, &origin, read(), fails(5)).await;
    }
    assert!(!load(&engine, &origin, of("milk"), version(says("1"), 6)).await.stored);
    assert!(load(&engine, &origin, of("milk"), version(says("1"), 7)).await.stored);
}

fn key_load() -> KeyLoad<()> {
    let wait_budget = Duration::from_secs(100);
    KeyLoad { ttl: Duration::from_secs(10), wait_budget, required: KeyRequirement::default(), call: () }
}

/// Loads the key `milk`; whether it holds that then.
async fn load_key(engine: &Subject, origin: &ManualOrigin, space: &Namespace, number: u64) -> bool {
    let (reading, of) = (engine.clone(), space.clone());
    let asked = tokio::spawn(async move { reading.load_key(&of, ("", "milk"), &key_load()).await });
    origin.next().await.send(version(says("1"), number)).unwrap();
    let answer = asked.await.unwrap().unwrap();
    assert_eq!(answer.found.unwrap().of_origin, Some(number), "it is answered in any case");
    answer.stored
}

fn space(engine: &Subject) -> Namespace {
    engine.namespace("products", NamespaceLimits { bytes: 1 << 20, entries: 100, changes: 10 })
}

#[tokio::test]
async fn expired_key_is_not_loaded_at_an_older_version() {
    let (engine, origin, world) = subject();
    let space = space(&engine);
    assert!(load_key(&engine, &origin, &space, 2).await);
    world.advance(10);
    assert!(!load_key(&engine, &origin, &space, 1).await);
    assert!(load_key(&engine, &origin, &space, 2).await);
}

#[tokio::test]
async fn deleted_key_is_not_loaded_at_the_version_that_it_had() {
    let (engine, origin, _) = subject();
    let space = space(&engine);
    assert!(load_key(&engine, &origin, &space, 2).await);
    engine.delete(&space, "", "milk", Expected::Anything).unwrap();
    for (number, is_held) in [(1, false), (2, false), (3, true)] {
        assert_eq!(load_key(&engine, &origin, &space, number).await, is_held, "{number}");
    }
}

#[tokio::test]
async fn invalidated_keys_are_loaded_at_no_older_version() {
    let (engine, origin, _) = subject();
    let space = space(&engine);
    assert!(load_key(&engine, &origin, &space, 2).await);
    engine.invalidate_prefix(&space, "", "mi");
    assert!(!load_key(&engine, &origin, &space, 1).await);
    assert!(load_key(&engine, &origin, &space, 2).await);
}
