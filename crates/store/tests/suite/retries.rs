//! What is repeated, and what is not.

use std::cell::Cell;

use accord_store::{Error, Pool, retry};
use sqlx::Executor;

use super::{Place, value};

async fn add_one(pool: &Pool) -> Result<(), sqlx::Error> {
    pool.connections().execute("UPDATE counters SET value = value + 1").await.map(drop)
}

/// Writes upon a state that another one has changed meanwhile.
async fn write_too_late(pool: &Pool, place: &Place) -> Result<(), sqlx::Error> {
    let begin = if place.is_sqlite() { "BEGIN" } else { "BEGIN ISOLATION LEVEL REPEATABLE READ" };
    let mut late = pool.connections().begin_with(begin).await?;
    sqlx::query("SELECT value FROM counters").fetch_one(&mut *late).await?;
    add_one(pool).await?;
    late.execute("UPDATE counters SET value = value + 100").await?;
    late.commit().await
}

pub(crate) async fn retry_repeats_a_statement_that_lost_against_another(place: Place) {
    let (pool, attempts) = (place.open().await, Cell::new(0));
    let statement = || async {
        attempts.set(attempts.get() + 1);
        if attempts.get() == 1 { write_too_late(&pool, &place).await } else { add_one(&pool).await }
    };
    retry(statement).await.unwrap();
    assert_eq!((attempts.get(), value(&pool).await), (2, 2));
}

pub(crate) async fn retry_gives_up_when_every_attempt_conflicts(place: Place) {
    let (pool, attempts) = (place.open().await, Cell::new(0));
    let statement = || async {
        attempts.set(attempts.get() + 1);
        write_too_late(&pool, &place).await
    };
    let given_up = retry(statement).await.unwrap_err();
    assert!(matches!(given_up, Error::Database(_)), "{given_up}");
    assert_eq!((attempts.get(), value(&pool).await), (5, 5));
}

pub(crate) async fn retry_does_not_repeat_other_failures(place: Place) {
    let (pool, attempts) = (place.open().await, Cell::new(0));
    let statement = || async {
        attempts.set(attempts.get() + 1);
        pool.connections().execute("INSERT INTO counters (name, value) VALUES ('all', 1)").await
    };
    assert!(retry(statement).await.is_err());
    assert_eq!(attempts.get(), 1);
}
