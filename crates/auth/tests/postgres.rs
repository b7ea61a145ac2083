//! The tests of auth, each in a database of its own on the PostgreSQL at `ACCORD_TEST_POSTGRES_URL`.

mod engines;
mod suite;

use std::time::Duration;

use accord_auth::store::Store;
use sqlx::{AssertSqlSafe, Connection, Executor};
use suite::{Database, proxy::Proxy};

fn server() -> String {
    std::env::var("ACCORD_TEST_POSTGRES_URL").expect("ACCORD_TEST_POSTGRES_URL names the server")
}

async fn database() -> Database {
    let server = server();
    let name = format!("accord_{}", uuid::Uuid::new_v4().simple());
    sqlx::any::install_default_drivers();
    let mut connection = sqlx::AnyConnection::connect(&server).await.unwrap();
    // The name is made here, of letters and digits.
    connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
    let (before, _) = server.rsplit_once('/').expect("the URL ends with a database's name");
    Database { url: format!("{before}/{name}"), directory: tempfile::tempdir().unwrap() }
}

suite::database_tests!();

/// As many as may wait with a connection at once.
const WRITERS: i64 = 4;

#[tokio::test]
async fn connections_of_a_silent_server_are_replaced() {
    let database = database().await;
    let server = server();
    let host = server.split(['@', '/']).find(|part| part.contains(':') && !part.ends_with(':')).expect("host and port");
    let proxy = Proxy::to(host.parse().unwrap()).await;
    let store = Store::open(&database.url.replace(host, &proxy.address.to_string())).await.unwrap();

    // Every writer waits for an answer while the server goes away, and then its caller does too.
    let directly = Store::open(&database.url).await.unwrap();
    let transaction = directly.begin().await.unwrap();
    let waiting: Vec<_> = (0..WRITERS)
        .map(|_| {
            let store = store.clone();
            // Again where the server lets none of them wait any longer.
            tokio::spawn(async move { while store.begin().await.is_err() {} })
        })
        .collect();
    let mut onlooker = sqlx::AnyConnection::connect(&database.url).await.unwrap();
    let blocked =
        "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(blocked).fetch_one(&mut onlooker).await.unwrap() < WRITERS {}
    proxy.stall();
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    drop(transaction);

    let again = async { while store.revision().await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(20), again)
        .await
        .expect("new connections take the place of the lost ones");
}
