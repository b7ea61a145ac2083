//! What administrators change.

use std::time::Duration;

use accord_api::accord::{
    auth::v1::{
        ClientCredentialsGrant, IssueRequest, IssueResponse, RevokeRequest, RotateRequest, issue_request::Grant,
        key_service_client::KeyServiceClient, revoke_request::Target,
    },
    fault::v1::Reason,
};
use accord_auth::{
    domain::admin::{AdminError, KnownSecret},
    store::{Store, principals::Which},
};
use accord_token::{Kind, Refusal, Type, verify};
use sqlx::{AssertSqlSafe, Connection, Executor};
use tonic::{Response, Status};

use super::{Database, PASSWORD, Server, admin, authorized, principal, refused};

const SECRET: &str = "a client's secret of 40 letters or so...";

pub(crate) async fn client_that_exists_keeps_its_secret(database: Database) {
    let store = Store::open(&database.url).await.unwrap();
    let cache = principal("cache", Kind::Service, &["accord-mesh"]);
    admin(&store).add_client(&cache, || Ok(SECRET.to_owned())).await.unwrap();
    let before = store.client("cache").await.unwrap();
    let again = admin(&store).add_client(&cache, || panic!("no secret is needed")).await;
    assert!(matches!(again, Err(AdminError::Exists(_))), "{again:?}");
    assert_eq!(store.client("cache").await.unwrap(), before);
}

async fn client_login(server: &Server, secret: &str) -> Result<IssueResponse, Status> {
    let grant = ClientCredentialsGrant {
        client_id: "shop".to_owned(),
        client_secret: secret.to_owned(),
        ..ClientCredentialsGrant::default()
    };
    let request = IssueRequest { grant: Some(Grant::ClientCredentials(grant)) };
    server.tokens().issue(request).await.map(Response::into_inner)
}

const NEXT: &str = "the secret that comes after the first one";
const DAY: Duration = Duration::from_hours(24);

/// A server that knows the client `shop`, whose secret was rotated with this overlap.
async fn rotated(database: &Database, overlap: Duration) -> Server {
    let server = Server::start(database, |_| {}).await;
    let admin = admin(&server.auth.store);
    admin.add_client(&principal("shop", Kind::Service, &[]), || Ok(SECRET.to_owned())).await.unwrap();
    admin.rotate_client("shop", overlap, || Ok(NEXT.to_owned())).await.unwrap();
    server
}

pub(crate) async fn rotated_client_logs_in_with_either_secret_during_the_overlap(database: Database) {
    let server = rotated(&database, DAY).await;
    for secret in [SECRET, NEXT] {
        client_login(&server, secret).await.unwrap();
    }
}

pub(crate) async fn earlier_client_secret_is_refused_after_the_overlap(database: Database) {
    let server = rotated(&database, Duration::ZERO).await;
    client_login(&server, NEXT).await.unwrap();
    assert_eq!(refused(client_login(&server, SECRET).await), Reason::CredentialInvalid);
}

pub(crate) async fn client_has_two_valid_secrets_at_most(database: Database) {
    let server = rotated(&database, DAY).await;
    let third = "the secret that comes after the second one";
    admin(&server.auth.store).rotate_client("shop", DAY, || Ok(third.to_owned())).await.unwrap();
    for secret in [NEXT, third] {
        client_login(&server, secret).await.unwrap();
    }
    assert_eq!(refused(client_login(&server, SECRET).await), Reason::CredentialInvalid);
}

pub(crate) async fn rotation_to_the_same_secret_is_refused(database: Database) {
    let server = rotated(&database, DAY).await;
    let again = admin(&server.auth.store).rotate_client("shop", DAY, || Ok(NEXT.to_owned())).await;
    assert!(matches!(again, Err(AdminError::SameSecret(_))), "{again:?}");
}

pub(crate) async fn file_with_an_earlier_secret_is_not_followed_and_one_with_another_is(database: Database) {
    let server = rotated(&database, DAY).await;
    let follow = async |secret: &str| admin(&server.auth.store).follow_secret("shop", secret.to_owned(), DAY).await;
    // Replicas whose files change at different moments: those that are behind take nothing back.
    assert_eq!(follow(NEXT).await.unwrap(), KnownSecret::Newest);
    assert_eq!(follow(SECRET).await.unwrap(), KnownSecret::Earlier);
    assert_eq!(follow(&"z".repeat(43)).await.unwrap(), KnownSecret::Other);
    assert_eq!(follow(NEXT).await.unwrap(), KnownSecret::Earlier);
    assert!(client_login(&server, &"z".repeat(43)).await.is_ok() && client_login(&server, SECRET).await.is_err());
}

