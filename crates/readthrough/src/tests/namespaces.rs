//! Keys of namespaces.

use super::*;

const ROOM: NamespaceLimits = NamespaceLimits { bytes: 1 << 18, entries: 100, changes: 100 };
const LIFE: Duration = Duration::from_secs(10);

struct Carts {
    engine: Subject,
    world: ManualWorld,
    space: Namespace,
}

impl Carts {
    fn new(limits: NamespaceLimits) -> Self {
        let (engine, _, world) = subject();
        let space = engine.namespace("carts", limits);
        Self { engine, world, space }
    }

    fn put(&self, key: &str, value: &'static str) -> u64 {
        self.write(key, value, &[], None).unwrap()
    }

    fn write(&self, key: &str, value: &'static str, tags: &[&str], expected: Option<u64>) -> Result<u64, Conflict> {
        let tags: Vec<_> = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let value = Bytes::from_static(value.as_bytes());
        let expected = expected.map_or(Expected::Anything, Expected::Version);
        self.write_where(key, value, &tags, expected)
    }

    fn write_where(&self, key: &str, value: Bytes, tags: &[String], expected: Expected) -> Result<u64, Conflict> {
        let write = Write { tenant: "north", key, value, tags, ttl: LIFE, expected };
        self.engine.put(&self.space, write).map(|written| written.version)
    }

    fn get(&self, key: &str) -> Option<Found> {
        self.engine.get(&self.space, "north", key)
    }

    fn value(&self, key: &str) -> Option<Bytes> {
        self.get(key).map(|found| found.value)
    }
}

#[test]
fn put_value_is_read_with_its_version_age_and_what_is_left_of_its_life() {
    let carts = Carts::new(ROOM);
    let version = carts.put("ada", "milk");
    carts.world.advance(3);
    let (age, ttl) = (Duration::from_secs(3), Duration::from_secs(7));
    let found = carts.get("ada").unwrap();
    assert_eq!((found.value, found.version, found.of_origin), (Bytes::from_static(b"milk"), version, None));
    assert_eq!((found.age, found.ttl), (age, ttl));
}

#[test]
fn value_is_absent_when_its_life_is_over_and_takes_no_memory_once_that_is_seen() {
    let carts = Carts::new(ROOM);
    carts.put("ada", "milk");
    carts.world.advance(10);
    assert_eq!(carts.get("ada"), None);
    assert_eq!((carts.space.stats().entries, carts.space.stats().bytes), (0, 0));
}

#[test]
fn touch_lengthens_a_life_and_keeps_version_and_age() {
    let carts = Carts::new(ROOM);
    let version = carts.put("ada", "milk");
    carts.world.advance(9);
    let touched = carts.engine.touch(&carts.space, "north", "ada", LIFE).unwrap();
    assert_eq!((touched.version, touched.age, touched.ttl), (version, Duration::from_secs(9), LIFE));
    carts.world.advance(9);
    assert!(carts.get("ada").is_some());
}

#[test]
fn touch_revives_nothing() {
    let carts = Carts::new(ROOM);
    carts.write("ada", "milk", &["dairy"], None).unwrap();
    carts.engine.invalidate_tags(&carts.space, "north", &["dairy".to_owned()]);
    carts.put("bob", "bread");
    carts.world.advance(10);
    for key in ["ada", "bob"] {
        assert_eq!(carts.engine.touch(&carts.space, "north", key, LIFE), None);
        assert_eq!(carts.value(key), None);
    }
}

#[test]
fn compare_and_set_succeeds_on_the_version_expected_alone() {
    let carts = Carts::new(ROOM);
    let first = carts.put("ada", "milk");
    let second = carts.write("ada", "bread", &[], Some(first)).unwrap();
    assert_ne!(first, second);
    assert_eq!(carts.write("ada", "wine", &[], Some(first)), Err(Conflict));
    assert_eq!(carts.value("ada").unwrap(), "bread");
    assert_eq!(carts.space.stats().conflicts, 1);
}

#[test]
fn compare_and_set_on_an_absent_key_is_a_conflict() {
    let carts = Carts::new(ROOM);
    assert_eq!(carts.write("ada", "milk", &[], Some(0)), Err(Conflict));
    let expired = carts.put("ada", "milk");
    carts.world.advance(10);
    assert_eq!(carts.write("ada", "bread", &[], Some(expired)), Err(Conflict));
}

#[test]
fn write_that_expects_nothing_succeeds_on_an_absent_key_alone() {
    let carts = Carts::new(ROOM);
    let (bread, wine) = (Bytes::from_static(b"bread"), Bytes::from_static(b"wine"));
    carts.write_where("ada", bread.clone(), &[], Expected::Nothing).unwrap();
    assert_eq!(carts.write_where("ada", wine.clone(), &[], Expected::Nothing), Err(Conflict));
    assert_eq!(carts.engine.delete(&carts.space, "north", "ada", Expected::Nothing), Err(Conflict));
    assert_eq!(carts.value("ada"), Some(bread));
    carts.world.advance(10);
    carts.write_where("ada", wine, &[], Expected::Nothing).unwrap();
}

