//! What is kept of what the origin said, and what takes it away.

use super::*;

#[tokio::test]
async fn not_found_removes_older_answer() {
    let (engine, origin, world) = subject();
    stored(&engine, &origin, "milk", "1").await;
    world.advance(30);
    for code in [5, 14] {
        let asked = ask(&engine, of("milk"));
        origin.next().await.send(fails(code)).unwrap();
        assert_eq!(asked.await.unwrap().unwrap().load.unwrap_err().code, code);
    }
}

#[tokio::test]
async fn not_found_is_stored_for_negative_ttl() {
    let (engine, origin, world) = subject();
    let negative = Read { policy: Policy { negative_ttl: Duration::from_secs(2), ..POLICY }, ..of("milk") };
    let asked = ask(&engine, negative.clone());
    origin.next().await.send(fails(5)).unwrap();
    assert!(asked.await.unwrap().unwrap().stored);
    assert_eq!(engine.read(&negative.clone()).await.unwrap().load.unwrap_err().code, 5);
    world.advance(2);
    let asked = ask(&engine, negative);
    origin.next().await.send(says("1")).unwrap();
    assert_eq!(asked.await.unwrap().unwrap().load.unwrap(), "1");
}

#[tokio::test]
async fn oversized_answer_removes_older_one_and_its_readers_bypass() {
    let (engine, origin, world) = subject();
    stored(&engine, &origin, "milk", "1").await;
    let strong = ask(&engine, Read { consistency: ConsistencyRequirement::Strong, ..of("milk") });
    origin.next().await.send(says("far too much milk")).unwrap();
    assert!(!strong.await.unwrap().unwrap().stored);
    let (one, two) = (ask(&engine, of("milk")), ask(&engine, of("milk")));
    origin.next().await.send(says("2")).unwrap();
    origin.next().await.send(says("3")).unwrap();
    assert_eq!(one.await.unwrap().unwrap().outcome, Outcome::Bypass);
    assert_eq!(two.await.unwrap().unwrap().outcome, Outcome::Bypass);
    world.advance(11);
    stored(&engine, &origin, "milk", "4").await;
}

#[tokio::test]
async fn answer_above_capacity_is_not_stored() {
    let (engine, origin, _) = subject();
    let huge = Read { policy: Policy { max_bytes: u64::MAX, ..POLICY }, ..of("milk") };
    let asked = ask(&engine, huge.clone());
    let message = Bytes::from(vec![0; 2 << 20]);
    origin.next().await.send(Ok(message).into()).unwrap();
    assert!(!asked.await.unwrap().unwrap().stored);
    let again = ask(&engine, huge);
    origin.next().await.send(says("1")).unwrap();
    assert_eq!(again.await.unwrap().unwrap().outcome, Outcome::Bypass);
}

#[tokio::test]
async fn bypass_loads_count_against_flight_limit() {
    let (engine, origin, _) = subject();
    let never = Read { policy: Policy { ttl: Duration::ZERO, ..POLICY }, ..of("milk") };
    let _loading: Vec<_> = (0..2).map(|_| ask(&engine, never.clone())).collect();
    let (_one, two) = (origin.next().await, origin.next().await);
    let third = engine.read(&never).now_or_never().expect("it is refused, and does not wait");
    assert_eq!(third.unwrap_err(), Overload::Flights);
    two.send(says("2")).unwrap();
    settle().await;
    let _third = ask(&engine, never);
    origin.next().await;
}
