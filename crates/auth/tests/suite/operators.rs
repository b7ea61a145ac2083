//! What operators do from the command line.

use std::time::Duration;

use accord_api::accord::{
    auth::v1::{RevokeRequest, RotateRequest, key_service_client::KeyServiceClient, revoke_request::Target},
    fault::v1::Reason,
};
use accord_auth::{manage, store::Store};
use accord_token::{Kind, Refusal, Type, verify};
use sqlx::{AssertSqlSafe, Connection, Executor};

use super::{PASSWORD, Place, Running, authorized, principal, refused};

pub(crate) async fn adding_what_exists_changes_nothing_when_asked_so(place: Place) {
    let store = Store::open(&place.url).await.unwrap();
    let secret = place.directory.path().join("cache.secret");
    let cache = principal("cache", Kind::Service, &["accord-mesh"]);
    manage::add_client(&store, &cache, &secret, true).await.unwrap();
    let written = manage::read(&secret).unwrap();
    assert!(written.len() >= 32);
    manage::add_client(&store, &cache, &secret, true).await.unwrap();
    assert_eq!(manage::read(&secret).unwrap(), written);
    assert!(manage::add_client(&store, &cache, &secret, false).await.is_err());
    std::fs::remove_file(&secret).unwrap();
    assert!(manage::add_client(&store, &cache, &secret, true).await.is_err(), "the secret is lost, and that is said");

    let bob = principal("bob", Kind::User, &[]);
    manage::add_principal(&store, &bob, Some("long enough"), true).await.unwrap();
    let password = store.password("bob").await.unwrap();
    manage::add_principal(&store, &bob, Some("another one"), true).await.unwrap();
    assert_eq!(store.password("bob").await.unwrap(), password);
    assert!(manage::add_principal(&store, &bob, None, false).await.is_err());
    let eve = principal("eve", Kind::User, &[]);
    assert!(manage::add_principal(&store, &eve, Some("short"), false).await.is_err());
}

pub(crate) async fn a_granted_role_shows_in_the_next_token(place: Place) {
    let running = Running::start(&place, |_| {}).await;
    let before = running.token_of("ada").await;
    manage::grant_role(&running.auth.store, "ada", "catalog-writer").await.unwrap();
    let after = running.token_of("ada").await;
    let state = running.auth.ledger.current().await.unwrap();
    assert!(running.auth.access_token(&before, &state).is_err(), "it does not show the role");
    let claims = running.auth.access_token(&after, &state).unwrap().claims;
    assert_eq!(claims.roles, ["catalog-reader", "catalog-writer"]);
    assert_eq!(verify::signed(&after, Type::Access, &state.snapshot.keys).unwrap().claims, claims);
}

pub(crate) async fn a_role_taken_away_ends_the_tokens_that_show_it(place: Place) {
    let running = Running::start(&place, |_| {}).await;
    let before = running.token_of("ada").await;
    manage::remove_role(&running.auth.store, "ada", "catalog-reader").await.unwrap();
    let after = running.token_of("ada").await;
    let state = running.auth.ledger.current().await.unwrap();
    assert_eq!(running.auth.access_token(&before, &state).unwrap_err(), Refusal::Revoked);
    assert!(running.auth.access_token(&after, &state).unwrap().claims.roles.is_empty());
    assert!(manage::remove_role(&running.auth.store, "ada", "catalog-reader").await.is_err(), "there is none to take");
}

pub(crate) async fn a_client_never_takes_over_the_roles_of_somebody_who_exists(place: Place) {
    let running = Running::start(&place, |_| {}).await;
    let (store, secret) = (&running.auth.store, place.directory.path().join("root.secret"));
    let root = principal("root", Kind::Service, &[]);
    for absent_only in [false, true] {
        assert!(manage::add_client(store, &root, &secret, absent_only).await.is_err());
    }
    assert_eq!(store.client("root").await.unwrap(), None);
    assert!(!secret.exists(), "no secret is written for a client that is not there");
}

pub(crate) async fn what_could_not_be_used_is_not_made(place: Place) {
    let running = Running::start(&place, |_| {}).await;
    let store = &running.auth.store;
    for name in ["", "two words", "line\nbreak", &"x".repeat(257)] {
        assert!(manage::add_principal(store, &principal(name, Kind::User, &[]), None, false).await.is_err(), "{name}");
    }
    let roles: Vec<_> = (0..40).map(|number| format!("{number}{}", "x".repeat(98))).collect();
    let roles: Vec<_> = roles.iter().map(String::as_str).collect();
    let much = principal("much", Kind::User, &roles);
    assert!(manage::add_principal(store, &much, None, false).await.is_err(), "no verifier would read its tokens");
    manage::add_principal(store, &principal("more", Kind::User, &roles[..10]), None, false).await.unwrap();
    assert!(manage::grant_role(store, "more", "two words").await.is_err());
    for role in &roles[10..] {
        if manage::grant_role(store, "more", role).await.is_err() {
            break;
        }
    }
    let state = running.auth.ledger.current().await.unwrap();
    let token = running.token_of("more").await;
    assert!(running.auth.access_token(&token, &state).is_ok(), "what is issued is accepted");
    let long = "x".repeat(1025);
    let bob = principal("bob", Kind::User, &[]);
    assert!(manage::add_principal(store, &bob, Some(&long), false).await.is_err(), "nobody could log in with it");
    for life in [Duration::ZERO, Type::Access.longest_life() + Duration::from_secs(1)] {
        assert!(manage::issue(&running.auth, "ada", life).await.is_err());
    }
    let key = place.directory.path().join("key");
    manage::new_key(&key).unwrap();
    let made = manage::read(&key).unwrap();
    assert!(manage::new_key(&key).is_err());
    assert_eq!(manage::read(&key).unwrap(), made, "a key is never replaced");
}

