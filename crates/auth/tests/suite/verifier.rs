//! A verifier in the mesh: what it accepts, what it decides, and how soon it refuses.

use std::time::{Duration, Instant};

use accord_api::accord::auth::v1::{RevokeRequest, revoke_request::Target};
use accord_auth::{config::Config, domain::encryption_key::generate_secret, store::Store};
use accord_mesh::MeshClient;
use accord_runtime::{config::Secret, deadline::Deadline, request::RequestId};
use accord_token::{Refusal, verify};
use sqlx::{AssertSqlSafe, Connection, Executor};
use tokio::net::TcpSocket;

use super::{BOUND, Database, READ, Server, admin, eventually, mesh_client, proxy::Proxy};

pub(crate) async fn ready_client(server: &Server) -> MeshClient {
    let client = server.mesh_client(BOUND);
    eventually("the mesh client is ready", || client.ready()).await;
    client
}

fn in_ten_seconds() -> (Deadline, RequestId) {
    (Deadline::after(Duration::from_secs(10)), RequestId::new())
}

pub(crate) async fn access_token_verifies_with_its_subject_and_tenant(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let ada = ready_client(&server).await.verify(&server.token_of("ada").await).unwrap();
    assert_eq!((ada.claims.sub.as_str(), ada.claims.tenant.as_str()), ("ada", "north"));
}

pub(crate) async fn allowed_question_brings_a_passport_for_its_upstream_alone(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (client, token) = (ready_client(&server).await, server.token_of("ada").await);
    let ada = client.verify(&token).unwrap();
    let (deadline, id) = in_ten_seconds();
    let decision = client.decide(&token, &ada, &READ, deadline, &id).await.unwrap();
    let passport = decision.passport.as_ref().unwrap();
    assert!(passport.is_sensitive());
    let passport = passport.to_str().unwrap();
    let accepted = client.verify_passport(passport, "catalog").unwrap();
    assert_eq!(accepted.claims.ptj.as_deref(), Some(ada.claims.jti.as_str()));
    assert!(matches!(client.verify_passport(passport, "orders"), Err(Refusal::Invalid(_))));
    assert!(matches!(client.verify(passport), Err(Refusal::Invalid(_))), "a passport is no access token");
}

pub(crate) async fn decision_asked_again_is_answered_from_memory(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (client, token) = (ready_client(&server).await, server.token_of("ada").await);
    let ada = client.verify(&token).unwrap();
    let (deadline, id) = in_ten_seconds();
    let first = client.decide(&token, &ada, &READ, deadline, &id).await.unwrap();
    let again = client.decide(&token, &ada, &READ, deadline, &id).await.unwrap();
    assert_eq!(again.passport, first.passport);
}

/// A server whose readers read on this condition alone.
async fn where_readers_read_when(database: &Database, condition: &str) -> Server {
    let file = database.directory.path().join("when.cedar");
    let policy = format!(
        "forbid(principal, action == Accord::Action::\"catalog.products.read\", resource) unless {{ {condition} }};"
    );
    std::fs::write(&file, policy).unwrap();
    Server::start(database, |config| config.policy.files.push(file)).await
}

pub(crate) async fn decision_under_a_policy_over_addresses_holds_for_its_address_alone(database: Database) {
    let inside = "context has address && context.address.isInRange(ip(\"10.0.0.0/8\"))";
    let server = where_readers_read_when(&database, inside).await;
    let (client, token) = (ready_client(&server).await, server.token_of("ada").await);
    let ada = client.verify(&token).unwrap();
    let (deadline, id) = in_ten_seconds();
    for (address, allowed) in [("10.0.0.1", true), ("192.0.2.1", false), ("10.0.0.1", true)] {
        let question = accord_mesh::Question { address: Some(address.parse().unwrap()), ..READ };
        let decided = client.decide(&token, &ada, &question, deadline, &id).await;
        assert_eq!(decided.is_ok(), allowed, "{address}");
    }
}

pub(crate) async fn decision_under_a_policy_over_protocols_holds_for_its_protocol_alone(database: Database) {
    let server = where_readers_read_when(&database, "context.protocol == \"grpc\"").await;
    let (client, token) = (ready_client(&server).await, server.token_of("ada").await);
    let ada = client.verify(&token).unwrap();
    let (deadline, id) = in_ten_seconds();
    for (protocol, allowed) in [("grpc", true), ("json", false), ("grpc", true)] {
        let question = accord_mesh::Question { protocol, ..READ };
        let decided = client.decide(&token, &ada, &question, deadline, &id).await;
        assert_eq!(decided.is_ok(), allowed, "{protocol}");
    }
}

pub(crate) async fn question_without_the_permission_is_refused(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (client, token) = (ready_client(&server).await, server.token_of("ada").await);
    let ada = client.verify(&token).unwrap();
    let (deadline, id) = in_ten_seconds();
    let write = accord_mesh::Question { permission: "catalog.products.write", ..READ };
    assert_eq!(client.decide(&token, &ada, &write, deadline, &id).await.unwrap_err(), Refusal::PermissionMissing);
}

pub(crate) async fn revoked_token_and_its_passport_are_refused(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (client, token) = (ready_client(&server).await, server.token_of("ada").await);
    let ada = client.verify(&token).unwrap();
    let (deadline, id) = in_ten_seconds();
    let decision = client.decide(&token, &ada, &READ, deadline, &id).await.unwrap();
    let passport = decision.passport.as_ref().unwrap().to_str().unwrap();
    server.tokens().revoke(RevokeRequest { target: Some(Target::Token(token.clone())) }).await.unwrap();
    eventually("the token is refused", || matches!(client.verify(&token), Err(Refusal::Revoked))).await;
    assert_eq!(client.verify_passport(passport, "catalog").unwrap_err(), Refusal::Revoked);
}

