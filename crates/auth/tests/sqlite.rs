//! The stories of auth, each on a SQLite file of its own.

mod suite;

use std::future::{Ready, ready};

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

#[test]
fn a_record_that_is_not_there_is_not_found_good() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("nowhere.db");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_accord-auth"));
    let store = format!("sqlite://{}", file.display());
    let verified = command.args(["audit", "verify", "--store", &store]).output().unwrap();
    assert_eq!(verified.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&verified.stderr).contains("there is no store at"), "{verified:?}");
    assert!(!file.exists());
}