pub(crate) async fn the_record_of_operations_shows_what_was_changed_in_it(place: Place) {
    let running = Running::start(&place, |_| {}).await;
    let (entries, broken) = running.auth.store.audit().await.unwrap();
    assert!(entries.len() >= 3);
    assert_eq!(broken, None);
    let mut connection = sqlx::AnyConnection::connect(&place.url).await.unwrap();
    connection.execute("UPDATE audit SET target = 'somebody else' WHERE seq = 2").await.unwrap();
    assert_eq!(running.auth.store.audit().await.unwrap().1, Some(2));
    connection.execute("DELETE FROM audit WHERE seq = 2").await.unwrap();
    assert_eq!(running.auth.store.audit().await.unwrap().1, Some(2));
}

pub(crate) async fn what_can_not_be_recorded_does_not_happen(place: Place) {
    let running = Running::start(&place, |_| {}).await;
    let (ada, root) = (running.log_in("ada", PASSWORD).await.unwrap(), running.token_of("root").await);
    let mut connection = sqlx::AnyConnection::connect(&place.url).await.unwrap();
    connection.execute("ALTER TABLE audit RENAME TO lost").await.unwrap();
    let before = running.auth.ledger.current().await.unwrap();

    let revoke = |target| RevokeRequest { target: Some(target) };
    let mut tokens = running.tokens();
    for target in [ada.access_token.clone(), ada.refresh_token.clone()] {
        assert_eq!(refused(tokens.revoke(revoke(Target::Token(target))).await), Reason::AuthUnavailable);
    }
    let all_of_ada = revoke(Target::Subject("ada".to_owned()));
    assert_eq!(refused(tokens.revoke(authorized(all_of_ada.clone(), &root)).await), Reason::AuthUnavailable);
    let mut keys = KeyServiceClient::new(running.channel.clone());
    assert_eq!(refused(keys.rotate(authorized(RotateRequest {}, &root)).await), Reason::AuthUnavailable);
    assert!(manage::grant_role(&running.auth.store, "ada", "accord-admin").await.is_err());
    assert!(manage::issue(&running.auth, "ada", Duration::from_mins(1)).await.is_err());
    let after = running.auth.ledger.current().await.unwrap();
    assert_eq!(before.revocations.revision, after.revocations.revision, "nothing of it happened");
    assert!(running.auth.access_token(&ada.access_token, &after).is_ok());

    connection.execute("ALTER TABLE lost RENAME TO audit").await.unwrap();
    tokens.revoke(authorized(all_of_ada, &root)).await.unwrap();
}

pub(crate) async fn a_record_cut_short_is_found_out(place: Place) {
    let running = Running::start(&place, |_| {}).await;
    let (entries, _) = running.auth.store.audit().await.unwrap();
    let newest = entries.last().unwrap().seq;
    let mut connection = sqlx::AnyConnection::connect(&place.url).await.unwrap();
    connection.execute(AssertSqlSafe(format!("DELETE FROM audit WHERE seq = {newest}"))).await.unwrap();
    assert_eq!(running.auth.store.audit().await.unwrap().1, Some(newest));
    connection.execute("DELETE FROM audit").await.unwrap();
    assert_eq!(running.auth.store.audit().await.unwrap().1, Some(1));
}

pub(crate) async fn two_replicas_may_add_one_client_at_once(place: Place) {
    let (one, two) = (Store::open(&place.url).await.unwrap(), Store::open(&place.url).await.unwrap());
    let secret = place.directory.path().join("secret");
    std::fs::write(&secret, "x".repeat(43)).unwrap();
    for number in 0..10 {
        let client = principal(&format!("client-{number}"), Kind::Service, &["accord-mesh"]);
        let add = |store| manage::add_client(store, &client, &secret, true);
        let (first, second) = tokio::join!(add(&one), add(&two));
        first.and(second).unwrap();
    }
}

pub(crate) async fn two_processes_may_open_a_new_store_at_once(place: Place) {
    let (one, two) = tokio::join!(Store::open(&place.url), Store::open(&place.url));
    assert_eq!(one.unwrap().revision().await.unwrap(), two.unwrap().revision().await.unwrap());
}

/// A store as the build before wrote it that had a base of its own, with somebody in it.
const PREVIOUS_BUILD: &str = include_str!("previous_build.sql");

pub(crate) async fn a_store_of_the_previous_build_opens_as_it_is(place: Place) {
    sqlx::any::install_default_drivers();
    let made = if place.url.starts_with("sqlite") { format!("{}?mode=rwc", place.url) } else { place.url.clone() };
    let mut connection = sqlx::AnyConnection::connect(&made).await.unwrap();
    connection.execute(PREVIOUS_BUILD).await.unwrap();
    let store = Store::open(&place.url).await.unwrap();
    assert_eq!(store.principal("ada").await.unwrap().unwrap().roles, ["reader"]);
    assert_eq!(store.revision().await.unwrap(), 2);
    let (entries, broken) = store.audit().await.unwrap();
    assert_eq!((entries.len(), broken), (2, None));
    manage::grant_role(&store, "ada", "writer").await.unwrap();
    assert_eq!(store.audit().await.unwrap().0.len(), 3);
}