pub(crate) async fn disabled_principal_can_neither_log_in_nor_use_its_tokens(database: Database) {
    let server = rotated(&database, DAY).await;
    let admin = admin(&server.auth.store);
    let before = server.log_in("ada", PASSWORD).await.unwrap();
    admin.disable("ada").await.unwrap();
    admin.disable("shop").await.unwrap();
    let state = server.auth.state.current().await.unwrap();
    assert_eq!(server.auth.verify_access_token(&before.access_token, &state).unwrap_err(), Refusal::Revoked);
    assert_eq!(refused(server.log_in("ada", PASSWORD).await), Reason::CredentialInvalid);
    assert_eq!(refused(client_login(&server, NEXT).await), Reason::CredentialInvalid);
    let issued = server.auth.issue_token("ada", Duration::from_mins(1), "test").await;
    assert!(matches!(issued, Err(AdminError::Disabled(_))), "{issued:?}");
}

pub(crate) async fn enabled_principal_can_log_in_again(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let admin = admin(&server.auth.store);
    admin.disable("ada").await.unwrap();
    admin.enable("ada").await.unwrap();
    server.log_in("ada", PASSWORD).await.unwrap();
}

pub(crate) async fn name_of_a_removed_principal_is_free_and_its_tokens_stay_revoked(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (admin, before) = (admin(&server.auth.store), server.token_of("ada").await);
    admin.remove("ada").await.unwrap();
    assert_eq!(server.auth.store.principal("ada").await.unwrap(), None);
    assert!(matches!(admin.remove("ada").await, Err(AdminError::Unknown(_))));
    assert_eq!(refused(server.log_in("ada", PASSWORD).await), Reason::CredentialInvalid);

    admin.add_principal(&principal("ada", Kind::User, &["reader"]), Some(PASSWORD)).await.unwrap();
    let state = server.auth.state.current().await.unwrap();
    assert_eq!(server.auth.verify_access_token(&before, &state).unwrap_err(), Refusal::Revoked);
    let after = server.log_in("ada", PASSWORD).await.unwrap().access_token;
    assert_eq!(server.auth.verify_access_token(&after, &state).unwrap().claims.roles, ["reader"]);
}

pub(crate) async fn removed_client_can_be_added_again_with_another_secret(database: Database) {
    let server = rotated(&database, DAY).await;
    let admin = admin(&server.auth.store);
    admin.remove("shop").await.unwrap();
    assert_eq!(refused(client_login(&server, NEXT).await), Reason::CredentialInvalid);
    let other = "another secret, with thirty-two letters at least";
    admin.add_client(&principal("shop", Kind::Service, &[]), || Ok(other.to_owned())).await.unwrap();
    client_login(&server, other).await.unwrap();
}

pub(crate) async fn list_names_principals_with_their_roles_and_clients_apart(database: Database) {
    let server = rotated(&database, DAY).await;
    let page = async |last: &str, which| {
        let found = server.auth.store.principals_after(last, which).await.unwrap();
        found.into_iter().map(|it| (it.subject, it.roles.join(","))).collect::<Vec<_>>()
    };
    let all = page("", Which::Principals).await;
    let names: Vec<_> = all.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["ada", "gateway", "root", "shop"]);
    assert_eq!(all[0].1, "catalog-reader");
    let clients = page("", Which::Clients).await;
    assert_eq!(clients, [("gateway".to_owned(), "accord-mesh".to_owned()), ("shop".to_owned(), String::new())]);
    assert_eq!(page("shop", Which::Principals).await, []);
}

pub(crate) async fn principal_that_exists_keeps_its_password(database: Database) {
    let store = Store::open(&database.url).await.unwrap();
    let bob = principal("bob", Kind::User, &[]);
    admin(&store).add_principal(&bob, Some("long enough")).await.unwrap();
    let before = store.password("bob").await.unwrap();
    let again = admin(&store).add_principal(&bob, Some("another one")).await;
    assert!(matches!(again, Err(AdminError::Exists(_))), "{again:?}");
    assert_eq!(store.password("bob").await.unwrap(), before);
}

pub(crate) async fn password_too_short_or_too_long_is_refused(database: Database) {
    let store = Store::open(&database.url).await.unwrap();
    let eve = principal("eve", Kind::User, &[]);
    let short = admin(&store).add_principal(&eve, Some("short")).await;
    assert!(matches!(short, Err(AdminError::PasswordTooShort)), "{short:?}");
    let long = admin(&store).add_principal(&eve, Some(&"x".repeat(1025))).await;
    assert!(matches!(long, Err(AdminError::PasswordTooLong)), "{long:?}");
}

