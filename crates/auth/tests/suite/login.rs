//! Credentials in, tokens out; refresh token rotation and reuse; throttling.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use accord_api::accord::{
    auth::v1::{IssueResponse, RefreshRequest, RefreshResponse, RevokeRequest, revoke_request::Target},
    fault::v1::Reason,
};
use accord_token::{Kind, verify};
use futures_util::future::join_all;
use tonic::{Code, Status, transport::Endpoint};

use super::{Database, PASSWORD, Server, admin, principal, refused};

pub(super) async fn refresh(server: &Server, token: &str) -> Result<RefreshResponse, Status> {
    let request = RefreshRequest { refresh_token: token.to_owned() };
    server.tokens().refresh(request).await.map(tonic::Response::into_inner)
}

/// A login whose refresh token was used, and then used again.
async fn reuse(server: &Server) -> (IssueResponse, RefreshResponse) {
    let first = server.log_in("ada", PASSWORD).await.unwrap();
    let second = refresh(server, &first.refresh_token).await.unwrap();
    assert_eq!(refused(refresh(server, &first.refresh_token).await), Reason::RefreshReused);
    (first, second)
}

pub(crate) async fn refreshed_and_earlier_access_tokens_are_active(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let first = server.log_in("ada", PASSWORD).await.unwrap();
    let second = refresh(&server, &first.refresh_token).await.unwrap();
    let third = refresh(&server, &second.refresh_token).await.unwrap();
    for token in [&first.access_token, &second.access_token, &third.access_token] {
        assert!(server.is_active(token).await);
    }
}

pub(crate) async fn reused_refresh_token_ends_the_newest_one(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (_, newest) = reuse(&server).await;
    assert_eq!(refused(refresh(&server, &newest.refresh_token).await), Reason::RefreshReused);
}

pub(crate) async fn reused_refresh_token_revokes_the_access_tokens_of_its_family(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (first, second) = reuse(&server).await;
    for token in [&first.access_token, &second.access_token] {
        assert!(!server.is_active(token).await);
    }
}

pub(crate) async fn reused_refresh_token_is_audited(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    reuse(&server).await;
    let (entries, _) = server.auth.store.audit_log().await.unwrap();
    assert!(entries.iter().any(|entry| entry.action == "refresh.reused" && entry.actor == "ada"));
}

pub(crate) async fn wrong_credentials_are_unauthenticated_with_one_message(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut statuses = Vec::new();
    for (name, password) in [("ada", "wrong password"), ("nobody", PASSWORD), ("gateway", PASSWORD), ("", "")] {
        statuses.push(server.log_in(name, password).await.unwrap_err());
    }
    for (id, secret) in [("gateway", "wrong"), ("gateway", ""), ("nobody", ""), ("ada", "")] {
        statuses.push(server.log_in_client(id, secret).await.unwrap_err());
    }
    assert!(statuses.iter().all(|status| status.code() == Code::Unauthenticated), "{statuses:?}");
    let messages: HashSet<_> = statuses.iter().map(Status::message).collect();
    assert_eq!(messages.len(), 1, "{messages:?}");
}

pub(crate) async fn wrong_name_costs_as_much_work_as_a_wrong_password(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let bob = principal("bob", Kind::User, &[]);
    admin(&server.auth.store).add_principal(&bob, Some(PASSWORD)).await.unwrap();
    admin(&server.auth.store).disable("bob").await.unwrap();
    for (name, password) in [
        ("ada", "wrong password"),
        ("nobody", "wrong password"),
        ("gateway", "wrong password"),
        ("root", "wrong password"),
        ("bob", PASSWORD),
    ] {
        let before = server.auth.passwords.hashed();
        assert_eq!(refused(server.log_in(name, password).await), Reason::CredentialInvalid);
        assert_eq!(server.auth.passwords.hashed() - before, 1, "{name}");
    }
}

pub(crate) async fn guesses_at_one_account_at_the_same_time_are_no_more_than_one_after_the_other(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let before = server.auth.passwords.hashed();
    let began = Instant::now();
    let guess = || async { refused(server.log_in("ada", "wrong password").await) };
    let reasons = join_all((0..60).map(|_| guess())).await;
    let checked = server.auth.passwords.hashed() - before;
    // Five are free. From then on the waits double from one second.
    let free = 5 + u64::from((began.elapsed().as_secs() + 1).ilog2());
    let tried = reasons.iter().filter(|reason| **reason == Reason::CredentialInvalid).count();
    assert!(checked <= free && u64::try_from(tried).unwrap() <= free, "{checked} were checked, and {tried} refused");
    assert!(reasons.iter().filter(|reason| **reason == Reason::LoginThrottled).count() >= 60 - tried, "{reasons:?}");
}

pub(crate) async fn right_password_is_throttled_after_five_failures(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    server.log_in("ada", "wrong password").await.unwrap_err();
    // Counted without a password to check, which on a busy machine takes longer than the first wait lasts.
    for _ in 0..4 {
        server.auth.throttle.count_attempt("ada", Ipv4Addr::LOCALHOST.into()).unwrap();
    }
    assert_eq!(refused(server.log_in("ada", PASSWORD).await), Reason::LoginThrottled);
}

