//! Refreshes at the same time, at one auth and at several.

use std::{collections::HashSet, time::Duration};

use accord_api::accord::{
    auth::v1::{RefreshRequest, RefreshResponse},
    fault::v1::Reason,
};
use accord_auth::config::Config;
use accord_token::Refusal;
use futures_util::future::join_all;
use tonic::Status;

use super::{Database, PASSWORD, Server, eventually, login::refresh, refused, verifier::ready_client};

/// Holders of one token who use it at once.
const HOLDERS: usize = 64;

/// Longer than may be configured, so that a busy machine is within it.
fn with_grace(config: &mut Config) {
    config.tokens.refresh_reuse_interval = Duration::from_mins(5);
}

/// Refreshes with the same token, all at once, in turns at these.
async fn refresh_at_once(servers: &[&Server], token: &str) -> Vec<Result<RefreshResponse, Status>> {
    let calls = servers.iter().cycle().take(HOLDERS).map(|server| {
        let (mut tokens, refresh_token) = (server.tokens(), token.to_owned());
        async move { tokens.refresh(RefreshRequest { refresh_token }).await.map(tonic::Response::into_inner) }
    });
    join_all(calls).await
}

/// How many tokens of this family there have been, one after the other.
async fn generation(server: &Server, token: &str) -> u64 {
    let (family, _) = server.auth.encryption_key.parse_refresh_token(token).unwrap();
    server.auth.store.family(&family).await.unwrap().unwrap().generation
}

pub(crate) async fn concurrent_refreshes_within_the_grace_have_one_successor(database: Database) {
    let server = Server::start(&database, with_grace).await;
    let first = server.log_in("ada", PASSWORD).await.unwrap();
    let answers = refresh_at_once(&[&server], &first.refresh_token).await;
    let successors: HashSet<_> = answers.into_iter().map(|answer| answer.unwrap().refresh_token).collect();
    assert_eq!(successors.len(), 1);
    assert!(refresh(&server, successors.iter().next().unwrap()).await.is_ok());
}

pub(crate) async fn concurrent_refreshes_without_grace_have_one_successor_that_at_most_one_caller_is_given(
    database: Database,
) {
    let server = Server::start(&database, |_| {}).await;
    let first = server.log_in("ada", PASSWORD).await.unwrap();
    let answers = refresh_at_once(&[&server], &first.refresh_token).await;
    assert!(answers.iter().filter(|answer| answer.is_ok()).count() <= 1);
    assert_eq!(generation(&server, &first.refresh_token).await, 2);
}

pub(crate) async fn concurrent_refreshes_without_grace_end_the_family(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let first = server.log_in("ada", PASSWORD).await.unwrap();
    // Two holders of one token can't be told apart, so both lose it.
    for answer in refresh_at_once(&[&server], &first.refresh_token).await.into_iter().flatten() {
        assert!(refresh(&server, &answer.refresh_token).await.is_err());
        assert!(!server.is_active(&answer.access_token).await);
    }
    assert!(!server.is_active(&first.access_token).await);
}

pub(crate) async fn concurrent_refreshes_at_two_replicas_have_one_successor(database: Database) {
    let [server, replica] = Server::replicas(&database, with_grace).await;
    let first = server.log_in("ada", PASSWORD).await.unwrap();
    let answers = refresh_at_once(&[&server, &replica], &first.refresh_token).await;
    let successors: HashSet<_> = answers.into_iter().map(|answer| answer.unwrap().refresh_token).collect();
    assert_eq!(successors.len(), 1);
    assert_eq!(generation(&replica, &first.refresh_token).await, 2);
}

pub(crate) async fn reuse_at_another_replica_ends_the_family_at_the_verifiers_of_both(database: Database) {
    let [server, replica] = Server::replicas(&database, |_| {}).await;
    let verifiers = [ready_client(&server).await, ready_client(&replica).await];
    let first = server.log_in("ada", PASSWORD).await.unwrap();
    let second = refresh(&server, &first.refresh_token).await.unwrap();
    for (verifier, token) in
        verifiers.iter().flat_map(|verifier| [(verifier, &first.access_token), (verifier, &second.access_token)])
    {
        assert!(verifier.verify(token).is_ok());
    }
    assert_eq!(refused(refresh(&replica, &first.refresh_token).await), Reason::RefreshReused);
    assert_eq!(refused(refresh(&server, &second.refresh_token).await), Reason::RefreshReused);
    for verifier in &verifiers {
        for token in [&first.access_token, &second.access_token] {
            eventually("the token is refused", || matches!(verifier.verify(token), Err(Refusal::Revoked))).await;
        }
    }
}
