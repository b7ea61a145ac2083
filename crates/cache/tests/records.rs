//! The records of idempotency keys on SQLite.

#[path = "records/suite.rs"]
mod suite;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use accord_cache::records::{Completion, Decision, Name, NewClaim, RecordedAnswer, Records, RecordsError};
use sqlx::{Connection, Executor};

#[tokio::test]
async fn idempotency_records_hold_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("records.db").display());
    suite::run(&Records::open(&url).await.unwrap()).await;
}

/// The test is its own other process: where this variable names records, it acknowledges and waits to be killed.
const RECORDS: &str = "ACCORD_TEST_RECORDS_URL";

#[tokio::test]
async fn acknowledged_record_survives_a_killed_process() {
    if let Ok(url) = std::env::var(RECORDS) {
        return acknowledge(&Records::open(&url).await.unwrap()).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("records.db").display());
    let mut other = Command::new(std::env::current_exe().unwrap())
        .args(["acknowledged_record_survives_a_killed_process", "--exact", "--nocapture"])
        .env(RECORDS, &url)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(other.stdout.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().ends_with("acknowledged")), "the other process ended too early");
    other.kill().unwrap();
    other.wait().unwrap();

    let records = Records::open(&url).await.unwrap();
    assert_eq!(begin(&records, "answered").await, Decision::Answered(answer()));
    assert!(matches!(begin(&records, "claimed").await, Decision::InFlight(_)));
}

async fn acknowledge(records: &Records) {
    begin(records, "claimed").await;
    let Decision::Claimed(claim) = begin(records, "answered").await else { panic!("a new key is free") };
    assert_eq!(records.complete(&claim, &answer(), SystemTime::now()).await.unwrap(), Completion::Stored);
    println!("acknowledged");
    std::future::pending::<()>().await;
}

async fn begin(records: &Records, key: &str) -> Decision {
    let name = Name { method: "m".to_owned(), owner: "o".to_owned(), key: key.to_owned() };
    let hour = Duration::from_hours(1);
    records.begin(&NewClaim::new(&name, &[1; 32], hour, hour), SystemTime::now()).await.unwrap()
}

fn answer() -> RecordedAnswer {
    RecordedAnswer { code: 9, message: "no".to_owned(), details: vec![1], ..RecordedAnswer::default() }
}

#[tokio::test]
async fn records_file_is_private_and_its_path_is_taken_literally() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("100%41.db");
    let records = Records::open(&format!("sqlite://{}", file.display())).await.unwrap();
    begin(&records, "one").await;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert!(entry.file_name().to_str().unwrap().starts_with("100%41.db"), "{entry:?}");
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
    }

    let nowhere = Records::open(&format!("sqlite://{}/no/where.db", folder.path().display())).await.unwrap_err();
    assert!(nowhere.to_string().contains("/no/where.db` can't be opened"), "{nowhere}");
}

#[tokio::test]
async fn closed_records_are_unreachable() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("records.db").display());
    let records = Records::open(&url).await.unwrap();
    assert!(records.reachable().await);
    records.close().await;
    assert!(!records.reachable().await);
    assert!(matches!(Records::open("mysql://host/db").await, Err(RecordsError::Store(accord_store::Error::Url))));
}

/// The table as the build before made it that had a base of its own.
const PREVIOUS_BUILD: &str = "
    CREATE TABLE IF NOT EXISTS idempotency_records (
        method TEXT NOT NULL,
        owner TEXT NOT NULL,
        key TEXT NOT NULL,
        digest BLOB NOT NULL,
        claim TEXT NOT NULL UNIQUE,
        lease_until BIGINT NOT NULL,
        expires_at BIGINT NOT NULL,
        window_ms BIGINT NOT NULL,
        answered BIGINT NOT NULL,
        code BIGINT NOT NULL,
        message TEXT NOT NULL,
        details BLOB NOT NULL,
        response BLOB NOT NULL,
        PRIMARY KEY (method, owner, key)
    );
    CREATE INDEX IF NOT EXISTS idempotency_records_expiry ON idempotency_records (expires_at);
    INSERT INTO idempotency_records VALUES
        ('m', 'o', 'old', zeroblob(32), 'claim', 0, 9000000000000000, 3600000, 1, 9, 'no', x'01', x'');";

#[tokio::test]
async fn records_of_the_previous_build_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("records.db").display());
    sqlx::any::install_default_drivers();
    let mut connection = sqlx::AnyConnection::connect(&format!("{url}?mode=rwc")).await.unwrap();
    connection.execute(PREVIOUS_BUILD).await.unwrap();
    let records = Records::open(&url).await.unwrap();
    let name = Name { method: "m".to_owned(), owner: "o".to_owned(), key: "old".to_owned() };
    let hour = Duration::from_hours(1);
    let decision = records.begin(&NewClaim::new(&name, &[0; 32], hour, hour), SystemTime::now()).await.unwrap();
    assert_eq!(decision, Decision::Answered(answer()));
    assert!(matches!(begin(&records, "new").await, Decision::Claimed(_)));
}
