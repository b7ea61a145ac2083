//! Writes that go to the origin first.

use super::*;

const TTL: Duration = Duration::from_secs(10);

type Written = Result<Result<((), Option<crate::Written>), &'static str>, Overload>;

struct Carts {
    engine: Subject,
    origin: ManualOrigin,
    space: Namespace,
}

/// How a write ends at its origin.
type End = Result<Option<Committed<'static>>, &'static str>;

impl Carts {
    fn new() -> Self {
        let (engine, origin, _) = subject();
        let space = engine.namespace("carts", NamespaceLimits { bytes: 1 << 18, entries: 100, changes: 100 });
        Self { engine, origin, space }
    }

    /// A write of `ada` that ends as the test says.
    fn write(&self) -> (oneshot::Sender<End>, tokio::task::JoinHandle<Written>) {
        let (engine, space) = (self.engine.clone(), self.space.clone());
        let (end, ended) = oneshot::channel::<End>();
        let write = async move { ended.await.expect("the test says how it ends").map(|committed| ((), committed)) };
        (end, tokio::spawn(async move { engine.write_through(&space, ("north", "ada"), write).await }))
    }

    async fn written(&self, end: End) -> Written {
        let (ends, written) = self.write();
        ends.send(end).unwrap();
        written.await.unwrap()
    }

    fn load(&self) -> tokio::task::JoinHandle<Result<KeyAnswer, Overload>> {
        let (engine, space) = (self.engine.clone(), self.space.clone());
        let load =
            KeyLoad { ttl: TTL, wait_budget: Duration::from_secs(100), required: KeyRequirement::default(), call: () };
        tokio::spawn(async move { engine.load_key(&space, ("north", "ada"), &load).await })
    }

    fn found(&self) -> Option<(Bytes, Option<u64>)> {
        self.engine.get(&self.space, "north", "ada").map(|found| (found.value, found.of_origin))
    }
}

fn committed(value: &'static str, version: u64) -> Committed<'static> {
    Committed { value: Bytes::from_static(value.as_bytes()), version, tags: &[], ttl: TTL }
}

#[tokio::test]
async fn committed_value_is_held_with_the_version_of_its_origin() {
    let carts = Carts::new();
    carts.written(Ok(Some(committed("milk", 7)))).await.unwrap().unwrap();
    assert_eq!(carts.found(), Some(("milk".into(), Some(7))));
}

#[tokio::test]
async fn value_is_not_held_before_its_origin_has_it() {
    let carts = Carts::new();
    let (end, written) = carts.write();
    settle().await;
    assert_eq!(carts.found(), None);
    end.send(Ok(Some(committed("milk", 7)))).unwrap();
    written.await.unwrap().unwrap().unwrap();
    assert!(carts.found().is_some());
}

#[tokio::test]
async fn write_that_fails_leaves_the_key_holding_nothing() {
    let carts = Carts::new();
    carts.written(Ok(Some(committed("milk", 7)))).await.unwrap().unwrap();
    assert_eq!(carts.written(Err("nobody knows")).await.unwrap().unwrap_err(), "nobody knows");
    assert_eq!(carts.found(), None);
}

#[tokio::test]
async fn write_whose_caller_left_leaves_the_key_holding_nothing() {
    let carts = Carts::new();
    carts.written(Ok(Some(committed("milk", 7)))).await.unwrap().unwrap();
    let (_end, written) = carts.write();
    settle().await;
    written.abort();
    settle().await;
    assert_eq!(carts.found(), None);
}

#[tokio::test]
async fn second_writer_of_a_key_waits_for_the_first() {
    let carts = Carts::new();
    let (first, of_first) = carts.write();
    settle().await;
    let (second, of_second) = carts.write();
    second.send(Ok(Some(committed("bread", 8)))).unwrap();
    settle().await;
    assert!(!of_second.is_finished());
    first.send(Ok(Some(committed("milk", 7)))).unwrap();
    for written in [of_first, of_second] {
        written.await.unwrap().unwrap().unwrap();
    }
    assert_eq!(carts.found(), Some(("bread".into(), Some(8))));
}

#[tokio::test]
async fn load_that_began_before_a_write_was_acknowledged_is_not_held() {
    let carts = Carts::new();
    let (end, written) = carts.write();
    settle().await;
    let asked = carts.load();
    let load = carts.origin.next().await;
    end.send(Ok(Some(committed("milk", 7)))).unwrap();
    written.await.unwrap().unwrap().unwrap();
    load.send(says("older")).unwrap();
    assert!(!asked.await.unwrap().unwrap().stored);
    assert_eq!(carts.found(), Some(("milk".into(), Some(7))));
}

#[tokio::test]
async fn deleted_key_holds_nothing_and_a_load_that_began_before_is_not_held() {
    let carts = Carts::new();
    carts.written(Ok(Some(committed("milk", 7)))).await.unwrap().unwrap();
    carts.engine.forget_key(&carts.space, "north", "ada");
    let asked = carts.load();
    let load = carts.origin.next().await;
    carts.written(Ok(None)).await.unwrap().unwrap();
    load.send(says("older")).unwrap();
    asked.await.unwrap().unwrap();
    assert_eq!(carts.found(), None);
}

#[tokio::test]
async fn loaded_value_has_the_version_of_its_origin() {
    let carts = Carts::new();
    let asked = carts.load();
    carts.origin.next().await.send(Loaded { version: Some(9), ..says("milk") }).unwrap();
    asked.await.unwrap().unwrap();
    assert_eq!(carts.found(), Some(("milk".into(), Some(9))));
    let write = |expected| Write { tenant: "north", key: "ada", value: "tea".into(), tags: &[], ttl: TTL, expected };
    assert_eq!(carts.engine.put(&carts.space, write(Expected::OfOrigin(8))), Err(Conflict));
    carts.engine.put(&carts.space, write(Expected::OfOrigin(9))).unwrap();
}

/// The origin may have been changed by somebody else, who invalidates the key for that, after this write of it was committed.
#[tokio::test]
async fn value_whose_key_is_invalidated_before_its_write_ends_is_not_held() {
    let carts = Carts::new();
    let (end, written) = carts.write();
    settle().await;
    carts.engine.invalidate_prefix(&carts.space, "north", "a");
    end.send(Ok(Some(committed("milk", 7)))).unwrap();
    assert!(!written.await.unwrap().unwrap().unwrap().1.unwrap().stored);
    assert_eq!(carts.found(), None);
}

/// Who reads the old row between the invalidation and the commit must hear of the new one.
#[tokio::test]
async fn write_whose_tag_is_invalidated_before_it_commits_is_told_of() {
    let carts = Carts::new();
    let (mut watcher, _) = carts.space.watch("north", "", None);
    let (end, written) = carts.write();
    settle().await;
    carts.engine.invalidate_tags(&carts.space, "north", &["dairy".to_owned()]);
    watcher.take_next().unwrap().expect("the invalidation");
    let tags = vec!["dairy".to_owned()].leak();
    end.send(Ok(Some(Committed { tags, ..committed("milk", 7) }))).unwrap();
    written.await.unwrap().unwrap().unwrap();
    let told = watcher.take_next().unwrap().expect("the write");
    assert_eq!((&*told, carts.found()), (&Change::Forgotten("ada".into()), None));
}
