//! Loads that many share: who joins, who is left alone, and how they end.

use super::*;

#[tokio::test]
async fn concurrent_reads_share_one_load_and_later_reads_hit() {
    let (engine, origin, world) = subject();
    let (first, second) = (ask(&engine, of("milk")), ask(&engine, of("milk")));
    let load = origin.next().await;
    settle().await;
    world.advance(2);
    load.send(says("1")).unwrap();
    let (first, second) = (first.await.unwrap().unwrap(), second.await.unwrap().unwrap());
    assert_eq!((first.outcome, first.stored, first.collapsed), (Outcome::Miss, true, false));
    assert_eq!((second.outcome, second.stored, second.collapsed), (Outcome::Miss, false, true));
    world.advance(1);
    let third = engine.read(&of("milk")).await.unwrap();
    assert_eq!((third.outcome, third.age), (Outcome::Hit, Duration::from_secs(3)));
    assert!(origin.take().is_none());
}

#[tokio::test]
async fn span_of_a_load_is_told_to_those_alone_who_waited_for_the_load_of_another() {
    let (engine, origin, _) = subject();
    let (first, second) = (ask(&engine, of("milk")), ask(&engine, of("milk")));
    let load = origin.next().await;
    settle().await;
    load.send(Loaded { trace: Some(TRACE), ..says("1") }).unwrap();
    let (first, second) = (first.await.unwrap().unwrap(), second.await.unwrap().unwrap());
    assert_eq!((first.trace, second.trace), (None, Some(TRACE)));
    assert_eq!(engine.read(&of("milk")).await.unwrap().trace, None);
}

#[tokio::test]
async fn span_of_a_failed_load_is_told_to_whom_gets_a_stale_answer_in_its_place() {
    let (engine, origin, world) = subject();
    stored(&engine, &origin, "milk", "1").await;
    world.advance(20);
    let (first, second) = (ask(&engine, of("milk")), ask(&engine, of("milk")));
    let load = origin.next().await;
    settle().await;
    load.send(Loaded { trace: Some(TRACE), ..fails(14) }).unwrap();
    let (first, second) = (first.await.unwrap().unwrap(), second.await.unwrap().unwrap());
    assert_eq!((first.stale, second.stale), (Some(Stale::OriginFailed), Some(Stale::OriginFailed)));
    assert_eq!((first.trace, second.trace), (None, Some(TRACE)));
}

#[tokio::test]
async fn read_after_invalidation_does_not_join_older_load() {
    let (engine, origin, _) = subject();
    let before = ask(&engine, of("milk"));
    let old = origin.next().await;
    engine.invalidate([Tag::named("milk")]);
    let after = ask(&engine, of("milk"));
    origin.next().await.send(says("new")).unwrap();
    assert_eq!(after.await.unwrap().unwrap().load.unwrap(), "new");
    old.send(says("old")).unwrap();
    let before = before.await.unwrap().unwrap();
    assert_eq!((before.load.unwrap(), before.stored), (Bytes::from_static(b"old"), false));
    assert_eq!(engine.read(&of("milk")).await.unwrap().load.unwrap(), "new");
}

#[tokio::test]
async fn invalidation_of_answer_tag_reaches_loads_in_flight() {
    let (engine, origin, _) = subject();
    let before = ask(&engine, of("list"));
    let old = origin.next().await;
    engine.invalidate([Tag::named("product/1")]);
    let after = ask(&engine, of("list"));
    settle().await;
    old.send(Loaded { tags: Some(vec![Tag::named("product/1")]), ..says("old") }).unwrap();
    assert_eq!(before.await.unwrap().unwrap().load.unwrap(), "old");
    origin.next().await.send(says("new")).unwrap();
    assert_eq!(after.await.unwrap().unwrap().load.unwrap(), "new");
}

#[tokio::test]
async fn load_outlives_first_waiter_and_is_cancelled_with_last() {
    let (engine, origin, _) = subject();
    let (first, second) = (ask(&engine, of("milk")), ask(&engine, of("milk")));
    let load = origin.next().await;
    settle().await;
    first.abort();
    settle().await;
    assert!(!load.is_closed());
    second.abort();
    settle().await;
    assert!(load.is_closed());
}

#[tokio::test]
async fn waiter_with_wait_budget_left_reloads_after_starter_deadline() {
    let (engine, origin, world) = subject();
    let hurried = |seconds| Read { wait_budget: Duration::from_secs(seconds), ..of("milk") };
    let short = ask(&engine, hurried(2));
    let first = origin.next().await;
    let (long, longer) = (ask(&engine, of("milk")), ask(&engine, of("milk")));
    settle().await;
    world.advance(2);
    first.send(fails(4)).unwrap();
    assert_eq!(short.await.unwrap().unwrap().load.unwrap_err().code, 4);
    let second = origin.next().await;
    settle().await;
    assert!(origin.take().is_none(), "those who go on share a load");
    second.send(says("1")).unwrap();
    assert_eq!(long.await.unwrap().unwrap().load.unwrap(), "1");
    assert_eq!(longer.await.unwrap().unwrap().load.unwrap(), "1");
}