pub(crate) async fn decision_that_does_not_come_ends_with_the_callers_deadline(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    // Far beyond the deadline, so that it can't be the bound that ends the wait.
    let (proxy, bound) = (Proxy::to(server.address).await, Duration::from_secs(30));
    let client = mesh_client(proxy.address, bound);
    eventually("the mesh client is ready", || client.ready()).await;
    let token = server.token_of("ada").await;
    let ada = client.verify(&token).unwrap();

    proxy.stall();
    let (deadline, id) = (Deadline::after(Duration::from_millis(100)), RequestId::new());
    let refused = client.decide(&token, &ada, &READ, deadline, &id).await.unwrap_err();
    assert_eq!(refused, Refusal::DeadlineExceeded);
}

pub(crate) async fn stalled_connection_makes_a_verifier_refuse_within_the_bound(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (proxy, bound) = (Proxy::to(server.address).await, Duration::from_secs(1));
    let client = mesh_client(proxy.address, bound);
    eventually("the mesh client is ready", || client.ready()).await;
    let token = server.token_of("ada").await;
    assert!(client.verify(&token).is_ok());

    proxy.stall();
    let stalled = Instant::now();
    admin(&server.auth.store).revoke_subject("ada").await.unwrap();
    eventually("the mesh client refuses", || {
        let asked = Instant::now();
        let refusal = client.verify(&token).err();
        assert!(refusal.is_some() || asked <= stalled + bound, "accepted beyond the bound");
        // A question that was under way when the stall began keeps what it brings for a bound of its own.
        refusal == Some(Refusal::Stale) && asked > stalled + bound
    })
    .await;
    // The answers that waited in the proxy are as old as their questions, and none of them makes the token good again.
    proxy.resume();
    eventually("the mesh client has heard of it", || {
        let refusal = client.verify(&token).err();
        assert!(refusal.is_some(), "accepted after it was revoked");
        refusal == Some(Refusal::Revoked)
    })
    .await;
}

pub(crate) async fn subject_revoked_by_another_process_is_refused(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let client = ready_client(&server).await;
    let (ada, root) = (server.token_of("ada").await, server.token_of("root").await);
    assert!(client.verify(&ada).is_ok());
    let other = Store::open(&database.url).await.unwrap();
    admin(&other).revoke_subject("ada").await.unwrap();
    eventually("the token is refused", || matches!(client.verify(&ada), Err(Refusal::Revoked))).await;
    assert!(client.verify(&root).is_ok());
}

pub(crate) async fn everything_revoked_by_another_process_is_refused(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let client = ready_client(&server).await;
    let before = server.token_of("ada").await;
    let other = Store::open(&database.url).await.unwrap();
    admin(&other).revoke_everything().await.unwrap();
    eventually("the token is refused", || matches!(client.verify(&before), Err(Refusal::Revoked))).await;
    // The mesh client's own token fell as well; it logs in again by itself.
    let after = server.token_of("ada").await;
    eventually("the mesh client is ready again", || client.verify(&after).is_ok() && client.ready()).await;
}

pub(crate) async fn hundred_thousand_revocations_reach_a_verifier(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let token = server.token_of("ada").await;
    let now = verify::now();
    let mut connection = sqlx::AnyConnection::connect(&database.url).await.unwrap();
    // Half of them ended long enough ago for every clock.
    let revoked = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)
         INSERT INTO revoked (jti, expires_at, revision)
         SELECT '0123456789abcdef0123456789abcdef' || i, {now} - 3 * 3600 + 4 * 3600 * (i % 2), value + 1 FROM n, meta
         WHERE name = 'revision'"
    );
    connection.execute(AssertSqlSafe(revoked)).await.unwrap();
    connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'revision'").await.unwrap();
    let state = server.auth.state.current().await.unwrap();
    assert_eq!(state.update_since(0).tokens.len(), 100_000);
    assert!(ready_client(&server).await.verify(&token).is_ok());
}

pub(crate) async fn restart_of_auth_is_shorter_than_the_bound(database: Database) {
    let key = generate_secret().unwrap();
    let with_key = |config: &mut Config| config.keys.encryption_key = Secret::from(key.clone());
    // Bound all the while, so that no connection gets the port between the two.
    let bound = TcpSocket::new_v4().unwrap();
    bound.set_reuseaddr(true).unwrap();
    bound.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = bound.local_addr().unwrap().to_string();
    let server = Server::start_at(&address, &database, with_key).await;
    let client = server.mesh_client(Duration::from_secs(5));
    eventually("the mesh client is ready", || client.ready()).await;
    let token = server.token_of("ada").await;
    server.stop().await;
    assert!(client.verify(&token).is_ok(), "what is known is fresh enough for a while");

    let server = Server::start_at(&address, &database, with_key).await;
    admin(&server.auth.store).revoke_subject("ada").await.unwrap();
    eventually("the mesh client hears of it from the new process", || {
        let refusal = client.verify(&token).err();
        assert_ne!(refusal, Some(Refusal::Stale), "the gap was shorter than the bound");
        refusal == Some(Refusal::Revoked)
    })
    .await;
}

pub(crate) async fn store_that_is_down_makes_a_verifier_stale(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let client = server.mesh_client(Duration::from_millis(500));
    eventually("the mesh client is ready", || client.ready()).await;
    let token = server.token_of("ada").await;
    assert!(client.verify(&token).is_ok());
    server.auth.store.close().await;
    eventually("the mesh client accepts nothing", || matches!(client.verify(&token), Err(Refusal::Stale))).await;
    eventually("the mesh client is not ready", || !client.ready()).await;
}
