//! The records of idempotency keys on PostgreSQL, at the address in `ACCORD_TEST_POSTGRES_URL`.

#[path = "records/suite.rs"]
mod suite;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use accord_cache::records::Records;
use sqlx::{Connection, Executor};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

/// As many as the pool holds.
const CONNECTIONS: i64 = 8;

fn url() -> String {
    std::env::var("ACCORD_TEST_POSTGRES_URL").expect("ACCORD_TEST_POSTGRES_URL names a database")
}

#[tokio::test]
async fn the_records_keep_their_promises_on_postgres() {
    suite::run(&Records::open(&url()).await.unwrap()).await;
}

#[tokio::test]
async fn replicas_may_start_together() {
    let url = url();
    sqlx::any::install_default_drivers();
    let mut operator = sqlx::AnyConnection::connect(&url).await.unwrap();
    operator.execute("CREATE SCHEMA started_together").await.unwrap();
    let apart = if url.contains('?') { '&' } else { '?' };
    let url = format!("{url}{apart}options[search_path]=started_together");
    futures_util::future::try_join_all((0..8).map(|_| Records::open(&url))).await.unwrap();
}

#[tokio::test]
async fn a_server_that_went_away_without_a_word_is_done_without() {
    let url = url();
    let host = url.split(['@', '/']).find(|part| part.contains(':') && !part.ends_with(':')).expect("host and port");
    let (address, silence) = wire(host.parse().unwrap()).await;
    let records = Records::open(&url.replace(host, &address.to_string())).await.unwrap();

    // Every connection of the pool waits for an answer while the server goes away, and then its caller does too.
    let mut lock = sqlx::AnyConnection::connect(&url).await.unwrap();
    lock.execute("BEGIN").await.unwrap();
    lock.execute("LOCK TABLE idempotency_records").await.unwrap();
    // Another one, since within a transaction the activities are those of its beginning.
    let mut onlooker = sqlx::AnyConnection::connect(&url).await.unwrap();
    let sweep = |records: Records| tokio::spawn(async move { records.sweep(SystemTime::now()).await.map(drop) });
    let waiting: Vec<_> = (0..CONNECTIONS).map(|_| sweep(records.clone())).collect();
    let blocked =
        "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(blocked).fetch_one(&mut onlooker).await.unwrap() < CONNECTIONS {}
    silence.send_replace(());
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    lock.execute("ROLLBACK").await.unwrap();

    let again = async { while records.sweep(SystemTime::now()).await.is_err() {} };
    timeout(Duration::from_secs(20), again).await.expect("new connections take the place of the lost ones");
}

/// A wire to `target`. What goes over the connections that are open at a silence never arrives, and neither end is told.
async fn wire(target: SocketAddr) -> (SocketAddr, watch::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let silence = watch::Sender::new(());
    let silences = silence.clone();
    tokio::spawn(async move {
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            let mut silent = silences.subscribe();
            tokio::spawn(async move {
                let mut far = TcpStream::connect(target).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    _ = silent.changed() => std::future::pending().await,
                }
            });
        }
    });
    (address, silence)
}
