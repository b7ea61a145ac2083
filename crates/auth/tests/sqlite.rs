//! The tests of auth, each on a SQLite file of its own.

mod copies;
mod policies;
mod suite;

use std::{
    future::{Ready, ready},
    os::unix::fs::PermissionsExt,
    process::{Command, Output},
};

use accord_auth::{secret_file, store::Store};
use sqlx::{Connection, Executor};
use suite::{
    Database, admin,
    forge::{Forge, key_set},
};

fn database() -> Ready<Database> {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("auth.db").display());
    ready(Database { url, directory })
}

suite::database_tests!();

#[tokio::test]
async fn private_key_is_encrypted_in_the_files() {
    let database = database().await;
    let server = suite::Server::start(&database, |_| {}).await;
    let stored = server.auth.store.keys(0).await.unwrap().remove(0);
    let private = server.auth.encryption_key.decrypt(&stored.kid, &stored.private).unwrap();
    // The seed of an Ed25519 key follows the 16 bytes of its form (RFC 8410, section 7).
    let secret = &private[16..48];
    let mut files = 0;
    for file in std::fs::read_dir(database.directory.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret));
        files += 1;
    }
    assert!(files > 0);
}

#[tokio::test]
async fn files_are_readable_by_their_owner_alone() {
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
async fn full_disk_fails_changes_until_there_is_room() {
    let database = database().await;
    let server = suite::Server::start(&database, |_| {}).await;
    let (store, mut connection) = (&server.auth.store, sqlx::AnyConnection::connect(&database.url).await.unwrap());
    // A full disk makes SQLite end a transaction of its own accord, and so does this.
    let full = "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ROLLBACK, 'full'); END";
    connection.execute(full).await.unwrap();
    for _ in 0..3 {
        assert!(admin(store).revoke_subject("ada").await.is_err());
    }
    connection.execute("DROP TRIGGER full").await.unwrap();
    for _ in 0..3 {
        admin(store).revoke_subject("ada").await.unwrap();
    }
    assert_eq!(store.principal("ada").await.unwrap().unwrap().epoch, 3, "what failed did not happen");
}

/// What the binary does with these words and this store.
fn run(words: &str, database: &Database) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_accord-auth"));
    let command =
        command.current_dir(database.directory.path()).args(words.split(' ')).args(["--store", &database.url]);
    command.output().unwrap()
}

#[track_caller]
fn succeeds(words: &str, database: &Database) {
    let done = run(words, database);
    assert!(done.status.success(), "{words}: {done:?}");
}

/// Fails, and says so with these words.
#[track_caller]
fn fails(words: &str, database: &Database, saying: &str) {
    let done = run(words, database);
    assert_eq!(done.status.code(), Some(1), "{words}");
    assert!(String::from_utf8_lossy(&done.stderr).contains(saying), "{words}: {done:?}");
}

#[test]
fn command_on_a_store_that_is_not_there_fails_and_makes_nothing() {
    let database = database().into_inner();
    for words in [
        "audit verify",
        "token revoke --everything",
        "token revoke --subject ada",
        "token issue --subject ada --development",
        "role grant ada reader",
        "role remove ada reader",
        "client rotate ada --secret-file ada.secret",
        "client list",
        "principal show ada",
        "api-key list",
        "api-key show ak_0123456789abcdef",
        "api-key disable ak_0123456789abcdef",
        "certificate-identity list",
        "certificate-identity add dns:pay.example pay",
        "certificate-identity disable dns:pay.example",
        "principal disable ada",
        "principal remove ada",
        "key rotate --development",
    ] {
        fails(words, &database, "there is no store at");
        assert_eq!(std::fs::read_dir(database.directory.path()).unwrap().count(), 0, "{words} left something behind");
    }
}

const ADD_CACHE: &str = "client add cache --role accord-mesh --secret-file cache.secret --development";

/// What the binary prints with these words and this store.
fn printed(words: &str, database: &Database) -> String {
    String::from_utf8(run(words, database).stdout).unwrap()
}

