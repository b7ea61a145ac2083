//! What the log of an operator shows.

use std::{
    io,
    sync::{Arc, Mutex, OnceLock},
};

use accord_store::{Connections, Error, Location, Migrations, Pool, log_failure};

static NOTES: Migrations =
    Migrations { table: "note_steps", lock: 21, steps: &[&["CREATE TABLE notes (text TEXT NOT NULL)"]] };

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// The log of this process. SQLite works on threads of its own, which a test's subscriber would not hear.
    fn of_debugging() -> Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        let log = LOG.get_or_init(|| {
            let log = Self::default();
            let writer = log.clone();
            let debug = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG);
            debug.with_writer(move || writer.clone()).init();
            log
        });
        log.clone()
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[tokio::test]
async fn statements_and_values_are_not_logged_while_debugging() {
    let log = Log::of_debugging();
    let directory = tempfile::tempdir().unwrap();
    let location = Location::sqlite(&directory.path().join("store.db"));
    let pool = Pool::open(&location, Connections { sqlite: 1, postgres: 1 }, &NOTES).await.unwrap();
    let insert = sqlx::query("INSERT INTO notes (text) VALUES ($1)").bind("hunter2");
    insert.execute(pool.connections()).await.unwrap();
    pool.probe().await.unwrap();
    pool.close().await;
    let text = log.text();
    assert!(!text.contains("note") && !text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn failures_are_logged_once_a_second_at_most() {
    let log = Log::of_debugging();
    for _ in 0..100 {
        log_failure(&Error::Database(sqlx::Error::PoolTimedOut));
    }
    let text = log.text();
    let lines = text.matches("the store failed").count();
    // A slow machine may need more than a second for a hundred.
    assert!((1..50).contains(&lines), "{text}");
}
