//! Transactions that write.

use accord_store::{Error, Pool};
use sqlx::Executor;
use tokio::task::JoinSet;

use super::{LOCK, Place, value};

async fn read_and_add(pool: &Pool) -> Result<(), Error> {
    let mut transaction = pool.begin(LOCK).await?;
    let read: i64 = sqlx::query_scalar("SELECT value FROM counters").fetch_one(&mut *transaction).await?;
    sqlx::query("UPDATE counters SET value = $1").bind(read + 1).execute(&mut *transaction).await?;
    Ok(transaction.commit().await?)
}

pub(crate) async fn concurrent_transactions_that_read_before_they_write_lose_no_write(place: Place) {
    let pool = place.open().await;
    let mut writers = JoinSet::new();
    for _ in 0..8 {
        let pool = pool.clone();
        writers.spawn(async move {
            for _ in 0..5 {
                read_and_add(&pool).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    assert_eq!(value(&pool).await, 40);
}

pub(crate) async fn transaction_dropped_without_commit_changes_nothing(place: Place) {
    let pool = place.open().await;
    let mut transaction = pool.begin(LOCK).await.unwrap();
    transaction.execute("UPDATE counters SET value = 7").await.unwrap();
    drop(transaction);
    read_and_add(&pool).await.unwrap();
    assert_eq!(value(&pool).await, 1);
}

pub(crate) async fn failed_transactions_use_no_connection_up(place: Place) {
    let pool = place.open().await;
    for _ in 0..12 {
        let mut transaction = pool.begin(LOCK).await.unwrap();
        assert!(transaction.execute("INSERT INTO counters (name, value) VALUES ('all', 1)").await.is_err());
    }
    read_and_add(&pool).await.unwrap();
    assert_eq!(value(&pool).await, 1);
}
