//! Loads of keys that hold nothing: who shares them, and what a put, a delete or an invalidation does to them.

use tokio::task::JoinHandle;

use super::*;

const LIFE: Duration = Duration::from_secs(10);

struct Carts {
    engine: Subject,
    origin: ManualOrigin,
    world: ManualWorld,
    space: Namespace,
}

type Asked = JoinHandle<Result<KeyAnswer, Overload>>;

impl Carts {
    fn new() -> Self {
        let (engine, origin, world) = subject();
        let space = engine.namespace("carts", NamespaceLimits { bytes: 1 << 18, entries: 2, changes: 100 });
        Self { engine, origin, world, space }
    }

    fn load(&self, key: &'static str) -> Asked {
        self.load_within(key, Duration::from_secs(100))
    }

    fn load_within(&self, key: &'static str, wait_budget: Duration) -> Asked {
        let (engine, space) = (self.engine.clone(), self.space.clone());
        let load = KeyLoad { ttl: LIFE, wait_budget, required: KeyRequirement::default(), call: () };
        tokio::spawn(async move { engine.load_key(&space, ("north", key), &load).await })
    }

    async fn loaded(&self, key: &'static str, value: &'static str) -> KeyAnswer {
        let asked = self.load(key);
        self.origin.next().await.send(says(value)).unwrap();
        answer(asked).await
    }

    fn put(&self, key: &str, value: &'static str, expected: Option<u64>) -> Result<Written, Conflict> {
        let value = Bytes::from_static(value.as_bytes());
        let expected = expected.map_or(Expected::Anything, Expected::Version);
        let write = Write { tenant: "north", key, value, tags: &[], ttl: LIFE, expected };
        self.engine.put(&self.space, write)
    }

    fn get(&self, key: &str) -> Option<Found> {
        self.engine.get(&self.space, "north", key)
    }

    fn value(&self, key: &str) -> Option<Bytes> {
        self.get(key).map(|found| found.value)
    }
}

async fn answer(asked: Asked) -> KeyAnswer {
    asked.await.unwrap().unwrap()
}

async fn value(asked: Asked) -> Bytes {
    answer(asked).await.found.unwrap().value
}

#[tokio::test]
async fn span_of_a_load_is_told_to_those_alone_who_waited_for_the_load_of_another() {
    let carts = Carts::new();
    let (first, second) = (carts.load("ada"), carts.load("ada"));
    let load = carts.origin.next().await;
    settle().await;
    load.send(Loaded { trace: Some(TRACE), ..says("milk") }).unwrap();
    assert_eq!((answer(first).await.trace, answer(second).await.trace), (None, Some(TRACE)));
}

#[tokio::test]
async fn loaded_value_is_held_with_version_and_life_from_the_start_of_its_load() {
    let carts = Carts::new();
    let asked = carts.load("ada");
    let load = carts.origin.next().await;
    carts.world.advance(3);
    load.send(says("milk")).unwrap();
    let answer = answer(asked).await;
    assert_eq!((answer.outcome, answer.stored, answer.collapsed), (Outcome::Miss, true, false));
    let found = answer.found.unwrap();
    assert_eq!(
        (&found.value[..], found.age, found.ttl),
        (&b"milk"[..], Duration::from_secs(3), Duration::from_secs(7))
    );
    assert_eq!(carts.get("ada"), Some(found));
    carts.world.advance(7);
    assert_eq!(carts.get("ada"), None);
}

#[tokio::test]
async fn concurrent_readers_of_a_key_share_one_load() {
    let carts = Carts::new();
    let asked: Vec<_> = (0..3).map(|_| carts.load("ada")).collect();
    let load = carts.origin.next().await;
    settle().await;
    load.send(says("milk")).unwrap();
    let mut collapsed = Vec::new();
    for asked in asked {
        collapsed.push(answer(asked).await.collapsed);
    }
    assert_eq!(collapsed, [false, true, true]);
    assert!(carts.origin.take().is_none());
    assert_eq!(carts.space.stats().loads, 1);
}

#[tokio::test]
async fn value_put_since_the_first_look_is_answered_without_a_load() {
    let carts = Carts::new();
    carts.put("ada", "milk", None).unwrap();
    let answer = answer(carts.load("ada")).await;
    assert_eq!((answer.outcome, &answer.found.unwrap().value[..]), (Outcome::Hit, &b"milk"[..]));
    assert!(carts.origin.take().is_none());
}

#[tokio::test]
async fn value_put_during_a_load_is_not_replaced_by_it() {
    let carts = Carts::new();
    let asked = carts.load("ada");
    let load = carts.origin.next().await;
    carts.put("ada", "bread", None).unwrap();
    load.send(says("milk")).unwrap();
    let answer = answer(asked).await;
    assert_eq!((&answer.found.unwrap().value[..], answer.stored), (&b"milk"[..], false), "it asked before");
    assert_eq!(carts.value("ada").unwrap(), "bread");
}

#[tokio::test]
async fn key_deleted_during_a_load_stays_deleted_and_the_next_reader_loads_anew() {
    let carts = Carts::new();
    let before = carts.load("ada");
    let load = carts.origin.next().await;
    assert_eq!(carts.engine.delete(&carts.space, "north", "ada", Expected::Anything), Ok(None));
    let after = carts.load("ada");
    let newer = carts.origin.next().await;
    load.send(says("milk")).unwrap();
    assert_eq!(value(before).await, "milk");
    assert_eq!(carts.get("ada"), None);
    newer.send(says("bread")).unwrap();
    assert_eq!((value(after).await, carts.value("ada").unwrap()), ("bread".into(), "bread".into()));
}

