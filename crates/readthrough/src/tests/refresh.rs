//! Answers that are loaded again before they go stale.

use super::*;

/// A load that takes two of the ten seconds of its answer.
async fn stored_slowly(engine: &Subject, origin: &ManualOrigin, world: &ManualWorld) {
    let asked = ask(engine, of("milk"));
    let load = origin.next().await;
    world.advance(2);
    load.send(says("1")).unwrap();
    asked.await.unwrap().unwrap();
}

#[tokio::test]
async fn fresh_answer_is_loaded_again_behind_one_of_its_readers_before_it_goes_stale() {
    let (engine, origin, world) = subject();
    stored_slowly(&engine, &origin, &world).await;
    world.advance(7);
    // The last second, and a load takes two: exp(-1/2), or 61 of 100 readers.
    world.draw(0.38);
    engine.read(&of("milk")).await.unwrap();
    settle().await;
    assert!(origin.take().is_none());
    world.draw(0.40);
    for _ in 0..3 {
        let answer = engine.read(&of("milk")).await.unwrap();
        assert_eq!((answer.outcome, answer.stale), (Outcome::Hit, None));
    }
    let load = origin.next().await;
    settle().await;
    assert!(origin.take().is_none(), "one load at a time");
    world.draw(0.0);
    world.advance(1);
    load.send(says("2")).unwrap();
    settle().await;
    let answer = engine.read(&of("milk")).await.unwrap();
    assert_eq!((answer.outcome, answer.load.unwrap()), (Outcome::Hit, Bytes::from_static(b"2")));
}

#[tokio::test]
async fn early_refresh_that_fails_leaves_the_answer_and_the_origin_alone() {
    let (engine, origin, world) = subject();
    stored_slowly(&engine, &origin, &world).await;
    world.advance(7);
    world.draw(0.99);
    engine.read(&of("milk")).await.unwrap();
    origin.next().await.send(fails(14)).unwrap();
    settle().await;
    let answer = engine.read(&of("milk")).await.unwrap();
    assert_eq!((answer.outcome, answer.stale, answer.load.unwrap()), (Outcome::Hit, None, Bytes::from_static(b"1")));
    settle().await;
    assert!(origin.take().is_none(), "the origin failed a moment ago");
}

#[tokio::test]
async fn reader_who_wants_no_load_refreshes_nothing_early() {
    let (engine, origin, world) = subject();
    stored_slowly(&engine, &origin, &world).await;
    world.advance(7);
    world.draw(0.99);
    assert!(engine.stored(&of("milk")).is_some());
    settle().await;
    assert!(origin.take().is_none());
}
