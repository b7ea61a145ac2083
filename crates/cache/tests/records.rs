//! The records of idempotency keys on SQLite.

#[path = "records/suite.rs"]
mod suite;

use std::time::{Duration, SystemTime};

use accord_cache::records::{Completion, Decision, Kept, Name, Records, RecordsError};

#[tokio::test]
async fn the_records_keep_their_promises_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("records.db").display());
    suite::run(&Records::open(&url).await.unwrap()).await;
}

#[tokio::test]
async fn an_answer_outlives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("records.db").display());
    let name = Name { method: "m".into(), owner: "o".into(), key: "k".into() };
    let (hour, now) = (Duration::from_hours(1), SystemTime::now());
    let answer = Kept { code: 9, message: "no".into(), details: vec![1], response: vec![] };

    let first = Records::open(&url).await.unwrap();
    let Decision::Claimed(claim) = first.begin(&name, &[1; 32], hour, hour, now).await.unwrap() else {
        panic!("a new key is free");
    };
    assert_eq!(first.complete(&claim, &answer, now).await.unwrap(), Completion::Kept);
    first.close().await;

    let second = Records::open(&url).await.unwrap();
    assert_eq!(second.begin(&name, &[1; 32], hour, hour, now).await.unwrap(), Decision::Answered(answer));
}

#[tokio::test]
async fn closed_records_are_unreachable() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("records.db").display());
    let records = Records::open(&url).await.unwrap();
    assert!(records.reachable().await);
    records.close().await;
    assert!(!records.reachable().await);
    assert!(matches!(Records::open("mysql://host/db").await, Err(RecordsError::Address)));
}
