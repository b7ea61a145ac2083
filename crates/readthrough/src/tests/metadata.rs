//! The kept metadata of an answer: every answer has that of the load that brought its message.

use super::*;

fn with_metadata(loaded: Loaded, metadata: &'static str) -> Loaded {
    Loaded { metadata: Bytes::from_static(metadata.as_bytes()), ..loaded }
}

/// Loads and stores an answer with the metadata `etag=1`.
async fn stored_with_metadata(engine: &Subject, origin: &ManualOrigin) -> Answer {
    let asked = ask(engine, of("milk"));
    origin.next().await.send(with_metadata(says("1"), "etag=1")).unwrap();
    asked.await.unwrap().unwrap()
}

#[tokio::test]
async fn hit_returns_metadata_that_load_brought() {
    let (engine, origin, _) = subject();
    let miss = stored_with_metadata(&engine, &origin).await;
    assert_eq!((miss.outcome, miss.metadata), (Outcome::Miss, Bytes::from_static(b"etag=1")));
    let hit = engine.read(&of("milk")).await.unwrap();
    assert_eq!((hit.outcome, hit.metadata), (Outcome::Hit, Bytes::from_static(b"etag=1")));
}

#[tokio::test]
async fn collapsed_read_returns_metadata_of_shared_load() {
    let (engine, origin, _) = subject();
    let (_first, second) = (ask(&engine, of("milk")), ask(&engine, of("milk")));
    let load = origin.next().await;
    settle().await;
    load.send(with_metadata(says("1"), "etag=1")).unwrap();
    let second = second.await.unwrap().unwrap();
    assert_eq!((second.collapsed, second.metadata), (true, Bytes::from_static(b"etag=1")));
}

#[tokio::test]
async fn stale_answer_returns_its_own_metadata_until_reload_replaces_it() {
    let (engine, origin, world) = subject();
    stored_with_metadata(&engine, &origin).await;
    world.advance(12);
    let stale = engine.read(&of("milk")).await.unwrap();
    assert_eq!((stale.stale, stale.metadata), (Some(Stale::Revalidating), Bytes::from_static(b"etag=1")));
    origin.next().await.send(with_metadata(says("2"), "etag=2")).unwrap();
    settle().await;
    assert_eq!(engine.read(&of("milk")).await.unwrap().metadata, "etag=2");
}

#[tokio::test]
async fn stale_if_error_returns_metadata_of_stored_answer_and_not_of_failure() {
    let (engine, origin, world) = subject();
    stored_with_metadata(&engine, &origin).await;
    world.advance(30);
    assert_eq!(engine.stale_if_error(&of("milk")).unwrap().metadata, "etag=1");
    world.advance(2);
    let asked = ask(&engine, of("milk"));
    origin.next().await.send(with_metadata(fails(14), "retry=later")).unwrap();
    let answer = asked.await.unwrap().unwrap();
    assert_eq!((answer.stale, answer.metadata), (Some(Stale::OriginFailed), Bytes::from_static(b"etag=1")));
}

#[tokio::test]
async fn remembered_absence_returns_metadata_that_load_brought() {
    let (engine, origin, _) = subject();
    let negative = Read { policy: Policy { negative_ttl: Duration::from_secs(2), ..POLICY }, ..of("milk") };
    let asked = ask(&engine, negative.clone());
    origin.next().await.send(with_metadata(fails(5), "why=sold")).unwrap();
    assert_eq!(asked.await.unwrap().unwrap().metadata, "why=sold");
    let hit = engine.read(&negative).await.unwrap();
    assert_eq!((hit.outcome, hit.metadata), (Outcome::Hit, Bytes::from_static(b"why=sold")));
}

#[tokio::test]
async fn bypass_returns_metadata_that_load_brought() {
    let (engine, origin, _) = subject();
    let asked = ask(&engine, Read { policy: Policy { ttl: Duration::ZERO, ..POLICY }, ..of("milk") });
    origin.next().await.send(with_metadata(says("1"), "etag=1")).unwrap();
    let answer = asked.await.unwrap().unwrap();
    assert_eq!((answer.outcome, answer.metadata), (Outcome::Bypass, Bytes::from_static(b"etag=1")));
}

#[tokio::test]
async fn answer_whose_metadata_exceeds_capacity_is_not_stored() {
    let (engine, origin, _) = subject();
    let asked = ask(&engine, of("milk"));
    let metadata = Bytes::from(vec![0; 2 << 20]);
    origin.next().await.send(Loaded { metadata, ..says("1") }).unwrap();
    assert!(!asked.await.unwrap().unwrap().stored);
}
