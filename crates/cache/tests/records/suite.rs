//! Idempotency records on every database. Each test has keys of its own, so that they share a database.

use std::time::{Duration, SystemTime};

use accord_cache::records::{Completion, Decision, Name, NewClaim, RecordedAnswer, Records};
use uuid::Uuid;

const WINDOW: Duration = Duration::from_hours(1);
const LEASE: Duration = Duration::from_secs(10);
const DIGEST: &[u8] = &[1; 32];

fn fresh() -> Name {
    Name { method: "shop.Orders/Place".to_owned(), owner: "north/ada".to_owned(), key: Uuid::new_v4().to_string() }
}

fn answer() -> RecordedAnswer {
    RecordedAnswer { response: vec![0, 255, 7], metadata: vec![255, 0], ..RecordedAnswer::default() }
}

async fn claim(records: &Records, name: &Name, now: SystemTime) -> String {
    match records.begin(&NewClaim::new(name, DIGEST, WINDOW, LEASE), now).await.unwrap() {
        Decision::Claimed(claim) => claim,
        other => panic!("not claimed but {other:?}"),
    }
}

/// Runs everything.
pub(crate) async fn run(records: &Records) {
    recorded_answer_is_replayed(records).await;
    one_of_many_concurrent_claims_succeeds(records).await;
    claim_asked_for_again_under_its_name_is_the_same(records).await;
    another_request_under_the_key_is_refused(records).await;
    released_claim_is_free(records).await;
    ended_lease_lets_the_same_request_run_again(records).await;
    ended_window_forgets_the_record(records).await;
    answer_is_recorded_whatever_its_message_says(records).await;
}

async fn recorded_answer_is_replayed(records: &Records) {
    let (name, now) = (fresh(), SystemTime::now());
    let claim = claim(records, &name, now).await;
    assert_eq!(records.complete(&claim, &answer(), now).await.unwrap(), Completion::Stored);
    assert_eq!(records.complete(&claim, &RecordedAnswer::default(), now).await.unwrap(), Completion::Stored);
    records.abandon(&claim).await.unwrap();
    let again = records.begin(&NewClaim::new(&name, DIGEST, WINDOW, LEASE), now + LEASE * 2).await.unwrap();
    assert_eq!(again, Decision::Answered(answer()));
}

async fn claim_asked_for_again_under_its_name_is_the_same(records: &Records) {
    let (name, now) = (fresh(), SystemTime::now());
    let named = NewClaim::new(&name, DIGEST, WINDOW, LEASE);
    let claim = named.id.clone();
    for _ in 0..2 {
        let begun = records.begin(&named, now).await.unwrap();
        assert_eq!(begun, Decision::Claimed(claim.clone()));
    }
    let other = records.begin(&NewClaim::new(&name, DIGEST, WINDOW, LEASE), now).await.unwrap();
    assert_eq!(other, Decision::InFlight(LEASE));
    records.complete(&claim, &answer(), now).await.unwrap();
    let late = records.begin(&named, now).await.unwrap();
    assert_eq!(late, Decision::Answered(answer()));
}

async fn one_of_many_concurrent_claims_succeeds(records: &Records) {
    let (name, now) = (fresh(), SystemTime::now());
    let claims = (0..16).map(|_| {
        let (records, name) = (records.clone(), name.clone());
        tokio::spawn(async move { records.begin(&NewClaim::new(&name, DIGEST, WINDOW, LEASE), now).await.unwrap() })
    });
    let mut claimed = 0;
    for claim in claims.collect::<Vec<_>>() {
        match claim.await.unwrap() {
            Decision::Claimed(_) => claimed += 1,
            Decision::InFlight(left) => assert_eq!(left, LEASE),
            other => panic!("neither claimed nor in flight but {other:?}"),
        }
    }
    assert_eq!(claimed, 1);
}

async fn another_request_under_the_key_is_refused(records: &Records) {
    let (name, now) = (fresh(), SystemTime::now());
    claim(records, &name, now).await;
    let other = records.begin(&NewClaim::new(&name, &[2; 32], WINDOW, LEASE), now + LEASE * 2).await.unwrap();
    assert_eq!(other, Decision::Mismatch);
    let elsewhere = Name { owner: "south/ada".to_owned(), ..name };
    claim(records, &elsewhere, now).await;
}

async fn released_claim_is_free(records: &Records) {
    let (name, now) = (fresh(), SystemTime::now());
    let first = claim(records, &name, now).await;
    records.abandon(&first).await.unwrap();
    claim(records, &name, now).await;
    assert_eq!(records.complete(&first, &answer(), now).await.unwrap(), Completion::ClaimLost);
}

async fn ended_lease_lets_the_same_request_run_again(records: &Records) {
    let (name, now) = (fresh(), SystemTime::now());
    let first = claim(records, &name, now).await;
    let second = claim(records, &name, now + LEASE).await;
    assert_eq!(records.complete(&first, &answer(), now).await.unwrap(), Completion::ClaimLost);
    assert_eq!(records.complete(&second, &answer(), now).await.unwrap(), Completion::Stored);
}

async fn ended_window_forgets_the_record(records: &Records) {
    let (name, now) = (fresh(), SystemTime::now());
    let first = claim(records, &name, now).await;
    records.complete(&first, &answer(), now).await.unwrap();
    let another = records.begin(&NewClaim::new(&name, &[2; 32], WINDOW, LEASE), now + WINDOW).await.unwrap();
    assert!(matches!(another, Decision::Claimed(_)));
    assert!(records.sweep(now + WINDOW * 3).await.unwrap() > 0);
    claim(records, &name, now).await;
}

async fn answer_is_recorded_whatever_its_message_says(records: &Records) {
    let (name, now) = (fresh(), SystemTime::now());
    let claim = claim(records, &name, now).await;
    let odd = RecordedAnswer { code: 9, message: "a\0b\u{1f95b}\n".to_owned(), ..RecordedAnswer::default() };
    assert_eq!(records.complete(&claim, &odd, now).await.unwrap(), Completion::Stored);
    let stored = RecordedAnswer { message: "a\u{fffd}b\u{1f95b}\n".to_owned(), ..odd };
    assert_eq!(
        records.begin(&NewClaim::new(&name, DIGEST, WINDOW, LEASE), now).await.unwrap(),
        Decision::Answered(stored)
    );
}
