//! The records of idempotency keys on PostgreSQL, at the address in `ACCORD_TEST_POSTGRES_URL`.

#[path = "records/suite.rs"]
mod suite;

use accord_cache::records::Records;

#[tokio::test]
async fn the_records_keep_their_promises_on_postgres() {
    let url = std::env::var("ACCORD_TEST_POSTGRES_URL").expect("ACCORD_TEST_POSTGRES_URL names a database");
    suite::run(&Records::open(&url).await.unwrap()).await;
}
