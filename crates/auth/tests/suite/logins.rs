//! Credentials in, tokens out.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use accord_api::accord::{
    auth::v1::{IntrospectRequest, RefreshRequest, RefreshResponse, RevokeRequest, revoke_request::Target},
    fault::v1::Reason,
};
use accord_auth::domain::{denial::Denial, issue};
use accord_token::{Refusal, verify};
use tonic::{Code, Status, transport::Endpoint};

use super::{PASSWORD, Place, Running, admin, refused};

async fn refresh(running: &Running, token: &str) -> Result<RefreshResponse, Status> {
    let request = RefreshRequest { refresh_token: token.to_owned() };
    running.tokens().refresh(request).await.map(tonic::Response::into_inner)
}

async fn active(running: &Running, token: &str) -> bool {
    let request = IntrospectRequest { token: token.to_owned() };
    running.tokens().introspect(request).await.unwrap().into_inner().active
}

pub(crate) async fn a_person_logs_in_refreshes_and_a_stolen_refresh_token_ends_the_family(place: Place) {
    let running = Running::start(&place, |_| {}).await;
    let first = running.log_in("ada", PASSWORD).await.unwrap();
    let second = refresh(&running, &first.refresh_token).await.unwrap();
    let third = refresh(&running, &second.refresh_token).await.unwrap();
    for token in [&first.access_token, &second.access_token, &third.access_token] {
        assert!(active(&running, token).await);
    }

    // Somebody else had a copy of the first one.
    assert_eq!(refused(refresh(&running, &first.refresh_token).await), Reason::RefreshReused);
    assert_eq!(refused(refresh(&running, &third.refresh_token).await), Reason::RefreshReused);
    for token in [&first.access_token, &second.access_token, &third.access_token] {
        assert!(!active(&running, token).await, "the family's access tokens end with it");
    }
    let (entries, _) = running.auth.store.audit().await.unwrap();
    assert!(entries.iter().any(|entry| entry.action == "refresh.reused" && entry.actor == "ada"));
}

/// N refreshes at once with the same token.
async fn refresh_at_once(running: &Running, token: &str) -> Vec<Result<RefreshResponse, Status>> {
    let calls = (0..16).map(|_| {
        let (mut tokens, refresh_token) = (running.tokens(), token.to_owned());
        tokio::spawn(async move { tokens.refresh(RefreshRequest { refresh_token }).await })
    });
    let mut answers = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        answers.push(call.await.unwrap().map(tonic::Response::into_inner));
    }
    answers
}

pub(crate) async fn many_refreshes_with_one_token_have_one_successor(place: Place) {
    let running = Running::start(&place, |config| config.tokens.refresh_grace = Duration::from_secs(5)).await;
    let first = running.log_in("ada", PASSWORD).await.unwrap();
    let answers = refresh_at_once(&running, &first.refresh_token).await;
    let successors: HashSet<_> = answers.into_iter().map(|answer| answer.unwrap().refresh_token).collect();
    assert_eq!(successors.len(), 1);
    assert!(refresh(&running, successors.iter().next().unwrap()).await.is_ok());
}

