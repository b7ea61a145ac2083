//! The records of idempotency keys on PostgreSQL, at the address in `ACCORD_TEST_POSTGRES_URL`.

#[path = "postgres/namespaces.rs"]
mod namespaces;
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
    let url = url();
    sqlx::any::install_default_drivers();
    let mut operator = sqlx::AnyConnection::connect(&url).await.unwrap();
    operator.execute("CREATE SCHEMA started_together").await.unwrap();
    let apart = if url.contains('?') { '&' } else { '?' };
    let url = format!("{url}{apart}options[search_path]=started_together");
    futures_util::future::try_join_all((0..8).map(|_| Records::open(&url))).await.unwrap();
}