pub(crate) async fn account_throttled_at_one_address_can_log_in_from_another(database: Database) {
    let mut server = Server::start(&database, |_| {}).await;
    for _ in 0..5 {
        assert_eq!(refused(server.log_in("ada", "wrong password").await), Reason::CredentialInvalid);
    }
    assert_eq!(refused(server.log_in("ada", PASSWORD).await), Reason::LoginThrottled);
    let from = Some(IpAddr::from([127, 0, 0, 2]));
    let endpoint = Endpoint::from_shared(format!("http://{}", server.address)).unwrap().local_address(from);
    server.channel = endpoint.connect_lazy();
    assert!(server.log_in("ada", PASSWORD).await.is_ok());
}

pub(crate) async fn flood_of_logins_from_one_address_leaves_room_for_a_login_from_another(database: Database) {
    let mut server = Server::start(&database, |_| {}).await;
    let flood = (0..80).map(|number| {
        let mut tokens = server.tokens();
        async move { tokens.issue(super::login(&format!("nobody-{number}"), "a guess")).await.map(drop) }
    });
    let mut flood: tokio::task::JoinSet<_> = flood.collect();
    while refused(flood.join_next().await.unwrap().unwrap()) != Reason::Overloaded {}
    let from = Some(IpAddr::from([127, 0, 0, 2]));
    let endpoint = Endpoint::from_shared(format!("http://{}", server.address)).unwrap().local_address(from);
    server.channel = endpoint.connect_lazy();
    assert!(server.log_in("ada", PASSWORD).await.is_ok());
}

pub(crate) async fn login_of_an_address_that_has_its_share_of_checks_costs_the_store_nothing(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let checks = std::iter::repeat_with(|| server.auth.passwords.admit(Ipv4Addr::LOCALHOST.into()));
    let checks: Vec<_> = checks.map_while(Result::ok).collect();
    assert!(!checks.is_empty());
    server.auth.store.close().await;
    assert_eq!(refused(server.log_in("ada", PASSWORD).await), Reason::Overloaded);
}

pub(crate) async fn login_that_could_not_be_checked_does_not_count_as_failed(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    server.auth.store.close().await;
    for _ in 0..10 {
        assert_eq!(refused(server.log_in("ada", PASSWORD).await), Reason::AuthUnavailable);
    }
}

pub(crate) async fn refresh_token_of_a_revoked_subject_is_refused(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let first = server.log_in("ada", PASSWORD).await.unwrap();
    admin(&server.auth.store).revoke_subject("ada").await.unwrap();
    assert_eq!(refused(refresh(&server, &first.refresh_token).await), Reason::CredentialInvalid);
    assert!(!server.is_active(&first.access_token).await);
}

pub(crate) async fn revoked_subject_can_log_in_again(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    admin(&server.auth.store).revoke_subject("ada").await.unwrap();
    let again = server.log_in("ada", PASSWORD).await.unwrap();
    assert!(server.is_active(&again.access_token).await);
}

pub(crate) async fn refresh_token_revoked_again_changes_nothing(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let refresh_token = server.log_in("ada", PASSWORD).await.unwrap().refresh_token;
    let mut revisions = HashSet::new();
    for _ in 0..3 {
        let target = Some(Target::Token(refresh_token.clone()));
        revisions.insert(server.tokens().revoke(RevokeRequest { target }).await.unwrap().into_inner().revision);
    }
    assert_eq!(revisions.len(), 1);
    let (entries, _) = server.auth.store.audit_log().await.unwrap();
    assert_eq!(entries.iter().filter(|entry| entry.action == "refresh.revoke").count(), 1);
}

pub(crate) async fn expired_family_is_purged_after_its_last_second(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let token = server.log_in("ada", PASSWORD).await.unwrap().refresh_token;
    let (family, _) = server.auth.encryption_key.parse_refresh_token(&token).unwrap();
    let expires_at = server.auth.store.family(&family).await.unwrap().unwrap().expires_at;
    server.auth.store.purge_expired(expires_at).await.unwrap();
    assert!(server.auth.store.family(&family).await.unwrap().is_some(), "its last second is not over");
    server.auth.store.purge_expired(expires_at + 1).await.unwrap();
    assert!(server.auth.store.family(&family).await.unwrap().is_none());
}

pub(crate) async fn refresh_token_of_a_purged_family_is_refused(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let token = server.log_in("ada", PASSWORD).await.unwrap().refresh_token;
    server.auth.store.purge_expired(i64::MAX).await.unwrap();
    assert_eq!(refused(refresh(&server, &token).await), Reason::CredentialInvalid);
}

pub(crate) async fn expired_family_is_kept_until_its_access_tokens_expire(database: Database) {
    let server = Server::start(&database, |config| {
        config.tokens.refresh_ttl = Duration::from_mins(10);
        config.tokens.access_ttl = Duration::from_hours(2);
    })
    .await;
    let token = server.log_in("ada", PASSWORD).await.unwrap().refresh_token;
    let (family, _) = server.auth.encryption_key.parse_refresh_token(&token).unwrap();
    let store = &server.auth.store;
    store.purge_expired(verify::now() + 3600).await.unwrap();
    assert!(store.family(&family).await.unwrap().is_some(), "an access token of it is alive");
    store.purge_expired(verify::now() + 3 * 3600).await.unwrap();
    assert!(store.family(&family).await.unwrap().is_none());
}
