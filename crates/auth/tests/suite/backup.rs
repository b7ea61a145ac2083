//! Backups, and what is restored from them.

use std::io::{Cursor, ErrorKind};

use accord_auth::store::{Store, copy::CopyError};
use accord_token::{Type, sign, verify};

use super::*;

pub(crate) async fn written(store: &Store) -> Vec<u8> {
    let mut file = Vec::new();
    store.backup(&mut file).await.unwrap();
    file
}

/// What a signing key is sealed with does not matter here.
pub(crate) fn opens(_: &str, _: &str) -> bool {
    true
}

pub(crate) async fn restored_store_lets_in_whom_the_backup_has_and_accepts_no_earlier_token(
    database: Database,
    other: Database,
) {
    let key = generate_secret().unwrap();
    let with_key = |config: &mut Config| config.keys.encryption_key = Secret::from(key.clone());
    let server = Server::start(&database, with_key).await;
    let (ada, known) = (server.token_of("ada").await, server.auth.state.current().await.unwrap());
    let backup = written(&server.auth.store).await;
    admin(&server.auth.store).revoke_subject("ada").await.unwrap();
    server.stop().await;

    let store = Store::open(&other.url).await.unwrap();
    store.restore(Cursor::new(&backup), opens).await.unwrap();
    store.close().await;
    let server = Server::start(&other, with_key).await;
    assert!(!server.is_active(&ada).await);
    // A key that was withdrawn after the backup may be in it, and whoever has that says what they like of the epochs.
    let mut claims = server.auth.verify_access_token(&ada, &known).unwrap().claims;
    claims.gep = u64::MAX;
    let forged = sign::sign(&claims, Type::Access, &known.signing_key(verify::now()).unwrap()).unwrap();
    assert!(!server.is_active(&forged).await);
    let again = server.log_in("ada", PASSWORD).await.unwrap().access_token;
    assert!(server.is_active(&again).await);
}

pub(crate) async fn audit_log_goes_on_behind_the_restored_one(database: Database, other: Database) {
    let server = Server::start(&database, |_| {}).await;
    let backup = written(&server.auth.store).await;
    let (before, _) = server.auth.store.audit_log().await.unwrap();
    let store = Store::open(&other.url).await.unwrap();
    store.restore(Cursor::new(&backup), opens).await.unwrap();
    let (after, broken) = store.audit_log().await.unwrap();
    assert_eq!((broken, after.len()), (None, before.len() + 1));
    assert_eq!((&after[..before.len()], &*after[before.len()].action), (&before[..], "store.restore"));
}

pub(crate) async fn backup_is_restored_into_an_empty_store_alone(database: Database, _: Database) {
    let server = Server::start(&database, |_| {}).await;
    let backup = written(&server.auth.store).await;
    let restored = server.auth.store.restore(Cursor::new(&backup), opens).await;
    assert!(matches!(restored, Err(CopyError::NotEmpty)), "{restored:?}");
}

pub(crate) async fn backup_that_was_cut_or_changed_restores_nothing(database: Database, other: Database) {
    let server = Server::start(&database, |_| {}).await;
    let backup = String::from_utf8(written(&server.auth.store).await).unwrap();
    let (cut, _) = backup.trim_end().rsplit_once('\n').unwrap();
    let store = Store::open(&other.url).await.unwrap();
    for broken in [
        cut.to_owned(),
        backup.replacen("accord-admin", "accord-other", 1),
        backup.replacen("\"principals\"", "\"principals; DROP TABLE keys\"", 1),
        backup.replacen("{\"subject\":", "{\"subject) --\":", 1),
        String::new(),
        "{}".to_owned(),
        format!("{backup}{backup}"),
    ] {
        assert!(
            matches!(store.restore(Cursor::new(&broken), opens).await, Err(CopyError::Malformed { .. })),
            "{broken}"
        );
    }
    store.restore(Cursor::new(&backup), opens).await.unwrap();
}

pub(crate) async fn backup_of_another_version_is_refused_with_the_way_out(database: Database, other: Database) {
    let server = Server::start(&database, |_| {}).await;
    let backup = String::from_utf8(written(&server.auth.store).await).unwrap();
    let store = Store::open(&other.url).await.unwrap();
    let (_, rest) = backup.split_once('\n').unwrap();
    let later = format!("{{\"accord_auth_backup\":{{\"steps\":9999}}}}\n{rest}");
    assert!(matches!(store.restore(Cursor::new(&later), opens).await, Err(CopyError::Version { theirs: 9999, .. })));
}

pub(crate) async fn backup_whose_file_is_full_is_an_error(database: Database, _: Database) {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let server = Server::start(&database, |_| {}).await;
    assert!(matches!(server.auth.store.backup(&mut Full).await, Err(CopyError::File(_))));
    // The lock is free again.
    admin(&server.auth.store).revoke_subject("ada").await.unwrap();
}

pub(crate) async fn token_issued_after_one_restore_is_refused_after_another_of_the_same_backup(
    database: Database,
    other: Database,
) {
    let key = generate_secret().unwrap();
    let with_key = |config: &mut Config| config.keys.encryption_key = Secret::from(key.clone());
    let store = Store::open(&database.url).await.unwrap();
    let mut backup = Vec::new();
    store.close().await;
    let server = Server::start(&database, with_key).await;
    server.auth.store.backup(&mut backup).await.unwrap();
    admin(&server.auth.store).revoke_everything().await.unwrap();
    let ada = server.token_of("ada").await;
    assert!(server.is_active(&ada).await);
    let epoch = server.auth.store.mark().await.unwrap().global_epoch;
    server.stop().await;

    let store = Store::open(&other.url).await.unwrap();
    store.restore(Cursor::new(&backup), opens).await.unwrap();
    // The restore came in a later second than the revocation, as any does.
    assert!(store.mark().await.unwrap().global_epoch >= epoch);
}
