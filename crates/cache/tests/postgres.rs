//! The records of idempotency keys and the invalidation log on PostgreSQL, at the address in `ACCORD_TEST_POSTGRES_URL`.

#[path = "postgres/log.rs"]
mod log;
#[path = "postgres/namespaces.rs"]
mod namespaces;
#[path = "postgres/outbox.rs"]
mod outbox;
#[path = "records/suite.rs"]
mod suite;

use accord_cache::records::Records;
use sqlx::{Connection, Executor};

pub(crate) fn url() -> String {
    std::env::var("ACCORD_TEST_POSTGRES_URL").expect("ACCORD_TEST_POSTGRES_URL names a database")
}

#[tokio::test]
async fn idempotency_records_hold_on_postgres() {
    suite::run(&Records::open(&url()).await.unwrap()).await;
}

#[tokio::test]
async fn replicas_start_together_on_one_database() {
    let url = apart("started_together").await;
    futures_util::future::try_join_all((0..8).map(|_| Records::open(&url))).await.unwrap();
}

/// The server, with tables of its own.
async fn apart(schema: &str) -> String {
    let url = url();
    sqlx::any::install_default_drivers();
    let mut operator = sqlx::AnyConnection::connect(&url).await.unwrap();
    operator.execute(sqlx::AssertSqlSafe(format!("CREATE SCHEMA {schema}"))).await.unwrap();
    let apart = if url.contains('?') { '&' } else { '?' };
    format!("{url}{apart}options[search_path]={schema}")
}
