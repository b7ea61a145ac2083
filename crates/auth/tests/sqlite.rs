//! The stories of auth, each on a SQLite file of its own.

mod suite;

use std::{
    future::{Ready, ready},
    os::unix::fs::PermissionsExt,
};

use accord_auth::{manage, store::Store};
use sqlx::{Connection, Executor};
use suite::Place;

fn place() -> Ready<Place> {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("auth.db").display());
    ready(Place { url, directory })
}

suite::stories!();

#[tokio::test]
async fn a_private_key_is_nowhere_in_the_file_as_it_is() {
    let place = place().await;
    let running = suite::Running::start(&place, |_| {}).await;
    let stored = running.auth.store.keys(0).await.unwrap().remove(0);
    let private = running.auth.vault.open(&stored.kid, &stored.private).unwrap();
    // The seed of an Ed25519 key follows the 16 bytes of its form (RFC 8410, section 7).
    let secret = &private[16..48];
    let mut files = 0;
    for file in std::fs::read_dir(place.directory.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret));
        files += 1;
    }
    assert!(files > 0);
}

#[tokio::test]
async fn the_file_is_private_whatever_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a%20b c#d.db");
    Store::open(&format!("sqlite://{}", file.display())).await.unwrap();
    assert!(file.exists());
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let mode = file.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[tokio::test]
async fn a_disk_that_was_full_can_be_written_again() {
    let place = place().await;
    let running = suite::Running::start(&place, |_| {}).await;
    let (store, mut connection) = (&running.auth.store, sqlx::AnyConnection::connect(&place.url).await.unwrap());
    // A full disk makes SQLite end a transaction of its own accord, and so does this.
    let full = "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ROLLBACK, 'full'); END";
    connection.execute(full).await.unwrap();
    for _ in 0..3 {
        assert!(manage::revoke_subject(store, "ada").await.is_err());
    }
    connection.execute("DROP TRIGGER full").await.unwrap();
    for _ in 0..3 {
        manage::revoke_subject(store, "ada").await.unwrap();
    }
    assert_eq!(store.principal("ada").await.unwrap().unwrap().epoch, 3, "what failed did not happen");
}

#[test]
fn nothing_is_done_to_a_store_that_is_not_there() {
    let directory = tempfile::tempdir().unwrap();
    let store = format!("sqlite://{}", directory.path().join("nowhere.db").display());
    for what in [
        "audit verify",
        "token revoke --everything",
        "token revoke --subject ada",
        "token issue --subject ada --development",
        "role grant ada reader",
        "role remove ada reader",
        "key rotate --development",
    ] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_accord-auth"));
        let done = command.args(what.split(' ')).args(["--store", &store]).output().unwrap();
        assert_eq!(done.status.code(), Some(1), "{what}");
        assert!(String::from_utf8_lossy(&done.stderr).contains("there is no store at"), "{what}: {done:?}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "{what} left something behind");
    }
}