pub(crate) async fn granted_role_shows_in_the_next_token(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    admin(&server.auth.store).grant_role("ada", "catalog-writer").await.unwrap();
    let after = server.token_of("ada").await;
    let state = server.auth.state.current().await.unwrap();
    let claims = server.auth.verify_access_token(&after, &state).unwrap().claims;
    assert_eq!(claims.roles, ["catalog-reader", "catalog-writer"]);
    assert_eq!(verify::signed(&after, Type::Access, &state.snapshot.keys).unwrap().claims, claims);
}

pub(crate) async fn granted_role_revokes_tokens_that_do_not_show_it(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let before = server.token_of("ada").await;
    admin(&server.auth.store).grant_role("ada", "catalog-writer").await.unwrap();
    let state = server.auth.state.current().await.unwrap();
    assert_eq!(server.auth.verify_access_token(&before, &state).unwrap_err(), Refusal::Revoked);
}

pub(crate) async fn removed_role_revokes_tokens_that_show_it(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let before = server.token_of("ada").await;
    admin(&server.auth.store).remove_role("ada", "catalog-reader").await.unwrap();
    let after = server.token_of("ada").await;
    let state = server.auth.state.current().await.unwrap();
    assert_eq!(server.auth.verify_access_token(&before, &state).unwrap_err(), Refusal::Revoked);
    assert!(server.auth.verify_access_token(&after, &state).unwrap().claims.roles.is_empty());
}

pub(crate) async fn removing_a_role_that_is_not_held_is_refused(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let removed = admin(&server.auth.store).remove_role("ada", "catalog-writer").await;
    assert!(matches!(removed, Err(AdminError::RoleMissing { .. })), "{removed:?}");
}

pub(crate) async fn client_under_a_principals_name_is_refused(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (store, root) = (&server.auth.store, principal("root", Kind::Service, &[]));
    let added = admin(store).add_client(&root, || panic!("no secret is made for a client that is not there")).await;
    assert!(matches!(added, Err(AdminError::NoClient(_))), "{added:?}");
    assert_eq!(store.client("root").await.unwrap(), None);
}

pub(crate) async fn client_secret_too_short_is_refused(database: Database) {
    let store = Store::open(&database.url).await.unwrap();
    let cache = principal("cache", Kind::Service, &[]);
    let added = admin(&store).add_client(&cache, || Ok("x".repeat(31))).await;
    assert!(matches!(added, Err(AdminError::SecretTooShort)), "{added:?}");
    assert_eq!(store.principal("cache").await.unwrap(), None, "nothing of it is left");
}

pub(crate) async fn malformed_name_is_refused(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let admin = admin(&server.auth.store);
    for name in ["", "two words", "line\nbreak", &"x".repeat(257)] {
        let added = admin.add_principal(&principal(name, Kind::User, &[]), None).await;
        assert!(matches!(added, Err(AdminError::Name(_))), "{name}");
    }
    let granted = admin.grant_role("ada", "two words").await;
    assert!(matches!(granted, Err(AdminError::Name(_))), "{granted:?}");
}

fn long_roles() -> Vec<String> {
    (0..40).map(|number| format!("{number}{}", "x".repeat(98))).collect()
}

pub(crate) async fn principal_with_more_roles_than_a_token_holds_is_refused(database: Database) {
    let store = Store::open(&database.url).await.unwrap();
    let roles = long_roles();
    let roles: Vec<_> = roles.iter().map(String::as_str).collect();
    let added = admin(&store).add_principal(&principal("much", Kind::User, &roles), None).await;
    assert!(matches!(added, Err(AdminError::RolesTooLong { .. })), "no verifier would read its tokens");
}

pub(crate) async fn roles_are_granted_only_as_long_as_a_token_holds_them(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (admin, mut granted) = (admin(&server.auth.store), 0);
    admin.add_principal(&principal("more", Kind::User, &[]), None).await.unwrap();
    for role in long_roles() {
        match admin.grant_role("more", &role).await {
            Ok(()) => granted += 1,
            Err(error) => assert!(matches!(error, AdminError::RolesTooLong { .. }), "{error}"),
        }
    }
    assert_eq!(granted, 20);
    let state = server.auth.state.current().await.unwrap();
    let token = server.token_of("more").await;
    assert!(server.auth.verify_access_token(&token, &state).is_ok(), "what is issued is accepted");
}

pub(crate) async fn token_lifetime_out_of_bounds_is_refused(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    for life in [Duration::ZERO, Type::Access.longest_life() + Duration::from_secs(1)] {
        let issued = server.auth.issue_token("ada", life, "test").await;
        assert!(matches!(issued, Err(AdminError::Lifetime)), "{life:?}");
    }
}

