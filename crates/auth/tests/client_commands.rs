//! `accord-auth client`, as its administrators type it.

use std::os::unix::fs::PermissionsExt;

use accord_auth::secret_file;

use crate::{
    ADD_CACHE, database, fails, printed, run, succeeds,
    suite::forge::{Forge, key_set},
};

#[test]
fn client_add_writes_a_secret_that_only_its_owner_reads() {
    let database = database().into_inner();
    succeeds(ADD_CACHE, &database);
    let file = database.directory.path().join("cache.secret");
    assert!(secret_file::read(&file).unwrap().len() >= 32);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
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
fn client_add_with_rotate_leaves_a_secret_that_another_has_followed() {
    let database = database().into_inner();
    succeeds(ADD_CACHE, &database);
    succeeds("client rotate cache --secret-file next.secret", &database);
    let added = run(&format!("{ADD_CACHE} --if-absent --rotate"), &database);
    let words = String::from_utf8_lossy(&added.stderr);
    assert!(added.status.success() && words.contains("client rotate cache --secret-file cache.secret"), "{added:?}");
    succeeds("client add cache --if-absent --rotate --secret-file next.secret", &database);
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
    std::fs::write(database.directory.path().join("first.jwk"), first.jwk.to_string()).unwrap();
    succeeds("client add-key mill --jwk first.jwk", &database);
    let keys = printed("client list-keys mill", &database);
    assert!(keys.contains("\"kid\":\"first\"") && keys.lines().count() == 2, "{keys}");
    fails("client add-key mill --jwk both.jwks", &database, "both.jwks");
    succeeds("client remove-key mill first", &database);
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
