//! Copies of the store: backups, the exported audit log, and files that were put back, cut or lost their mark.

use std::os::unix::fs::PermissionsExt;

use accord_auth::{
    config::Config,
    domain::{auth::Auth, encryption_key::generate_secret},
    store::{Store, schema},
};
use accord_runtime::config::Secret;
use sqlx::Connection;

use crate::{
    database, run,
    suite::{self, admin, config},
};

#[tokio::test]
async fn every_table_is_in_a_backup() {
    let database = database().await;
    let server = suite::Server::start(&database, |_| {}).await;
    let mut connection = sqlx::AnyConnection::connect(&database.url).await.unwrap();
    let names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'schema_steps' ORDER BY name";
    let names: Vec<String> = sqlx::query_scalar(names).fetch_all(&mut connection).await.unwrap();
    let mut copied = schema::TABLES.to_vec();
    copied.sort_unstable();
    assert_eq!(names, copied);
    server.stop().await;
}

#[test]
fn backup_is_written_for_its_owner_alone_and_restored() {
    let (from, to) = (database().into_inner(), database().into_inner());
    for words in ["principal add ada", "token issue --subject ada"] {
        assert!(run(&format!("{words} --development"), &from).status.success());
    }
    let file = from.directory.path().join("backup.jsonl");
    let backup = run("backup backup.jsonl --development", &from);
    assert!(backup.status.success() && backup.stdout.starts_with(b"good: "), "{backup:?}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let again = run("backup backup.jsonl --development", &from);
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("never replaced"), "{again:?}");

    let refused = run(&format!("restore {} --development", file.display()), &to);
    let words = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && words.contains("keys.encryption_key_file"), "{refused:?}");
    let key = |database: &suite::Database| database.directory.path().join("auth.db.key");
    std::fs::copy(key(&from), key(&to)).unwrap();
    let restored = run(&format!("restore {} --development", file.display()), &to);
    assert!(restored.status.success(), "{restored:?}");
    let listed = run("principal list --development", &to);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("ada"), "{listed:?}");
}

#[test]
fn mark_of_the_configured_store_is_not_held_against_one_that_is_named_by_the_command() {
    let database = database().into_inner();
    let mark = database.directory.path().join("other.mark");
    std::fs::write(&mark, "torn").unwrap();
    let with_mark = "[store]\nurl = 'sqlite://other.db'\nmark_file = 'other.mark'\n";
    std::fs::write(database.directory.path().join("with-mark.toml"), with_mark).unwrap();
    let added = run("principal add ada --development --config with-mark.toml", &database);
    assert!(added.status.success(), "{added:?}");
    assert_eq!(std::fs::read_to_string(&mark).unwrap(), "torn");
    assert!(String::from_utf8_lossy(&added.stderr).contains("`store.mark_file` is left out"), "{added:?}");
}

#[tokio::test]
async fn mark_that_cannot_be_reached_fails_the_start_and_revokes_nothing() {
    let database = database().await;
    let before = Store::open(&database.url).await.unwrap().mark().await.unwrap();
    let mark = database.directory.path().join("not-mounted/auth.mark");
    assert!(Store::open_with_mark(&database.url, Some(&mark)).await.is_err());
    assert_eq!(Store::open(&database.url).await.unwrap().mark().await.unwrap(), before);
}

#[test]
fn audit_log_is_exported_as_a_line_of_json_a_row() {
    let database = database().into_inner();
    assert!(run("principal add ada --development", &database).status.success());
    assert!(run("principal add bob --development", &database).status.success());
    let lines = |words: &str| {
        let exported = run(words, &database);
        let text = String::from_utf8(exported.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()).collect::<Vec<_>>()
    };
    let all = lines("audit export --development");
    assert_eq!(all[1]["previous"], all[0]["hash"]);
    let last = all.len() - 1;
    assert_eq!(lines(&format!("audit export --after {last} --development")), all[last..]);
    let ahead = run(&format!("audit export --after {} --development", all.len() + 1), &database);
    assert!(!ahead.status.success() && String::from_utf8_lossy(&ahead.stderr).contains("read it anew"), "{ahead:?}");
}

#[tokio::test]
async fn file_put_back_while_auth_was_stopped_revives_nothing() {
    let database = database().await;
    let (file, copy) = (database.directory.path().join("auth.db"), database.directory.path().join("copy"));
    let key = generate_secret().unwrap();
    let start =
        async || suite::Server::start(&database, |config| config.keys.encryption_key = Secret::from(key.clone())).await;
    let server = start().await;
    let ada = server.token_of("ada").await;
    server.auth.store.close().await;
    server.stop().await;
    std::fs::copy(&file, &copy).unwrap();

    let server = start().await;
    assert!(server.is_active(&ada).await);
    admin(&server.auth.store).revoke_subject("ada").await.unwrap();
    server.auth.store.close().await;
    server.stop().await;
    std::fs::copy(&copy, &file).unwrap();

    let server = start().await;
    assert!(!server.is_active(&ada).await);
    assert!(server.is_active(&server.token_of("ada").await).await, "what is issued afterwards is good");
}

#[tokio::test]
async fn truncated_file_lets_nobody_in() {
    let key = generate_secret().unwrap();
    for keep in [0, 1, 2, 3] {
        let database = database().await;
        let file = database.directory.path().join("auth.db");
        let with_key = |config: &mut Config| config.keys.encryption_key = Secret::from(key.clone());
        let server = suite::Server::start(&database, with_key).await;
        let (ada, config) = (server.token_of("ada").await, config(&database, with_key));
        server.auth.store.close().await;
        server.stop().await;
        let length = std::fs::metadata(&file).unwrap().len();
        std::fs::File::options().write(true).open(&file).unwrap().set_len(length * keep / 4).unwrap();
        // It does not start, or it knows nobody.
        let Ok(auth) = Auth::open(&config).await else { continue };
        let state = auth.state.current().await.unwrap();
        assert!(auth.verify_access_token(&ada, &state).is_err(), "{keep}/4 of {length} bytes");
        assert!(auth.issue_token("ada", std::time::Duration::from_mins(1), "test").await.is_err());
    }
}

#[tokio::test]
async fn mark_that_cannot_be_read_revokes_everything_once() {
    let database = database().await;
    let store = Store::open(&database.url).await.unwrap();
    let before = store.mark().await.unwrap();
    store.close().await;
    std::fs::write(database.directory.path().join("auth.db.mark"), "torn").unwrap();
    let store = Store::open(&database.url).await.unwrap();
    let after = store.mark().await.unwrap();
    assert!(after.global_epoch > before.global_epoch);
    store.close().await;
    let store = Store::open(&database.url).await.unwrap();
    assert_eq!(store.mark().await.unwrap(), after);
}