pub(crate) async fn without_grace_only_one_of_many_refreshes_is_answered(place: Place) {
    let running = Running::start(&place, |_| {}).await;
    let first = running.log_in("ada", PASSWORD).await.unwrap();
    let answers = refresh_at_once(&running, &first.refresh_token).await;
    let (answered, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert!(answered.len() <= 1, "one token has at most one successor");
    assert!(refused.len() >= 15);
    // Two holders of one token can't be told apart, so both lose it.
    for answer in answered {
        let answer = answer.unwrap();
        assert!(refresh(&running, &answer.refresh_token).await.is_err());
        assert!(!active(&running, &answer.access_token).await);
    }
}

pub(crate) async fn wrong_credentials_tell_nothing_and_guessing_is_slowed_down(place: Place) {
    let running = Running::start(&place, |_| {}).await;
    let mut told = HashSet::new();
    for (name, password) in [("ada", "wrong password"), ("nobody", PASSWORD), ("gateway", PASSWORD), ("", "")] {
        let status = running.log_in(name, password).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
        told.insert(status.message().to_owned());
    }
    for (id, secret) in [("gateway", "wrong"), ("gateway", ""), ("nobody", ""), ("ada", "")] {
        told.insert(running.log_in_client(id, secret).await.unwrap_err().message().to_owned());
    }
    assert_eq!(told.len(), 1, "every refusal says the same: {told:?}");

    // The first failure was above; the wait begins with the fifth. These are counted without a password to check, which on
    // a busy machine takes longer than the first wait lasts.
    for _ in 0..4 {
        running.auth.throttle.count_attempt("ada", Ipv4Addr::LOCALHOST.into()).unwrap();
    }
    assert_eq!(refused(running.log_in("ada", PASSWORD).await), Reason::LoginThrottled);
}

pub(crate) async fn a_family_ends_with_its_subjects_epoch(place: Place) {
    let running = Running::start(&place, |_| {}).await;
    let first = running.log_in("ada", PASSWORD).await.unwrap();
    admin(&running.auth.store).revoke_subject("ada").await.unwrap();
    assert_eq!(refused(refresh(&running, &first.refresh_token).await), Reason::CredentialInvalid);
    assert!(!active(&running, &first.access_token).await);
    let again = running.log_in("ada", PASSWORD).await.unwrap();
    assert!(active(&running, &again.access_token).await);
}

pub(crate) async fn ending_a_family_again_changes_nothing(place: Place) {
    let running = Running::start(&place, |_| {}).await;
    let refresh_token = running.log_in("ada", PASSWORD).await.unwrap().refresh_token;
    let mut revisions = HashSet::new();
    for _ in 0..3 {
        let target = Some(Target::Token(refresh_token.clone()));
        revisions.insert(running.tokens().revoke(RevokeRequest { target }).await.unwrap().into_inner().revision);
    }
    assert_eq!(revisions.len(), 1);
    let (entries, _) = running.auth.store.audit().await.unwrap();
    assert_eq!(entries.iter().filter(|entry| entry.action == "refresh.revoke").count(), 1);
}

pub(crate) async fn a_family_whose_time_is_over_is_forgotten(place: Place) {
    let running = Running::start(&place, |_| {}).await;
    let token = running.log_in("ada", PASSWORD).await.unwrap().refresh_token;
    let (family, _) = running.auth.encryption_key.parse_refresh_token(&token).unwrap();
    let ends = running.auth.store.family(&family).await.unwrap().expect("it lives").expires_at;
    running.auth.store.purge_expired(ends).await.unwrap();
    assert!(running.auth.store.family(&family).await.unwrap().is_some(), "its last second is not over");
    running.auth.store.purge_expired(ends + 1).await.unwrap();
    assert!(running.auth.store.family(&family).await.unwrap().is_none());
    assert_eq!(refused(refresh(&running, &token).await), Reason::CredentialInvalid);
}

pub(crate) async fn a_family_is_not_forgotten_before_its_tokens(place: Place) {
    let running = Running::start(&place, |config| {
        config.tokens.refresh_life = Duration::from_mins(10);
        config.tokens.access_life = Duration::from_hours(2);
    })
    .await;
    let token = running.log_in("ada", PASSWORD).await.unwrap().refresh_token;
    let (family, _) = running.auth.encryption_key.parse_refresh_token(&token).unwrap();
    let store = &running.auth.store;
    store.purge_expired(verify::now() + 3600).await.unwrap();
    assert!(store.family(&family).await.unwrap().is_some(), "an access token of it is alive");
    store.purge_expired(verify::now() + 3 * 3600).await.unwrap();
    assert!(store.family(&family).await.unwrap().is_none());
}

pub(crate) async fn guessing_from_elsewhere_locks_nobody_out(place: Place) {
    let mut running = Running::start(&place, |_| {}).await;
    for _ in 0..5 {
        assert_eq!(refused(running.log_in("ada", "wrong password").await), Reason::CredentialInvalid);
    }
    assert_eq!(refused(running.log_in("ada", PASSWORD).await), Reason::LoginThrottled);
    let from = Some(IpAddr::from([127, 0, 0, 2]));
    let endpoint = Endpoint::from_shared(format!("http://{}", running.address)).unwrap().local_address(from);
    running.channel = endpoint.connect_lazy();
    assert!(running.log_in("ada", PASSWORD).await.is_ok());
}

pub(crate) async fn what_could_not_be_checked_is_held_against_nobody(place: Place) {
    let running = Running::start(&place, |_| {}).await;
    running.auth.store.close().await;
    for _ in 0..10 {
        assert_eq!(refused(running.log_in("ada", PASSWORD).await), Reason::AuthUnavailable);
    }
}

pub(crate) async fn a_token_in_its_last_leeway_brings_no_passport(place: Place) {
    let running = Running::start(&place, |_| {}).await;
    let state = running.auth.state.current().await.unwrap();
    let mut subject = running.auth.verify_access_token(&running.token_of("ada").await, &state).unwrap();
    subject.claims.exp = verify::now();
    let denial = issue::passport(&running.auth.tokens, &state, &subject, "catalog", "gateway").err();
    assert!(matches!(denial, Some(Denial::Subject(Refusal::Expired))));
}