#[test]
fn api_key_is_written_for_its_owner_alone_and_shown_nowhere_else() {
    let database = database().into_inner();
    succeeds("principal add ada --development", &database);
    succeeds("api-key add ada --key-file ada.key --permission orders.read --note nightly --development", &database);
    let file = database.directory.path().join("ada.key");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let key = std::fs::read_to_string(file).unwrap();
    let (id, secret) = key.trim().split_at(19);
    let list = printed("api-key list --subject ada", &database);
    assert_eq!(list, format!("{id}\tada\tactive\tnightly\n"));
    let shown = printed(&format!("api-key show {id}"), &database);
    assert!(shown.contains("scope    orders.read\n") && !shown.contains(secret), "{shown}");
    succeeds(&format!("api-key disable {id}"), &database);
    assert!(printed("api-key list", &database).contains("disabled"));
    succeeds(&format!("api-key enable {id}"), &database);
    succeeds(&format!("api-key rotate {id} --key-file next.key --overlap 0s --development"), &database);
    assert!(printed(&format!("api-key show {id}"), &database).contains("state    expired"));
    succeeds(&format!("api-key remove {id}"), &database);
    fails(&format!("api-key show {id}"), &database, "is no API key");
}

#[test]
fn certificate_identity_is_added_shown_and_ended_by_its_name() {
    let (database, name) = (database().into_inner(), "spiffe://prod.example/ns/shop/sa/pay");
    succeeds("principal add pay --kind service --development", &database);
    fails("certificate-identity add pay pay", &database, "is no identity of a certificate");
    succeeds(&format!("certificate-identity add {name} pay --note shop"), &database);
    fails(&format!("certificate-identity add {name} pay"), &database, "exists already");
    let list = printed("certificate-identity list --subject pay", &database);
    let (id, rest) = list.split_once('\t').unwrap();
    assert_eq!(rest, format!("{name}\tpay\tactive\tshop\n"));
    let shown = printed(&format!("certificate-identity show {id}"), &database);
    assert!(shown.contains(&format!("name     {name}\n")) && shown.contains("used     never\n"), "{shown}");
    succeeds(&format!("certificate-identity disable {name}"), &database);
    assert!(printed("certificate-identity list", &database).contains("disabled"));
    succeeds(&format!("certificate-identity enable {name}"), &database);
    succeeds(&format!("certificate-identity remove {name}"), &database);
    fails(&format!("certificate-identity show {name}"), &database, "is no certificate identity");
}

