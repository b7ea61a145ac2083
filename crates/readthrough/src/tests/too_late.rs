//! Readers with less time than a load takes.

use super::*;

const TOO_LATE: i32 = 4;

fn hurried() -> Read<()> {
    Read { too_late: Some(Failure { code: TOO_LATE, ..Failure::default() }), ..of("milk") }
}

/// With most chances: a tenth of the readers is let through.
fn subject_that_skips() -> (Subject, ManualOrigin, ManualWorld) {
    let (engine, origin, world) = subject();
    world.draw(0.5);
    (engine, origin, world)
}

#[tokio::test]
async fn reader_with_too_little_time_fails_at_once_and_loads_nothing() {
    let (engine, origin, _) = subject_that_skips();
    let never_kept = Read { policy: Policy { ttl: Duration::ZERO, ..POLICY }, ..hurried() };
    for read in [hurried(), never_kept] {
        let told = engine.read(&read).now_or_never().expect("it does not wait").unwrap();
        assert_eq!(told.load.unwrap_err().code, TOO_LATE);
    }
    settle().await;
    assert!(origin.take().is_none());
}

#[tokio::test]
async fn reader_with_too_little_time_is_told_what_is_stored_while_that_may_be_served() {
    let (engine, origin, world) = subject_that_skips();
    stored(&engine, &origin, "milk", "1").await;
    assert_eq!(engine.read(&hurried()).await.unwrap().stale, None, "it is fresh");
    world.advance(30);
    let told = engine.read(&hurried()).now_or_never().expect("it does not wait").unwrap();
    assert_eq!((told.load.unwrap(), told.stale), (Bytes::from_static(b"1"), Some(Stale::OriginTooSlow)));
    world.advance(60);
    assert_eq!(engine.read(&hurried()).await.unwrap().load.unwrap_err().code, TOO_LATE);
    engine.invalidate([Tag::named("milk")]);
    assert_eq!(engine.read(&hurried()).await.unwrap().load.unwrap_err().code, TOO_LATE);
    settle().await;
    assert!(origin.take().is_none());
}

#[tokio::test]
async fn reader_with_too_little_time_joins_a_load_that_is_under_way() {
    let (engine, origin, _) = subject_that_skips();
    let patient = ask(&engine, of("milk"));
    let load = origin.next().await;
    let hurried = ask(&engine, hurried());
    settle().await;
    load.send(says("1")).unwrap();
    assert_eq!(patient.await.unwrap().unwrap().load.unwrap(), "1");
    assert!(hurried.await.unwrap().unwrap().collapsed);
}

#[tokio::test]
async fn one_of_ten_readers_with_too_little_time_is_let_through() {
    let (engine, origin, world) = subject_that_skips();
    world.draw(0.1);
    assert!(engine.read(&hurried()).await.unwrap().load.is_err());
    world.draw(0.099);
    let asked = ask(&engine, hurried());
    origin.next().await.send(says("1")).unwrap();
    assert_eq!(asked.await.unwrap().unwrap().load.unwrap(), "1");
}
