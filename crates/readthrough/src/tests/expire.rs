//! Invalidations that expire what has a tag, and those that delete it.

use super::*;

const MILK: Tag = Tag::from_bits(7);

fn milk() -> Read<()> {
    Read { tags: [MILK].into(), ..of("milk") }
}

async fn stored_milk(engine: &Subject, origin: &ManualOrigin) {
    let asked = ask(engine, milk());
    origin.next().await.send(says("1")).unwrap();
    assert!(asked.await.unwrap().unwrap().stored);
}

/// What a reader is told whose load fails.
async fn told(engine: &Subject, origin: &ManualOrigin, read: Read<()>) -> Answer {
    let asked = ask(engine, read);
    origin.next().await.send(fails(14)).unwrap();
    asked.await.unwrap().unwrap()
}

#[tokio::test]
async fn expired_answer_is_loaded_anew() {
    let (engine, origin, _) = subject();
    stored_milk(&engine, &origin).await;
    engine.invalidate([MILK.expiring()]);
    let asked = ask(&engine, milk());
    origin.next().await.send(says("2")).unwrap();
    assert_eq!(asked.await.unwrap().unwrap().load.unwrap(), "2");
}

#[tokio::test]
async fn expired_answer_is_served_while_the_origin_fails_and_cools_down() {
    let (engine, origin, _) = subject();
    stored_milk(&engine, &origin).await;
    engine.invalidate([MILK.expiring()]);
    let stale = told(&engine, &origin, milk()).await;
    assert_eq!((stale.load.unwrap(), stale.stale), (Bytes::from_static(b"1"), Some(Stale::OriginFailed)));
    let next = engine.read(&milk()).now_or_never().expect("the origin is left alone").unwrap();
    assert_eq!(next.stale, Some(Stale::OriginFailed));
}

#[tokio::test]
async fn expired_answer_is_not_served_where_nothing_stale_may_be() {
    let (engine, origin, _) = subject();
    stored_milk(&engine, &origin).await;
    engine.invalidate([MILK.expiring()]);
    let strict = Policy { stale_if_error: Duration::ZERO, stale_while_revalidate: Duration::ZERO, ..POLICY };
    assert_eq!(told(&engine, &origin, Read { policy: strict, ..milk() }).await.load.unwrap_err().code, 14);
}

#[tokio::test]
async fn deleted_answer_is_not_served_while_the_origin_fails_though_it_expired_as_well() {
    let (engine, origin, _) = subject();
    stored_milk(&engine, &origin).await;
    engine.invalidate([MILK, MILK.expiring()]);
    assert_eq!(told(&engine, &origin, milk()).await.load.unwrap_err().code, 14);
    assert!(engine.stale_if_error(&milk()).is_none());
}
