//! What holds on every engine.

pub(crate) mod migration;
pub(crate) mod pool;
pub(crate) mod retries;
pub(crate) mod transaction;

use accord_store::{Connections, Location, Migrations, Pool};
use sqlx::{AnyConnection, Connection};
use tempfile::TempDir;

/// Declares each test on the engine that `place()` stands for.
macro_rules! tests {
    () => {
        suite::tests!(@ migration: step_added_later_is_applied_once_and_rows_stay,
            replicas_that_start_together_apply_each_step_once, step_that_fails_leaves_nothing_behind,
            table_made_by_a_build_that_counted_no_steps_is_kept, users_of_one_database_count_their_steps_apart,
            migration_is_waited_for_longer_than_a_statement);
        suite::tests!(@ transaction: concurrent_transactions_that_read_before_they_write_lose_no_write,
            transaction_dropped_without_commit_changes_nothing, failed_transactions_use_no_connection_up);
        suite::tests!(@ pool: probe_answers_until_the_store_is_closed, probe_fails_without_the_tables,
            committed_row_is_there_after_reopening);
        suite::tests!(@ retries: retry_repeats_a_statement_that_lost_against_another,
            retry_gives_up_when_every_attempt_conflicts, retry_does_not_repeat_other_failures);
    };
    (@ $module:ident: $($test:ident),* $(,)?) => { $(
        #[tokio::test]
        async fn $test() {
            suite::$module::$test(place().await).await;
        }
    )* };
}
pub(crate) use tests;

/// Room for a store of one's own.
pub(crate) struct Place {
    pub url: String,
    /// Stays until the test ends.
    _directory: Option<TempDir>,
}

pub(crate) const CONNECTIONS: Connections = Connections { sqlite: 4, postgres: 4 };

/// The lock statement of writers.
pub(crate) const LOCK: &str = "SELECT value FROM counters WHERE name = 'all' FOR UPDATE";

const FIRST: &[&str] = &[
    "CREATE TABLE counters (name TEXT PRIMARY KEY, value BIGINT NOT NULL)",
    "INSERT INTO counters (name, value) VALUES ('all', 0)",
];

pub(crate) static COUNTERS: Migrations = Migrations { table: "counter_steps", lock: 17, steps: &[FIRST] };

/// What a later build knows.
pub(crate) static COUNTERS_AND_MORE: Migrations = Migrations {
    table: "counter_steps",
    lock: 17,
    steps: &[FIRST, &["CREATE TABLE blobs (bytes BINARY_TYPE NOT NULL)", "UPDATE counters SET value = value + 1000"]],
};

impl Place {
    pub(crate) fn new(url: String, directory: Option<TempDir>) -> Self {
        Self { url, _directory: directory }
    }

    pub(crate) fn location(&self) -> Location {
        Location::parse(&self.url).unwrap()
    }

    pub(crate) async fn open(&self) -> Pool {
        Pool::open(&self.location(), CONNECTIONS, &COUNTERS).await.unwrap()
    }

    /// A connection that knows nothing of the pool.
    pub(crate) async fn connection(&self) -> AnyConnection {
        AnyConnection::connect(&self.url).await.unwrap()
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        self.location().file().is_some()
    }
}

/// What was counted.
pub(crate) async fn value(pool: &Pool) -> i64 {
    sqlx::query_scalar("SELECT value FROM counters WHERE name = 'all'").fetch_one(pool.connections()).await.unwrap()
}
