//! The tests of auth, each on a SQLite file of its own.

mod administration_commands;
mod client_commands;
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
use suite::{Database, admin};

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
        "relation list Product",
        "certificate-identity add dns:pay.example pay",
        "certificate-identity disable dns:pay.example",
        "principal disable ada",
        "principal remove ada",
        "key list",
        "key rotate --development",
        "key retire abc --development",
        "session list ada",
        "session end abc",
        "role list",
        "role holders reader",
        "key reseal --development",
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
fn link_is_added_listed_and_removed() {
    let database = database().into_inner();
    succeeds("principal add ada --development", &database);
    succeeds("principal link ada --issuer corp --external 5f2a", &database);
    assert_eq!(printed("principal links", &database), "corp\t5f2a\tada\n");
    assert_eq!(printed("principal links --subject bob", &database), "");
    succeeds("principal unlink ada --issuer corp --external 5f2a", &database);
    assert_eq!(printed("principal links", &database), "");
}

#[test]
fn relation_is_added_listed_and_removed() {
    let database = database().into_inner();
    let types = "[[policy.object]]\nname = 'Product'\nrelations = ['owner']\n";
    std::fs::write(database.directory.path().join("auth.toml"), types).unwrap();
    let with_types = |words: &str| format!("{words} --config auth.toml");
    succeeds("principal add ada --development", &database);
    let add = with_types("relation add Product/42 owner User/ada");
    assert_eq!(printed(&add, &database), "added\n");
    assert_eq!(printed(&add, &database), "it is there already\n");
    let list = |words: &str| printed(&with_types(&format!("relation list Product {words}")), &database);
    assert_eq!(list("--object Product/42 --subject User/ada"), "Product/42\towner\tUser/ada\n");
    assert_eq!(list("--subject User/bob"), "");
    fails("relation add Product/42 owner User/ada", &database, "no type of objects is called `Product`");
    fails("relation list Product", &database, "no type of objects is called `Product`");
    fails(&with_types("relation add Product/42 keeper User/ada"), &database, "`Product` has no relation `keeper`");
    let remove = with_types("relation remove Product/42 owner User/ada");
    assert_eq!(printed(&remove, &database), "removed\n");
    assert_eq!(printed(&remove, &database), "there is none\n");
    let log = printed("audit export", &database);
    assert!(log.contains("relation.add") && log.contains("Product/42#owner User/ada"), "{log}");
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