#[tokio::test]
async fn prefix_invalidated_during_a_load_keeps_what_it_reaches_from_being_held_and_nothing_else() {
    let carts = Carts::new();
    let (reached, other) = (carts.load("user/1"), carts.load("cart/1"));
    let loads = [carts.origin.next().await, carts.origin.next().await];
    let sessions = carts.engine.namespace("sessions", carts.space.limits());
    for (namespace, tenant, prefix) in
        [(&sessions, "north", "cart/"), (&carts.space, "south", "cart/"), (&carts.space, "north", "user/")]
    {
        carts.engine.invalidate_prefix(namespace, tenant, prefix);
    }
    for load in loads {
        load.send(says("milk")).unwrap();
    }
    assert_eq!((answer(reached).await.stored, answer(other).await.stored), (false, true));
    assert_eq!((carts.get("user/1"), carts.value("cart/1").unwrap()), (None, "milk".into()));
}

#[tokio::test]
async fn compare_and_set_expects_a_loaded_version_as_one_that_was_put() {
    let carts = Carts::new();
    let version = carts.loaded("ada", "milk").await.found.unwrap().version;
    carts.put("ada", "bread", Some(version)).unwrap();
    assert_eq!(carts.put("ada", "wine", Some(version)), Err(Conflict));
    assert_eq!(carts.value("ada").unwrap(), "bread");
}

#[tokio::test]
async fn version_of_a_load_that_was_overtaken_is_none_that_the_key_holds() {
    let carts = Carts::new();
    let asked = carts.load("ada");
    let load = carts.origin.next().await;
    carts.put("ada", "bread", None).unwrap();
    load.send(says("milk")).unwrap();
    let version = answer(asked).await.found.unwrap().version;
    assert_eq!(carts.put("ada", "wine", Some(version)), Err(Conflict));
}

#[tokio::test]
async fn failure_or_absence_is_told_to_all_who_wait_and_held_by_nobody() {
    let carts = Carts::new();
    for code in [5, 14] {
        let (first, second) = (carts.load("ada"), carts.load("ada"));
        let load = carts.origin.next().await;
        settle().await;
        load.send(fails(code)).unwrap();
        for asked in [first, second] {
            assert_eq!(answer(asked).await.found.unwrap_err().code, code);
        }
    }
    assert_eq!((carts.value("ada"), carts.loaded("ada", "milk").await.stored), (None, true));
}

#[tokio::test]
async fn waiter_with_time_left_loads_again_after_the_deadline_of_the_starter() {
    let carts = Carts::new();
    let short = carts.load_within("ada", Duration::from_secs(2));
    let load = carts.origin.next().await;
    let long = carts.load("ada");
    settle().await;
    carts.world.advance(2);
    load.send(fails(4)).unwrap();
    assert_eq!(answer(short).await.found.unwrap_err().code, 4);
    carts.origin.next().await.send(says("milk")).unwrap();
    assert_eq!(value(long).await, "milk");
}

#[tokio::test]
async fn refusal_of_the_starter_lets_other_waiters_load_for_themselves() {
    let carts = Carts::new();
    let (refused, welcome) = (carts.load("ada"), carts.load("ada"));
    let load = carts.origin.next().await;
    settle().await;
    load.send(fails(7)).unwrap();
    assert_eq!(answer(refused).await.found.unwrap_err().code, 7);
    carts.origin.next().await.send(says("milk")).unwrap();
    let welcome = answer(welcome).await;
    assert_eq!((welcome.outcome, welcome.found.unwrap().value), (Outcome::Bypass, "milk".into()));
    assert_eq!(carts.get("ada"), None);
}

#[tokio::test]
async fn load_that_all_readers_left_is_cancelled_and_not_held() {
    let carts = Carts::new();
    let asked = carts.load("ada");
    let load = carts.origin.next().await;
    asked.abort();
    settle().await;
    assert!(load.is_closed());
}

#[tokio::test]
async fn loaded_entries_count_in_the_quota() {
    let carts = Carts::new();
    for key in ["ada", "bob", "eve"] {
        assert!(carts.loaded(key, "milk").await.stored);
    }
    assert_eq!((carts.space.stats().entries, carts.get("ada")), (2, None));
}

#[tokio::test]
async fn loads_beyond_the_limit_are_refused() {
    let carts = Carts::new();
    let _loading = [carts.load("ada"), carts.load("bob")];
    let _loads = [carts.origin.next().await, carts.origin.next().await];
    assert_eq!(carts.load("eve").await.unwrap().unwrap_err(), Overload::Flights);
}

#[tokio::test]
async fn load_that_began_before_its_row_was_invalidated_is_neither_held_nor_joined() {
    let mut carts = Carts::new();
    carts.space = carts.engine.namespace_of_rows("rows", NamespaceLimits { bytes: 1 << 18, entries: 9, changes: 100 });
    for tag in [Tag::row("rows", None, "ada"), Tag::row("rows", Some("north"), "ada"), Tag::rows("rows")] {
        let before = carts.load("ada");
        let load = carts.origin.next().await;
        carts.engine.invalidate([Tag::row("rows", None, "bob"), Tag::row("rows", Some("south"), "ada"), tag]);
        let after = carts.load("ada");
        carts.origin.next().await.send(says("bread")).unwrap();
        load.send(says("milk")).unwrap();
        assert_eq!((value(before).await, value(after).await), ("milk".into(), "bread".into()), "{tag:?}");
        assert_eq!(carts.value("ada").unwrap(), "bread");
        carts.engine.invalidate([tag]);
        assert_eq!(carts.value("ada"), None);
    }
}
