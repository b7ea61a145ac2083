//! Answers that are not fresh, and who gets them.

use super::*;

#[tokio::test]
async fn stale_while_revalidate_serves_stored_answer_while_one_reload_runs() {
    let (engine, origin, world) = subject();
    stored(&engine, &origin, "milk", "1").await;
    world.advance(12);
    for _ in 0..3 {
        let stale = engine.read(&of("milk")).await.unwrap();
        assert_eq!((stale.outcome, stale.stale), (Outcome::Hit, Some(Stale::Revalidating)));
    }
    origin.next().await.send(says("2")).unwrap();
    settle().await;
    assert!(origin.take().is_none());
    assert_eq!(engine.read(&of("milk")).await.unwrap().load.unwrap(), "2");
}

#[tokio::test]
async fn reader_who_wants_no_load_gets_what_is_stored_while_it_may_be_served() {
    let (engine, origin, world) = subject();
    assert!(engine.stored(&of("milk")).is_none());
    stored(&engine, &origin, "milk", "1").await;
    assert_eq!(engine.stored(&of("milk")).unwrap().outcome, Outcome::Hit);
    world.advance(12);
    assert_eq!(engine.stored(&of("milk")).unwrap().stale, Some(Stale::Revalidating));
    world.advance(12);
    assert!(engine.stored(&of("milk")).is_none(), "stale-if-error needs an error");
    settle().await;
    assert!(origin.take().is_none(), "the origin was called");
}

#[tokio::test]
async fn load_behind_stale_answer_has_load_timeout_and_not_time_of_reader() {
    let (engine, origin, world) = subject();
    stored(&engine, &origin, "milk", "1").await;
    world.advance(12);
    let hurried = Read { wait_budget: Duration::from_millis(1), ..of("milk") };
    assert_eq!(engine.read(&hurried).await.unwrap().stale, Some(Stale::Revalidating));
    origin.next().await.send(says("2")).unwrap();
    assert_eq!(*origin.times.lock().unwrap(), [Duration::from_secs(100), Duration::from_secs(7)]);
}

#[tokio::test]
async fn stale_answer_is_served_on_failure_and_origin_cools_down() {
    let (engine, origin, world) = subject();
    stored(&engine, &origin, "milk", "1").await;
    world.advance(30);
    let asked = ask(&engine, of("milk"));
    origin.next().await.send(fails(14)).unwrap();
    assert_eq!(asked.await.unwrap().unwrap().stale, Some(Stale::OriginFailed));
    assert_eq!(engine.read(&of("milk")).await.unwrap().stale, Some(Stale::OriginFailed));
    assert!(origin.take().is_none(), "the origin was asked again at once");
    world.advance(2);
    let asked = ask(&engine, of("milk"));
    origin.next().await.send(says("2")).unwrap();
    assert_eq!(asked.await.unwrap().unwrap().load.unwrap(), "2");
}

#[tokio::test]
async fn stale_if_error_is_refused_after_invalidation_and_for_permission_denied() {
    let (engine, origin, world) = subject();
    stored(&engine, &origin, "milk", "1").await;
    world.advance(30);
    let asked = ask(&engine, of("milk"));
    origin.next().await.send(fails(7)).unwrap();
    assert_eq!(asked.await.unwrap().unwrap().load.unwrap_err().code, 7);
    engine.invalidate([Tag::named("milk")]);
    let asked = ask(&engine, of("milk"));
    origin.next().await.send(fails(14)).unwrap();
    assert_eq!(asked.await.unwrap().unwrap().load.unwrap_err().code, 14);
}

#[tokio::test]
async fn max_staleness_read_does_not_join_older_load_and_follows_it() {
    let (engine, origin, world) = subject();
    stored(&engine, &origin, "milk", "1").await;
    world.advance(5);
    let consistency = |seconds| Read {
        consistency: ConsistencyRequirement::MaxStaleness(Duration::from_secs(seconds)),
        ..of("milk")
    };
    assert_eq!(engine.read(&consistency(6)).await.unwrap().outcome, Outcome::Hit);
    let asked = ask(&engine, consistency(4));
    let slow = origin.next().await;
    world.advance(5);
    let stricter = ask(&engine, consistency(3));
    settle().await;
    slow.send(says("2")).unwrap();
    assert_eq!(asked.await.unwrap().unwrap().load.unwrap(), "2");
    origin.next().await.send(says("3")).unwrap();
    assert_eq!(stricter.await.unwrap().unwrap().load.unwrap(), "3");
}

#[tokio::test]
async fn load_goes_on_and_is_stored_after_its_reader_took_a_stale_answer() {
    let (engine, origin, world) = subject();
    stored(&engine, &origin, "milk", "1").await;
    world.advance(30);
    let asked = ask(&engine, of("milk"));
    let load = origin.next().await;
    assert_eq!(engine.stale_if_error(&of("milk")).unwrap().load.unwrap(), "1");
    asked.abort();
    settle().await;
    load.send(says("2")).unwrap();
    settle().await;
    let answer = engine.read(&of("milk")).await.unwrap();
    assert_eq!((answer.outcome, answer.load.unwrap()), (Outcome::Hit, Bytes::from_static(b"2")));
}

#[tokio::test]
async fn stale_if_error_on_request_serves_stored_answer_unless_invalidated() {
    let (engine, origin, world) = subject();
    assert!(engine.stale_if_error(&of("milk")).is_none());
    stored(&engine, &origin, "milk", "1").await;
    world.advance(30);
    assert_eq!(engine.stale_if_error(&of("milk")).unwrap().stale, Some(Stale::OriginFailed));
    let next = engine.read(&of("milk")).now_or_never().expect("others need not wait");
    assert_eq!(next.unwrap().stale, Some(Stale::OriginFailed));
    assert!(engine.stale_if_error(&Read { consistency: ConsistencyRequirement::Strong, ..of("milk") }).is_none());
    engine.invalidate([Tag::named("milk")]);
    assert!(engine.stale_if_error(&of("milk")).is_none());
}