pub(crate) async fn changed_or_deleted_audit_row_breaks_the_chain(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (entries, broken) = server.auth.store.audit_log().await.unwrap();
    assert!(entries.len() >= 3);
    assert_eq!(broken, None);
    let mut connection = sqlx::AnyConnection::connect(&database.url).await.unwrap();
    connection.execute("UPDATE audit SET target = 'somebody else' WHERE seq = 2").await.unwrap();
    assert_eq!(server.auth.store.audit_log().await.unwrap().1, Some(2));
    connection.execute("DELETE FROM audit WHERE seq = 2").await.unwrap();
    assert_eq!(server.auth.store.audit_log().await.unwrap().1, Some(2));
}

pub(crate) async fn change_that_cannot_be_audited_does_not_happen(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (ada, root) = (server.log_in("ada", PASSWORD).await.unwrap(), server.token_of("root").await);
    let mut connection = sqlx::AnyConnection::connect(&database.url).await.unwrap();
    connection.execute("ALTER TABLE audit RENAME TO lost").await.unwrap();
    let before = server.auth.state.current().await.unwrap();

    let revoke = |target| RevokeRequest { target: Some(target) };
    let mut tokens = server.tokens();
    for target in [ada.access_token.clone(), ada.refresh_token.clone()] {
        assert_eq!(refused(tokens.revoke(revoke(Target::Token(target))).await), Reason::AuthUnavailable);
    }
    let all_of_ada = revoke(Target::Subject("ada".to_owned()));
    assert_eq!(refused(tokens.revoke(authorized(all_of_ada.clone(), &root)).await), Reason::AuthUnavailable);
    let mut keys = KeyServiceClient::new(server.channel.clone());
    assert_eq!(refused(keys.rotate(authorized(RotateRequest::default(), &root)).await), Reason::AuthUnavailable);
    assert!(admin(&server.auth.store).grant_role("ada", "accord-admin").await.is_err());
    assert!(server.auth.issue_token("ada", Duration::from_mins(1), "test").await.is_err());
    let after = server.auth.state.current().await.unwrap();
    assert_eq!(before.revocations.revision, after.revocations.revision, "nothing of it happened");
    assert!(server.auth.verify_access_token(&ada.access_token, &after).is_ok());

    connection.execute("ALTER TABLE lost RENAME TO audit").await.unwrap();
    tokens.revoke(authorized(all_of_ada, &root)).await.unwrap();
}

pub(crate) async fn truncated_audit_log_breaks_the_chain(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (entries, _) = server.auth.store.audit_log().await.unwrap();
    let newest = entries.last().unwrap().seq;
    let mut connection = sqlx::AnyConnection::connect(&database.url).await.unwrap();
    connection.execute(AssertSqlSafe(format!("DELETE FROM audit WHERE seq = {newest}"))).await.unwrap();
    assert_eq!(server.auth.store.audit_log().await.unwrap().1, Some(newest));
    connection.execute("DELETE FROM audit").await.unwrap();
    assert_eq!(server.auth.store.audit_log().await.unwrap().1, Some(1));
}

pub(crate) async fn client_added_by_two_replicas_at_once_is_added_once(database: Database) {
    let (one, two) = (Store::open(&database.url).await.unwrap(), Store::open(&database.url).await.unwrap());
    for number in 0..10 {
        let client = principal(&format!("client-{number}"), Kind::Service, &["accord-mesh"]);
        let add = async |store| admin(store).add_client(&client, || Ok(SECRET.to_owned())).await;
        match tokio::join!(add(&one), add(&two)) {
            (Ok(()), Err(AdminError::Exists(_))) | (Err(AdminError::Exists(_)), Ok(())) => {}
            both => panic!("{both:?}"),
        }
    }
}

pub(crate) async fn new_store_can_be_opened_by_two_processes_at_once(database: Database) {
    let (one, two) = tokio::join!(Store::open(&database.url), Store::open(&database.url));
    assert_eq!(one.unwrap().revision().await.unwrap(), two.unwrap().revision().await.unwrap());
}

/// A store as the build before wrote it that had a base of its own, with somebody in it.
const PREVIOUS_BUILD: &str = include_str!("previous_build.sql");

pub(crate) async fn store_of_the_previous_build_is_migrated_with_its_data(database: Database) {
    sqlx::any::install_default_drivers();
    let made =
        if database.url.starts_with("sqlite") { format!("{}?mode=rwc", database.url) } else { database.url.clone() };
    let mut connection = sqlx::AnyConnection::connect(&made).await.unwrap();
    connection.execute(PREVIOUS_BUILD).await.unwrap();
    let store = Store::open(&database.url).await.unwrap();
    assert_eq!(store.principal("ada").await.unwrap().unwrap().roles, ["reader"]);
    assert_eq!(store.revision().await.unwrap(), 2);
    let (entries, broken) = store.audit_log().await.unwrap();
    assert_eq!((entries.len(), broken), (2, None));
    admin(&store).grant_role("ada", "writer").await.unwrap();
    assert_eq!(store.audit_log().await.unwrap().0.len(), 3);
}
