//! What one replica hears of another one's changes of keys.

use super::*;
use crate::engine::Rules;

/// A namespace of a process that shares a log.
struct Shared {
    engine: Subject,
    origin: ManualOrigin,
    namespace: Namespace,
}

fn shared() -> Shared {
    shared_under(Rules::ALL)
}

fn shared_under(rules: Rules) -> Shared {
    let (origin, world) = (ManualOrigin::default(), ManualWorld::default());
    let metrics = Metrics::new(&opentelemetry::global::meter("test"));
    let store = MemoryStore::new(LIMITS.capacity, |_| {});
    let engine = Engine::with_rules(origin.clone(), store, world.clone(), LIMITS, metrics, rules);
    engine.unverified();
    engine.verified_until(world.now().after(Duration::from_hours(1)));
    let namespace = engine.namespace("carts", NamespaceLimits { bytes: 1 << 16, entries: 10, changes: 10 });
    Shared { engine, origin, namespace }
}

impl Shared {
    /// Writes the key through, as this version.
    async fn write(&self, version: u64) -> bool {
        let value = Bytes::copy_from_slice(&version.to_be_bytes());
        let committed = Committed { value, version, tags: &[], ttl: Duration::from_mins(1) };
        let write = async { Ok::<_, ()>(((), Some(committed))) };
        let written = self.engine.write_through(&self.namespace, ("north", "ada"), write).await;
        written.unwrap().unwrap().1.unwrap().stored
    }

    fn hear(&self, number: u64, change: Change) {
        self.engine.apply_change(number, &NamespaceChange::new(self.namespace.name(), "north", change));
    }

    fn held(&self) -> Option<u64> {
        self.engine.get(&self.namespace, "north", "ada")?.of_origin
    }

    fn load(&self) -> tokio::task::JoinHandle<Result<KeyAnswer, Overload>> {
        let (engine, namespace) = (self.engine.clone(), self.namespace.clone());
        let load = KeyLoad {
            ttl: Duration::from_mins(1),
            wait_budget: Duration::from_mins(1),
            required: KeyRequirement::default(),
            call: (),
        };
        tokio::spawn(async move { engine.load_key(&namespace, ("north", "ada"), &load).await })
    }
}

fn put(version: u64) -> Change {
    Change::Put { key: "ada".into(), version: (0, Some(version)) }
}

fn deleted(version: u64) -> Change {
    Change::Deleted { key: "ada".into(), version: Some(version) }
}

#[tokio::test]
async fn value_is_forgotten_where_a_newer_one_was_put_elsewhere_and_stays_where_it_is_no_older() {
    let shared = shared();
    assert!(shared.write(5).await);
    for version in [4, 5] {
        shared.hear(version, put(version));
        assert_eq!(shared.held(), Some(5));
    }
    shared.hear(6, put(6));
    assert_eq!(shared.held(), None);
}

#[tokio::test]
async fn older_value_is_not_held_after_a_newer_one_was_put_or_it_was_deleted_elsewhere() {
    let shared = shared();
    shared.hear(1, put(6));
    assert!(!shared.write(5).await);
    shared.hear(2, deleted(6));
    assert!(!shared.write(6).await);
    assert!(shared.write(7).await);
}

/// The rule that seeds meet too seldom (`simulation::replicas`).
#[tokio::test]
async fn older_value_is_held_where_changes_leave_no_tombstones() {
    let shared = shared_under(Rules { changes_leave_tombstones: false, ..Rules::ALL });
    shared.hear(1, put(6));
    assert!(shared.write(5).await);
}

#[tokio::test]
async fn load_in_flight_answers_those_who_asked_before_a_change_was_heard_of_and_is_not_held() {
    let shared = shared();
    let before = shared.load();
    let first = shared.origin.next().await;
    shared.hear(1, Change::Forgotten("ada".into()));
    let after = shared.load();
    let second = shared.origin.next().await;
    first.send(says("old")).unwrap();
    assert_eq!(before.await.unwrap().unwrap().found.unwrap().value, "old");
    second.send(says("new")).unwrap();
    assert_eq!(after.await.unwrap().unwrap().found.unwrap().value, "new");
    assert_eq!(shared.engine.get(&shared.namespace, "north", "ada").unwrap().value, "new");
}

#[tokio::test]
async fn replica_that_is_not_verified_tells_nothing_that_it_holds_and_lets_nobody_join_a_load() {
    let shared = shared();
    assert!(shared.write(5).await);
    shared.engine.unverified();
    assert_eq!(shared.held(), None);
    assert_eq!(shared.engine.touch(&shared.namespace, "north", "ada", Duration::from_mins(1)), None);
    let loads = [shared.load(), shared.load()];
    for _ in 0..2 {
        shared.origin.next().await.send(says("milk")).unwrap();
    }
    for load in loads {
        assert!(!load.await.unwrap().unwrap().collapsed);
    }
}

#[tokio::test]
async fn nothing_is_held_in_a_first_lease_time() {
    let shared = shared();
    shared.engine.begin_first_lease_time(shared.engine.now().after(Duration::from_secs(1)));
    assert!(!shared.write(5).await);
    let load = shared.load();
    shared.origin.next().await.send(says("milk")).unwrap();
    assert!(!load.await.unwrap().unwrap().stored);
}

#[test]
fn watcher_is_told_of_changes_under_their_numbers_of_the_log() {
    let shared = shared();
    let (mut watcher, _) = shared.namespace.watch("north", "", None);
    shared.engine.forget_key(&shared.namespace, "north", "ada");
    assert_eq!(watcher.take_next(), Ok(None), "before the log has it");
    shared.hear(7, put(5));
    assert_eq!(watcher.take_next().unwrap().as_deref(), Some(&put(5)));
    assert_eq!(watcher.seen(), 7);
    shared.engine.begin_keys_anew(3);
    assert_eq!(watcher.take_next(), Err(Lagged));
}

#[test]
fn change_of_a_namespace_that_is_not_declared_here_is_passed_over() {
    let shared = shared();
    let done = Some(("north".into(), put(5)));
    shared.engine.apply_change(1, &NamespaceChange { namespace: "prices".into(), done });
    assert_eq!(shared.namespace.newest_change(), 0);
}
