//! The tests of every engine on SQLite, and what is SQLite's alone.

mod suite;

use std::{
    fs,
    future::{Ready, ready},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use accord_store::{Error, Location, Pool};
use sqlx::Executor;
use suite::{CONNECTIONS, COUNTERS, LOCK, Place, value};
use tokio::net::TcpSocket;

fn place() -> Ready<Place> {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("store.db").display());
    ready(Place::new(url, Some(directory)))
}

suite::tests!();

async fn open(location: &Location) -> Result<Pool, Error> {
    Pool::open(location, CONNECTIONS, &COUNTERS).await
}

fn mode(file: &Path) -> u32 {
    fs::metadata(file).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn file_is_private_and_its_path_is_taken_as_it_stands() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("sub")).unwrap();
    for path in ["a%20b c#d.db", "100%41.db", "sub/../up.db", "user:secret@host.db"] {
        let file = directory.path().join(path);
        let pool = open(&Location::parse(&format!("sqlite://{}", file.display())).unwrap()).await.unwrap();
        pool.connections().execute("UPDATE counters SET value = 1").await.unwrap();
        assert_eq!(mode(&file), 0o600, "{path}");
    }
    open(&Location::sqlite(&directory.path().join("what?.db"))).await.unwrap();
    let mut names = Vec::new();
    for file in fs::read_dir(directory.path()).unwrap().map(Result::unwrap).filter(|file| file.path().is_file()) {
        let name = file.file_name().into_string().unwrap();
        assert_eq!(mode(&file.path()), 0o600, "{name}");
        if file.path().extension() == Some("db".as_ref()) {
            names.push(name);
        }
    }
    names.sort();
    assert_eq!(names, ["100%41.db", "a%20b c#d.db", "up.db", "user:secret@host.db", "what?.db"]);
}

#[tokio::test]
async fn mode_of_a_file_that_exists_is_kept() {
    let place = place().await;
    let file = place.location().file().unwrap().to_owned();
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    place.open().await;
    assert_eq!(mode(&file), 0o640);
}

#[tokio::test]
async fn file_in_a_missing_directory_is_named_with_the_remedy() {
    let place = place().await;
    let nowhere = Location::sqlite(&place.location().file().unwrap().with_file_name("no/where.db"));
    let refused = open(&nowhere).await.unwrap_err().to_string();
    assert!(refused.contains("/no/where.db` can't be opened or made"), "{refused}");
    assert!(refused.ends_with("make its directory writable, or name another file"), "{refused}");
}

#[tokio::test]
async fn file_that_is_no_database_is_named_with_the_cause() {
    let place = place().await;
    fs::write(place.location().file().unwrap(), "text ".repeat(1000)).unwrap();
    let refused = open(&place.location()).await.unwrap_err().to_string();
    assert!(refused.contains("/store.db` can't be used as a SQLite database"), "{refused}");
    assert!(refused.contains("file is not a database"), "{refused}");
}

#[tokio::test]
async fn file_that_is_gone_is_not_made_anew_by_a_later_connection() {
    let place = place().await;
    let pool = place.open().await;
    fs::remove_file(place.location().file().unwrap()).unwrap();
    assert!(pool.probe().await.is_err());
    assert!(!place.location().file().unwrap().exists());
}

#[tokio::test]
async fn sqlite_connections_use_wal_full_sync_and_busy_timeout() {
    let place = place().await;
    let pool = place.open().await;
    let setting =
        async |name: &'static str| sqlx::query_scalar::<_, i64>(name).fetch_one(pool.connections()).await.unwrap();
    assert_eq!(setting("PRAGMA synchronous").await, 2);
    assert_eq!(setting("PRAGMA foreign_keys").await, 1);
    assert_eq!(setting("PRAGMA busy_timeout").await, 2000, "a writer does not wait as long as a migration");
    let journal = sqlx::query_scalar::<_, String>("PRAGMA journal_mode").fetch_one(pool.connections()).await;
    assert_eq!(journal.unwrap(), "wal");
}

#[tokio::test]
async fn write_succeeds_again_after_a_full_disk() {
    let place = place().await;
    let pool = place.open().await;
    let mut connection = place.connection().await;
    // A full disk makes SQLite end a transaction of its own accord, and so does this.
    let full = "CREATE TRIGGER full BEFORE UPDATE ON counters BEGIN SELECT RAISE(ROLLBACK, 'full'); END";
    connection.execute(full).await.unwrap();
    for _ in 0..2 * CONNECTIONS.sqlite {
        let mut transaction = pool.begin(LOCK).await.unwrap();
        assert!(transaction.execute("UPDATE counters SET value = value + 1").await.is_err());
    }
    connection.execute("DROP TRIGGER full").await.unwrap();
    for _ in 0..2 * CONNECTIONS.sqlite {
        let mut transaction = pool.begin(LOCK).await.unwrap();
        transaction.execute("UPDATE counters SET value = value + 1").await.unwrap();
        transaction.commit().await.unwrap();
    }
    assert_eq!(value(&pool).await, i64::from(2 * CONNECTIONS.sqlite), "what failed did not happen");
}

#[tokio::test]
async fn error_of_a_server_tells_the_cause_and_never_the_password() {
    // Bound, and not listening: it refuses, and nobody else gets its port meanwhile.
    let bound = TcpSocket::new_v4().unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let refused = format!("postgres://user:hunter2@{}/database", bound.local_addr().unwrap());
    for (url, cause) in [(refused.as_str(), "refused"), ("postgres://user:hunter2@host:port/database", "port")] {
        let error = open(&Location::parse(url).unwrap()).await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(matches!(error, Error::Server(_)), "{shown}");
        assert!(shown.contains(cause) && shown.contains("check the URL"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