#[test]
fn client_add_writes_a_secret_that_only_its_owner_reads() {
    let database = database().into_inner();
    succeeds(ADD_CACHE, &database);
    let file = database.directory.path().join("cache.secret");
    assert!(secret_file::read(&file).unwrap().len() >= 32);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn principal_add_with_a_role_that_no_policy_names_warns() {
    let database = database().into_inner();
    let added = run("principal add ada --role accord-mehs --role accord-mesh --development", &database);
    let words = String::from_utf8_lossy(&added.stderr);
    assert!(added.status.success() && words.contains("no policy names the role `accord-mehs`"), "{added:?}");
    assert!(!words.contains("role `accord-mesh`"), "{added:?}");
}

#[test]
fn client_add_before_the_policies_are_there_warns() {
    let added = run(&format!("{ADD_CACHE} --policy later.cedar"), &database().into_inner());
    let words = String::from_utf8_lossy(&added.stderr);
    assert!(added.status.success() && words.contains("are not compared with the policies"), "{added:?}");
}

#[test]
fn client_add_names_the_store_and_says_when_it_was_made() {
    let database = database().into_inner();
    for (id, made) in [("cache", ", which was made now"), ("orders", "")] {
        let added = run(&format!("client add {id} --secret-file {id}.secret"), &database);
        let expected = format!("added the client `{id}` in {}{made}; its secret is in {id}.secret\n", database.url);
        assert_eq!(String::from_utf8_lossy(&added.stdout), expected, "{added:?}");
    }
}

#[test]
fn client_add_takes_the_secret_that_is_there() {
    let database = database().into_inner();
    let file = database.directory.path().join("cache.secret");
    std::fs::write(&file, "x".repeat(43)).unwrap();
    succeeds(ADD_CACHE, &database);
    assert_eq!(secret_file::read(&file).unwrap(), "x".repeat(43));
}

#[test]
fn client_add_with_a_short_secret_names_the_file() {
    let database = database().into_inner();
    std::fs::write(database.directory.path().join("cache.secret"), "short").unwrap();
    fails(ADD_CACHE, &database, "cache.secret");
}

#[test]
fn client_add_if_absent_leaves_a_client_that_exists() {
    let database = database().into_inner();
    succeeds(ADD_CACHE, &database);
    let file = database.directory.path().join("cache.secret");
    let before = secret_file::read(&file).unwrap();
    succeeds(&format!("{ADD_CACHE} --if-absent"), &database);
    assert_eq!(secret_file::read(&file).unwrap(), before);
}

#[test]
fn client_add_if_absent_warns_where_the_secret_differs() {
    let database = database().into_inner();
    succeeds(ADD_CACHE, &database);
    std::fs::write(database.directory.path().join("cache.secret"), "y".repeat(43)).unwrap();
    let added = run(&format!("{ADD_CACHE} --if-absent"), &database);
    let words = String::from_utf8_lossy(&added.stderr);
    assert!(added.status.success() && words.contains("client rotate cache --secret-file cache.secret"), "{added:?}");
}

#[test]
fn client_add_with_rotate_takes_over_a_secret_that_differs() {
    let database = database().into_inner();
    succeeds(ADD_CACHE, &database);
    std::fs::write(database.directory.path().join("cache.secret"), "y".repeat(43)).unwrap();
    for said in ["has another secret", "is left as it is"] {
        let added = run(&format!("{ADD_CACHE} --if-absent --rotate"), &database);
        assert!(added.status.success() && String::from_utf8_lossy(&added.stdout).contains(said), "{added:?}");
    }
}

#[test]
fn client_show_tells_how_many_secrets_are_valid() {
    let database = database().into_inner();
    let said = |words: &str| String::from_utf8(run(words, &database).stdout).unwrap();
    said(ADD_CACHE);
    assert!(said("client show cache").contains("roles    accord-mesh\nsecrets  1\n"));
    let rotated = said("client rotate cache --secret-file next.secret");
    assert!(rotated.contains("the earlier one is valid until 2"), "{rotated}");
    assert!(said("client show cache").contains("secrets  2; the earlier one is valid until 2"));
}

#[test]
fn client_keys_are_added_shown_rotated_and_removed() {
    let database = database().into_inner();
    let write =
        |name: &str, keys: &[&Forge]| std::fs::write(database.directory.path().join(name), key_set(keys)).unwrap();
    let (first, second) = (Forge::ed25519("first"), Forge::p256("second"));
    write("first.jwks", &[&first]);
    write("both.jwks", &[&first, &second]);
    write("second.jwks", &[&second]);
    succeeds("client add mill --jwks first.jwks", &database);
    let shown = printed("client show mill", &database);
    assert!(shown.ends_with("roles    none\nkey      EdDSA first\n"), "{shown}");
    succeeds("client add mill --jwks both.jwks --if-absent --rotate", &database);
    assert!(printed("client show mill", &database).ends_with("key      EdDSA first\nkey      ES256 second\n"));
    succeeds("client rotate mill --jwks second.jwks", &database);
    assert!(printed("client show mill", &database).contains("key      EdDSA first; valid until 2"));
    succeeds("client remove-key mill first", &database);
    assert!(printed("client show mill", &database).ends_with("roles    none\nkey      ES256 second\n"));
    fails("client remove-key mill first", &database, "has no key `first`; `accord-auth client show` names");
}

#[test]
fn client_add_with_a_private_key_in_the_set_names_the_file_and_prints_nothing_of_it() {
    let database = database().into_inner();
    let mut key = Forge::ed25519("first");
    key.jwk["d"] = "c2VjcmV0".into();
    std::fs::write(database.directory.path().join("mill.jwks"), key_set(&[&key])).unwrap();
    fails("client add mill --jwks mill.jwks", &database, "mill.jwks");
    fails("client add mill --jwks mill.jwks", &database, "there is a private key or a secret in it");
    let done = run("client add mill --jwks mill.jwks", &database);
    assert!(!String::from_utf8_lossy(&done.stderr).contains("c2VjcmV0"), "{done:?}");
}

#[test]
fn command_about_a_client_that_is_none_says_how_to_add_it() {
    let database = database().into_inner();
    succeeds("principal add bob --development", &database);
    for command in ["show bob", "disable bob", "remove bob", "rotate bob --secret-file new.secret"] {
        fails(&format!("client {command}"), &database, "`bob` is no client; correct the id, or add it");
    }
}

#[test]
fn list_shows_who_is_disabled_and_not_who_is_removed() {
    let database = database().into_inner();
    for words in ["principal add bob --role reader --development", "principal add eve --development", ADD_CACHE] {
        succeeds(words, &database);
    }
    succeeds("principal disable bob", &database);
    succeeds("principal remove eve", &database);
    let listed = String::from_utf8(run("principal list", &database).stdout).unwrap();
    assert_eq!(listed, "bob\tuser\tdisabled\troles=reader\ncache\tservice\tactive\troles=accord-mesh\n");
}

#[test]
fn client_add_of_one_that_exists_fails() {
    let database = database().into_inner();
    succeeds(ADD_CACHE, &database);
    fails(ADD_CACHE, &database, "use --if-absent");
}

#[test]
fn client_add_if_absent_fails_where_the_secret_is_lost() {
    let database = database().into_inner();
    succeeds(ADD_CACHE, &database);
    std::fs::remove_file(database.directory.path().join("cache.secret")).unwrap();
    fails(&format!("{ADD_CACHE} --if-absent"), &database, "the store holds only a hash of it");
}

#[test]
fn principal_add_if_absent_leaves_one_that_exists() {
    let database = database().into_inner();
    succeeds("principal add bob --role reader --development", &database);
    succeeds("principal add bob --development --if-absent", &database);
    fails("principal add bob --development", &database, "`bob` exists already");
}

#[test]
fn key_new_never_replaces_a_file() {
    let database = database().into_inner();
    let file = database.directory.path().join("key");
    succeeds("key new key", &database);
    let before = secret_file::read(&file).unwrap();
    fails("key new key", &database, "a file that exists is never replaced");
    assert_eq!(secret_file::read(&file).unwrap(), before);
}

#[test]
fn principal_add_says_what_it_did() {
    let database = database().into_inner();
    let said = |flags: &str| {
        let done = run(&format!("principal add eve --development {flags}"), &database);
        String::from_utf8(done.stdout).unwrap()
    };
    assert_eq!(said("--kind user"), format!("added `eve` in {}, which was made now\n", database.url));
    assert_eq!(said("--if-absent"), "`eve` exists, and is left as it is\n");
}

#[test]
fn command_about_an_unknown_subject_says_how_to_add_it() {
    let database = database().into_inner();
    succeeds("principal add eve --development", &database);
    let remedy = "`you` is not known; correct the name, or add it with `accord-auth principal add`";
    for command in ["token issue", "token revoke"] {
        fails(&format!("{command} --subject you --development"), &database, remedy);
    }
}

#[test]
fn check_names_the_flag_for_a_missing_key() {
    let checked = run("check", &database().into_inner());
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(said.contains("(--encryption-key-file)") && !said.contains("correct it"), "{checked:?}");
}

#[test]
fn help_of_check_says_what_is_not_looked_at() {
    let help = run("check --help", &database().into_inner());
    let help = String::from_utf8_lossy(&help.stdout);
    assert!(help.contains("Not looked at: the network, ports, what is in a store"), "{help}");
    assert!(help.lines().any(|line| line.contains("--output <FORMAT>  ")), "each flag with its help on a line: {help}");
}
