//! The tests of every engine, each in a database of its own on the PostgreSQL at `ACCORD_TEST_POSTGRES_URL`, and what
//! only a server can do.

mod suite;

use std::{net::SocketAddr, time::Duration};

use accord_store::{Batches, Error, Location, Pool, literal};
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Executor, Row};
use suite::{CONNECTIONS, COUNTERS, LOCK, Place};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinSet, yield_now},
    time::timeout,
};

fn server() -> String {
    std::env::var("ACCORD_TEST_POSTGRES_URL").expect("ACCORD_TEST_POSTGRES_URL names the server")
}

async fn place() -> Place {
    let server = server();
    let name = format!("accord_{}", uuid::Uuid::new_v4().simple());
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(&server).await.unwrap();
    // The name is made here, of letters and digits.
    connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
    let (before, _) = server.rsplit_once('/').expect("the URL ends with a database's name");
    Place::new(format!("{before}/{name}"), None)
}

suite::tests!();

#[tokio::test]
async fn connections_have_statement_and_lock_timeouts() {
    let pool = place().await.open().await;
    let setting =
        async |name: &'static str| sqlx::query_scalar::<_, String>(name).fetch_one(pool.connections()).await.unwrap();
    assert_eq!(setting("SHOW statement_timeout").await, "5s");
    assert_eq!(setting("SHOW lock_timeout").await, "2s");
    assert_eq!(setting("SHOW idle_in_transaction_session_timeout").await, "10s");
}

#[tokio::test]
async fn batch_of_statements_tells_the_rows_of_each() {
    let pool = place().await.open().await;
    let mut batches = Batches::begin(&pool).await.unwrap();
    let (bytes, nothing) = (literal([0, 0xff, b'\'']), literal([]));
    let begin = "BEGIN; UPDATE counters SET value = 7; SELECT value, name FROM counters";
    let told = batches.run(format!("{begin}; SELECT {bytes}::bytea, {nothing}::bytea; COMMIT")).await.unwrap();
    batches.finish();
    let [_, updated, counters, bytes, _] = &told[..] else { panic!("{} of 5 answers", told.len()) };
    assert_eq!((updated.len(), counters[0].get::<i64, _>(0), bytes.len()), (0, 7, 1));
    assert_eq!((bytes[0].get::<Vec<u8>, _>(0), bytes[0].get::<Vec<u8>, _>(1)), (vec![0, 0xff, b'\''], vec![]));
    assert_eq!(suite::value(&pool).await, 7);
}

#[tokio::test]
async fn batches_that_fail_or_are_left_in_a_transaction_change_nothing_and_use_no_connection_up() {
    let pool = place().await.open().await;
    for _ in 0..=CONNECTIONS.postgres {
        let mut batches = Batches::begin(&pool).await.unwrap();
        assert!(batches.run("BEGIN; UPDATE counters SET value = 7; SELECT 1 / 0; COMMIT".to_owned()).await.is_err());
        let mut batches = Batches::begin(&pool).await.unwrap();
        batches.run("BEGIN; UPDATE counters SET value = 8".to_owned()).await.unwrap();
    }
    assert_eq!(suite::value(&pool).await, 0);
}

#[tokio::test]
async fn database_that_does_not_exist_is_named_with_the_cause() {
    let (before, _) = server().rsplit_once('/').map(|(before, name)| (before.to_owned(), name.to_owned())).unwrap();
    let nowhere = Location::parse(&format!("{before}/nowhere")).unwrap();
    let refused = Pool::open(&nowhere, CONNECTIONS, &COUNTERS).await.unwrap_err();
    assert!(matches!(refused, Error::Server(_)), "{refused}");
    assert!(refused.to_string().contains("\"nowhere\" does not exist"), "{refused}");
}

/// A pool whose server can go away without a word, and that silence.
async fn behind_a_wire(place: &Place) -> (Pool, watch::Sender<()>) {
    let host = place.url.split(['@', '/']).find(|part| part.contains(':') && !part.ends_with(':')).unwrap();
    let (address, silence) = wire(host.parse().unwrap()).await;
    let location = Location::parse(&place.url.replace(host, &address.to_string())).unwrap();
    (Pool::open(&location, CONNECTIONS, &COUNTERS).await.unwrap(), silence)
}

#[tokio::test]
async fn connections_in_use_are_replaced_when_the_server_falls_silent() {
    let place = place().await;
    let (pool, silence) = behind_a_wire(&place).await;
    // Every connection of the pool waits for an answer while the server goes away, and then its caller does too.
    let directly = place.open().await;
    let transaction = directly.begin(LOCK).await.unwrap();
    let mut waiting = JoinSet::new();
    for _ in 0..CONNECTIONS.postgres {
        let pool = pool.clone();
        // Again where the server lets none of them wait any longer.
        waiting.spawn(async move { while pool.begin(LOCK).await.is_err() {} });
    }
    let mut onlooker = place.connection().await;
    let blocked =
        "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let all = i64::from(CONNECTIONS.postgres);
    while sqlx::query_scalar::<_, i64>(blocked).fetch_one(&mut onlooker).await.unwrap() < all {}
    silence.send_replace(());
    waiting.abort_all();
    drop(transaction);

    let again = async { while pool.begin(LOCK).await.is_err() {} };
    timeout(Duration::from_secs(20), again).await.expect("new connections take the place of the lost ones");
}

#[tokio::test]
async fn idle_connections_are_replaced_within_one_call_when_the_server_falls_silent() {
    let place = place().await;
    let (pool, silence) = behind_a_wire(&place).await;
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS.postgres {
        held.push(pool.connections().acquire().await.unwrap());
    }
    drop(held);
    while pool.connections().num_idle() < 4 {
        yield_now().await;
    }
    silence.send_replace(());
    pool.probe().await.expect("a connection that does not answer is not waited for until the caller gives up");
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