#[tokio::test]
async fn waiter_joins_no_second_load_with_too_short_deadline() {
    let (engine, origin, world) = subject();
    let hurried = || Read { wait_budget: Duration::from_secs(2), ..of("milk") };
    let short = ask(&engine, hurried());
    let first = origin.next().await;
    let long = ask(&engine, of("milk"));
    settle().await;
    world.advance(2);
    engine.invalidate([Tag::named("milk")]);
    let _next = ask(&engine, hurried());
    let _second = origin.next().await;
    first.send(fails(4)).unwrap();
    assert_eq!(short.await.unwrap().unwrap().load.unwrap_err().code, 4);
    origin.next().await.send(says("1")).unwrap();
    assert_eq!(long.await.unwrap().unwrap().load.unwrap(), "1");
}

fn strong(name: &str) -> Read<()> {
    Read { consistency: ConsistencyRequirement::Strong, ..of(name) }
}

#[tokio::test]
async fn strong_reads_share_one_load_that_starts_when_the_one_in_flight_has_ended() {
    let (engine, origin, _) = subject();
    let first = ask(&engine, of("milk"));
    let running = origin.next().await;
    let strong = [ask(&engine, strong("milk")), ask(&engine, strong("milk"))];
    settle().await;
    assert!(origin.take().is_none(), "one load at a time");
    running.send(says("old")).unwrap();
    assert!(first.await.unwrap().unwrap().stored, "nobody's wish keeps it from being stored");
    let next = origin.next().await;
    settle().await;
    assert!(origin.take().is_none(), "those who asked while it ran share the next one");
    next.send(says("new")).unwrap();
    for answer in strong {
        let answer = answer.await.unwrap().unwrap();
        assert_eq!((answer.load.unwrap(), answer.outcome), (Bytes::from_static(b"new"), Outcome::Request));
    }
    assert_eq!(engine.read(&of("milk")).await.unwrap().load.unwrap(), "new");
}

#[tokio::test]
async fn strong_read_after_an_invalidation_waits_for_no_older_load() {
    let (engine, origin, _) = subject();
    let _first = ask(&engine, of("milk"));
    let _running = origin.next().await;
    engine.invalidate([Tag::named("milk")]);
    let strong = ask(&engine, strong("milk"));
    origin.next().await.send(says("new")).unwrap();
    assert_eq!(strong.await.unwrap().unwrap().load.unwrap(), "new");
}

#[tokio::test]
async fn origin_timeout_before_starter_deadline_fails_all_waiters() {
    let (engine, origin, world) = subject();
    stored(&engine, &origin, "milk", "1").await;
    world.advance(100);
    let (first, second) = (ask(&engine, of("milk")), ask(&engine, of("milk")));
    let load = origin.next().await;
    settle().await;
    world.advance(50);
    load.send(fails(4)).unwrap();
    for answer in [first, second] {
        assert_eq!(answer.await.unwrap().unwrap().load.unwrap_err().code, 4);
    }
    assert!(origin.take().is_none());
}

#[tokio::test]
async fn panic_in_load_is_internal_to_waiters_and_next_load_runs() {
    let (engine, origin, _) = subject();
    let asked = ask(&engine, of("milk"));
    drop(origin.next().await);
    assert_eq!(asked.await.unwrap().unwrap().load.unwrap_err().code, 13);
    stored(&engine, &origin, "milk", "1").await;
}

#[tokio::test]
async fn waiters_and_loads_beyond_limits_are_refused() {
    let (engine, origin, _) = subject();
    let _waiting: Vec<_> = (0..3).map(|_| ask(&engine, of("milk"))).collect();
    let _load = origin.next().await;
    settle().await;
    assert_eq!(engine.read(&of("milk")).await.unwrap_err(), Overload::Waiters);
    let _bread = ask(&engine, of("bread"));
    let _second = origin.next().await;
    assert_eq!(engine.read(&of("salt")).await.unwrap_err(), Overload::Flights);
}

#[tokio::test]
async fn ten_thousand_readers_of_an_expired_key_are_one_load() {
    let (engine, origin, world) = subject_with(Limits { waiters: 10_000, ..LIMITS });
    stored(&engine, &origin, "milk", "old").await;
    world.advance(100);
    let asked: Vec<_> = (0..10_000).map(|_| ask(&engine, of("milk"))).collect();
    let load = origin.next().await;
    settle().await;
    load.send(says("new")).unwrap();
    for answer in asked {
        assert_eq!(answer.await.unwrap().unwrap().load.unwrap(), "new");
    }
    assert_eq!(origin.times.lock().unwrap().len(), 2, "the first one, and one for all");
}

#[tokio::test]
async fn permission_denied_to_starter_lets_other_waiters_load_alone() {
    let (engine, origin, _) = subject();
    let (turned_away, welcome) = (ask(&engine, of("milk")), ask(&engine, of("milk")));
    let load = origin.next().await;
    settle().await;
    load.send(fails(7)).unwrap();
    assert_eq!(turned_away.await.unwrap().unwrap().load.unwrap_err().code, 7);
    origin.next().await.send(says("1")).unwrap();
    let welcome = welcome.await.unwrap().unwrap();
    assert_eq!((welcome.load.unwrap(), welcome.outcome), (Bytes::from_static(b"1"), Outcome::Bypass));
}

#[tokio::test]
async fn shorter_ttl_of_joining_reader_counts_for_its_answer() {
    let (engine, origin, _) = subject();
    let shorter = Read { policy: Policy { ttl: Duration::from_secs(1), ..POLICY }, ..of("milk") };
    let (_first, second) = (ask(&engine, of("milk")), ask(&engine, shorter));
    let load = origin.next().await;
    settle().await;
    load.send(says("1")).unwrap();
    assert_eq!(second.await.unwrap().unwrap().lifetime, Duration::from_secs(1));
}
