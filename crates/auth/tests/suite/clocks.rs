//! Clocks that are an hour ahead or behind, and are set right again: nothing that was revoked or used becomes good by that.

use std::time::Duration;

use accord_api::accord::{
    auth::v1::{RevokeRequest, revoke_request::Target},
    fault::v1::Reason,
};
use accord_auth::store::revocations::Revocations;
use accord_token::{Claims, Refusal, RevocationSnapshot, Type, sign, verify};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use super::{
    Database, PASSWORD, Server, admin,
    client_keys::{good, is_refused, show, with_mill},
    http::post,
    login::refresh,
    maintenance, refused,
};

const HOUR: i64 = 3600;

/// A token of ada's that an auth has signed whose clock shows this much more than ours.
async fn signed_ahead(server: &Server, ahead: i64) -> (String, Claims) {
    let (token, state) = (server.token_of("ada").await, server.auth.state.current().await.unwrap());
    let ours = verify::signed(&token, Type::Access, &state.snapshot.keys).unwrap().claims;
    let [exp, iat, nbf] = [ours.exp, ours.iat, ours.nbf].map(|time| time + ahead);
    let claims = Claims { exp, iat, nbf, jti: format!("signed-{ahead}-ahead-{}", ours.jti), ..ours };
    let key = state.signing_key(verify::now()).unwrap();
    (sign::sign(&claims, Type::Access, &key).unwrap(), claims)
}

/// What a verifier that has just started finds of the token, with a clock that shows this much more than ours.
async fn found_ahead(server: &Server, token: &str, ahead: i64) -> Result<(), Refusal> {
    let state = server.auth.state.current().await.unwrap();
    let now = verify::now() + ahead;
    let snapshot = RevocationSnapshot::default().updated(state.update_since(0), now);
    let verified = verify::signed(token, Type::Access, &snapshot.keys).unwrap();
    let (issuer, audience) = (&*server.auth.tokens.issuer, &*server.auth.tokens.audience);
    verify::current(&verified, &verify::Expected { token_type: Type::Access, issuer, audience }, now, &snapshot)
}

/// To auth's own clock, the token has expired long ago or is from the future; to a right one it is good.
pub(crate) async fn token_is_revoked_by_an_auth_whose_clock_is_an_hour_ahead_or_behind(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    for ahead in [-HOUR, HOUR] {
        let [by_grpc, by_http] = [signed_ahead(&server, ahead).await.0, signed_ahead(&server, ahead).await.0];
        for token in [&by_grpc, &by_http] {
            assert_eq!(found_ahead(&server, token, ahead).await, Ok(()));
        }
        let target = Some(Target::Token(by_grpc.clone()));
        server.tokens().revoke(RevokeRequest { target }).await.unwrap();
        assert_eq!(post(server.address, "/oauth2/revoke", &[], &[("token", &by_http)]).await.status, 200);
        for token in [&by_grpc, &by_http] {
            assert_eq!(found_ahead(&server, token, ahead).await, Err(Refusal::Revoked), "{ahead}");
        }
    }
}

pub(crate) async fn token_revoked_again_changes_nothing(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    // What has ended on every clock as well.
    let (ended, _) = signed_ahead(&server, -4 * HOUR).await;
    let (token, _) = signed_ahead(&server, -HOUR).await;
    let revoke = async |token: &str| {
        let target = Some(Target::Token(token.to_owned()));
        server.tokens().revoke(RevokeRequest { target }).await.unwrap().into_inner().revision
    };
    let first = revoke(&token).await;
    assert_eq!([revoke(&token).await, revoke(&ended).await], [first, first]);
}

pub(crate) async fn revocations_outlive_a_clock_that_was_an_hour_ahead(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (store, now) = (&server.auth.store, verify::now());
    let mut tx = store.begin().await.unwrap();
    let revision = tx.next_revision().await.unwrap();
    tx.revoke_token("alive", now + 1, revision).await.unwrap();
    tx.commit().await.unwrap();
    admin(store).revoke_subject("ada").await.unwrap();
    // Revoked by a clock an hour behind, a day before the one that is an hour ahead.
    let mut connection = sqlx::AnyConnection::connect(&database.url).await.unwrap();
    let earlier = format!("UPDATE principals SET epoch_at = {} WHERE subject = 'ada'", now - 24 * HOUR - HOUR);
    connection.execute(AssertSqlSafe(earlier)).await.unwrap();

    let ahead = now + HOUR;
    let told = |read: &Revocations| read.tokens.contains_key("alive") && read.subjects.contains_key("ada");
    let read = store.revocations(&Revocations::default(), ahead).await.unwrap();
    assert!(told(&read), "to verifiers that ask for everything meanwhile");
    maintenance::purge_expired(&server.auth, ahead).await.unwrap();
    assert!(told(&store.revocations(&read, now).await.unwrap()), "by the process that had read them");
    assert!(told(&store.revocations(&Revocations::default(), now).await.unwrap()), "by one that starts afterwards");
}

pub(crate) async fn family_ended_after_a_clock_was_an_hour_ahead_takes_its_tokens_along(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let first = server.log_in("ada", PASSWORD).await.unwrap();
    let second = refresh(&server, &first.refresh_token).await.unwrap();
    // The access tokens live for 15 minutes.
    maintenance::purge_expired(&server.auth, verify::now() + 15 * 60 + HOUR + 1).await.unwrap();
    assert_eq!(refused(refresh(&server, &first.refresh_token).await), Reason::RefreshReused);
    assert!(!server.is_active(&first.access_token).await && !server.is_active(&second.access_token).await);
}

pub(crate) async fn assertion_used_before_a_clock_was_an_hour_ahead_is_refused_after_it(database: Database) {
    let (server, key) = with_mill(&database).await;
    let assertion = good(&key);
    assert_eq!(show(&server, &assertion).await.status, 200);
    maintenance::purge_expired(&server.auth, verify::now() + HOUR).await.unwrap();
    is_refused(&show(&server, &assertion).await);
}

pub(crate) async fn grace_of_a_refresh_token_is_no_longer_where_the_clock_was_set_back(database: Database) {
    let grace = Duration::from_secs(5);
    let server = Server::start(&database, |config| config.tokens.refresh_reuse_interval = grace).await;
    let first = server.log_in("ada", PASSWORD).await.unwrap();
    refresh(&server, &first.refresh_token).await.unwrap();
    // What it looks like to a clock that was set back by an hour since.
    let mut connection = sqlx::AnyConnection::connect(&database.url).await.unwrap();
    let later = "UPDATE families SET rotated_at = rotated_at + 3600000";
    connection.execute(later).await.unwrap();
    assert_eq!(refused(refresh(&server, &first.refresh_token).await), Reason::RefreshReused);
}