#[test]
fn version_of_a_deleted_value_is_never_that_of_a_later_one() {
    let carts = Carts::new(ROOM);
    let first = carts.put("ada", "milk");
    assert_eq!(carts.engine.delete(&carts.space, "north", "ada", Expected::Version(first)), Ok(Some((first, None))));
    carts.put("ada", "bread");
    assert_eq!(carts.write("ada", "wine", &[], Some(first)), Err(Conflict));
    assert_eq!(carts.engine.delete(&carts.space, "north", "ada", Expected::Version(first)), Err(Conflict));
    assert_eq!(carts.value("ada").unwrap(), "bread");
}

#[test]
fn invalidated_tag_reaches_values_put_before_under_it_and_no_others() {
    let carts = Carts::new(ROOM);
    carts.write("ada", "milk", &["dairy", "cold"], None).unwrap();
    carts.write("bob", "bread", &["dry"], None).unwrap();
    carts.engine.invalidate_tags(&carts.space, "north", &["cold".to_owned()]);
    assert_eq!((carts.value("ada"), carts.value("bob").unwrap()), (None, Bytes::from_static(b"bread")));
    carts.write("ada", "cream", &["cold"], None).unwrap();
    assert_eq!(carts.value("ada").unwrap(), "cream");
}

#[test]
fn tag_invalidated_while_a_write_compares_reaches_what_it_writes() {
    let carts = Carts::new(ROOM);
    let first = carts.write("ada", "milk", &["dairy"], None).unwrap();
    let (engine, space) = (carts.engine.clone(), carts.space.clone());
    carts.world.at_next_look(move || engine.invalidate_tags(&space, "north", &["dairy".to_owned()]));
    carts.write("ada", "cream", &["dairy"], Some(first)).unwrap();
    assert_eq!(carts.value("ada"), None, "the milk that it comes from was invalidated");
}

#[test]
fn invalidated_prefix_reaches_all_keys_that_begin_with_it_and_no_others() {
    let carts = Carts::new(NamespaceLimits { bytes: 1 << 20, entries: 1_000, changes: 100 });
    let many: Vec<_> = (0..700).map(|n| format!("user/1/{n}")).collect();
    for key in many.iter().map(String::as_str).chain(["user/10", "user/2/0", "user/1"]) {
        carts.put(key, "milk");
    }
    carts.put("user/1/5", "newer");
    carts.engine.invalidate_prefix(&carts.space, "north", "user/1/");
    assert!(many.iter().all(|key| carts.get(key).is_none()));
    assert!(["user/10", "user/2/0", "user/1"].iter().all(|key| carts.get(key).is_some()));
    assert_eq!(carts.space.stats().entries, 3);
}

#[test]
fn tenants_and_namespaces_share_no_keys_tags_or_prefixes() {
    let carts = Carts::new(ROOM);
    let sessions = carts.engine.namespace("sessions", ROOM);
    carts.write("ada", "milk", &["dairy"], None).unwrap();
    for (namespace, tenant) in [(&carts.space, "south"), (&sessions, "north"), (&carts.space, "")] {
        assert_eq!(carts.engine.get(namespace, tenant, "ada"), None);
        carts.engine.invalidate_tags(namespace, tenant, &["dairy".to_owned()]);
        carts.engine.invalidate_prefix(namespace, tenant, "");
        assert_eq!(carts.engine.delete(namespace, tenant, "ada", Expected::Anything), Ok(None));
    }
    assert_eq!(carts.value("ada").unwrap(), "milk");
}

#[test]
fn quota_of_entries_drops_what_was_put_first() {
    let carts = Carts::new(NamespaceLimits { entries: 2, ..ROOM });
    let other = carts.engine.namespace("sessions", ROOM);
    let write = Write { tenant: "", key: "s", value: Bytes::new(), tags: &[], ttl: LIFE, expected: Expected::Anything };
    carts.engine.put(&other, write).unwrap();
    for key in ["ada", "bob", "ada", "eve"] {
        carts.put(key, "milk");
    }
    let held = ["ada", "bob", "eve"].map(|key| carts.get(key).is_some());
    assert_eq!(held, [true, false, true]);
    assert!(carts.engine.get(&other, "", "s").is_some(), "one namespace makes no room in another");
}

#[test]
fn quota_of_bytes_holds_when_a_put_has_ended() {
    let carts = Carts::new(NamespaceLimits { bytes: 10_000, entries: 1_000, changes: 100 });
    for n in 0..50 {
        carts.put(&format!("key/{n}"), "a value of some bytes");
        assert!(carts.space.stats().bytes <= 10_000);
    }
    assert!(carts.space.stats().entries > 5);
}

#[test]
fn lost_invalidations_of_answers_do_not_concern_values_that_were_put() {
    let carts = Carts::new(ROOM);
    carts.put("ada", "milk");
    carts.engine.invalidate_all(None);
    assert_eq!(carts.value("ada").unwrap(), "milk");
}

#[test]
fn stats_count_reads_puts_and_what_is_held() {
    let carts = Carts::new(ROOM);
    carts.put("ada", "milk");
    carts.put("ada", "bread");
    carts.get("ada");
    carts.get("bob");
    let stats = carts.space.stats();
    assert_eq!((stats.entries, stats.hits, stats.misses, stats.puts), (1, 1, 1, 2));
    assert!(stats.bytes > 500);
}
