//! Passports: tokens narrowed to one audience (RFC 8693).

use std::time::Duration;

use accord_api::accord::{
    auth::v1::{
        CheckRequest, ExchangeRequest, ExchangeResponse, RevokeRequest, access_service_client::AccessServiceClient,
        revoke_request::Target,
    },
    fault::v1::Reason,
};
use accord_auth::domain::{denial::Denial, issue};
use accord_token::{Kind, Refusal, verify};
use tonic::Status;

use super::{BOUND, Database, READ, Server, admin, authorized, eventually, principal, refused};

/// Exchanges the subject's token as this workload.
async fn exchange(server: &Server, token: &str, audience: &str, workload: &str) -> Result<ExchangeResponse, Status> {
    exchange_for(server, token, "", audience, workload).await
}

/// Exchanges the subject's token as this workload, for the actor whose token it brings.
async fn exchange_for(
    server: &Server,
    token: &str,
    actor: &str,
    audience: &str,
    workload: &str,
) -> Result<ExchangeResponse, Status> {
    let (subject_token, audience) = (token.to_owned(), audience.to_owned());
    let message = ExchangeRequest { subject_token, audience, actor_token: actor.to_owned() };
    server.tokens().exchange(authorized(message, workload)).await.map(tonic::Response::into_inner)
}

/// A server with a second workload, and the tokens of both: the gateway's and the catalog's.
pub(crate) async fn with_catalog(database: &Database) -> (Server, String, String) {
    let server = Server::start(database, |_| {}).await;
    let (gateway, catalog) = (server.mesh_token().await, catalog_token(&server).await);
    (server, gateway, catalog)
}

/// Adds the catalog as a workload; its token.
pub(crate) async fn catalog_token(server: &Server) -> String {
    let catalog = principal("catalog", Kind::Service, &["accord-mesh"]);
    admin(&server.auth.store).add_principal(&catalog, None).await.unwrap();
    server.token_of("catalog").await
}

pub(crate) async fn malformed_audience_is_refused(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (ada, gateway) = (server.token_of("ada").await, server.mesh_token().await);
    for audience in ["", "two words", &"x".repeat(257)] {
        assert_eq!(refused(exchange(&server, &ada, audience, &gateway).await), Reason::FieldInvalid, "{audience}");
    }
}

pub(crate) async fn exchange_of_a_revoked_token_is_refused_as_revoked(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (ada, gateway) = (server.token_of("ada").await, server.mesh_token().await);
    admin(&server.auth.store).revoke_subject("ada").await.unwrap();
    assert_eq!(refused(exchange(&server, &ada, "catalog", &gateway).await), Reason::TokenRevoked);
}

pub(crate) async fn passport_of_a_token_within_its_leeway_is_refused_as_expired(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let state = server.auth.state.current().await.unwrap();
    let mut subject = server.auth.verify_access_token(&server.token_of("ada").await, &state).unwrap();
    subject.claims.exp = verify::now();
    let denial = issue::passport(&server.auth.tokens, &state, &subject, "catalog", "gateway").err();
    assert!(matches!(denial, Some(Denial::Subject(Refusal::Expired))));
}

pub(crate) async fn passport_ends_no_later_than_its_parent(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let ada = server.auth.issue_token("ada", Duration::from_mins(1), "test").await.unwrap();
    let passport = exchange(&server, &ada, "catalog", &server.mesh_token().await).await.unwrap();
    assert!(passport.expires_in.unwrap().seconds <= 60);
}

pub(crate) async fn passport_is_exchanged_only_by_its_own_audience(database: Database) {
    let (server, gateway, catalog) = with_catalog(&database).await;
    let first = exchange(&server, &server.token_of("ada").await, "catalog", &gateway).await.unwrap();
    assert!(exchange(&server, &first.passport, "orders", &gateway).await.is_err(), "it was made for the catalog");
    assert!(exchange(&server, &first.passport, "orders", &catalog).await.is_ok());
}

pub(crate) async fn decision_about_a_passport_is_for_its_own_audience_alone(database: Database) {
    let (server, gateway, catalog) = with_catalog(&database).await;
    let passport = exchange(&server, &server.token_of("ada").await, "catalog", &gateway).await.unwrap().passport;
    let ask = async |permission: &str, workload: &str| {
        let (token, permission) = (passport.clone(), permission.to_owned());
        let check = CheckRequest { token, permission, audience: "catalog".to_owned(), ..CheckRequest::default() };
        let answer = AccessServiceClient::new(server.channel.clone()).check(authorized(check, workload)).await;
        answer.map(|answer| (answer.get_ref().allowed, answer.get_ref().principal.clone().unwrap_or_default().subject))
    };
    assert_eq!(ask(READ.permission, &catalog).await.unwrap(), (true, "ada".to_owned()));
    assert!(!ask("catalog.products.write", &catalog).await.unwrap().0);
    assert_eq!(refused(ask(READ.permission, &gateway).await), Reason::CredentialInvalid, "it was made for the catalog");
}

pub(crate) async fn passport_names_its_parent_and_every_actor(database: Database) {
    let (server, gateway, catalog) = with_catalog(&database).await;
    let client = server.mesh_client(BOUND);
    eventually("the mesh client is ready", || client.ready()).await;
    let ada = server.token_of("ada").await;
    let first = exchange(&server, &ada, "catalog", &gateway).await.unwrap();
    let second = exchange(&server, &first.passport, "orders", &catalog).await.unwrap();
    let accepted = client.verify_passport(&second.passport, "orders").unwrap();
    assert_eq!(accepted.claims.ptj, Some(client.verify(&ada).unwrap().claims.jti.clone()));
    let newest = accepted.claims.act.as_ref().unwrap();
    assert_eq!((newest.sub.as_str(), newest.act.as_ref().unwrap().sub.as_str()), ("catalog", "gateway"));
}

pub(crate) async fn passport_of_a_passport_is_revoked_with_the_first_parent(database: Database) {
    let (server, gateway, catalog) = with_catalog(&database).await;
    let client = server.mesh_client(BOUND);
    eventually("the mesh client is ready", || client.ready()).await;
    let ada = server.token_of("ada").await;
    let first = exchange(&server, &ada, "catalog", &gateway).await.unwrap();
    let second = exchange(&server, &first.passport, "orders", &catalog).await.unwrap();
    assert!(client.verify_passport(&second.passport, "orders").is_ok());
    server.tokens().revoke(RevokeRequest { target: Some(Target::Token(ada)) }).await.unwrap();
    let refused = || matches!(client.verify_passport(&second.passport, "orders"), Err(Refusal::Revoked));
    eventually("the passport of the passport is refused", refused).await;
}

pub(crate) async fn passport_names_the_holder_of_the_actor_token_and_not_the_caller(database: Database) {
    let (server, gateway, catalog) = with_catalog(&database).await;
    let first = exchange(&server, &server.token_of("ada").await, "catalog", &gateway).await.unwrap();
    let second = exchange_for(&server, &first.passport, &catalog, "orders", &gateway).await.unwrap();
    let state = server.auth.state.current().await.unwrap();
    let claims = server.auth.verify_passport(&second.passport, "orders", &state).unwrap().claims;
    assert_eq!(claims.actors().collect::<Vec<_>>(), ["catalog", "gateway"]);
}

pub(crate) async fn passport_is_refused_with_the_actor_token_of_another_audience(database: Database) {
    let (server, gateway, catalog) = with_catalog(&database).await;
    let first = exchange(&server, &server.token_of("ada").await, "orders", &gateway).await.unwrap();
    let answer = exchange_for(&server, &first.passport, &catalog, "stock", &gateway).await;
    assert_eq!(refused(answer), Reason::CredentialInvalid);
}

pub(crate) async fn actor_token_of_a_person_is_refused(database: Database) {
    let (server, gateway, _) = with_catalog(&database).await;
    let (ada, root) = (server.token_of("ada").await, server.token_of("root").await);
    assert_eq!(refused(exchange_for(&server, &ada, &root, "orders", &gateway).await), Reason::FieldInvalid);
}

pub(crate) async fn actor_token_of_a_revoked_workload_is_refused_as_revoked(database: Database) {
    let (server, gateway, catalog) = with_catalog(&database).await;
    let first = exchange(&server, &server.token_of("ada").await, "catalog", &gateway).await.unwrap();
    admin(&server.auth.store).revoke_subject("catalog").await.unwrap();
    let answer = exchange_for(&server, &first.passport, &catalog, "orders", &gateway).await;
    assert_eq!(refused(answer), Reason::TokenRevoked);
}

/// What becomes of the ninth exchange of a request: each service calls itself again, a loop, which is what the bound is for.
async fn ninth_exchange(server: &Server, gateway: &str, catalog: &str) -> Result<ExchangeResponse, Status> {
    let mut token = server.token_of("ada").await;
    for hop in 0..8 {
        let actor = if hop == 0 { gateway } else { catalog };
        token = exchange_for(server, &token, actor, "catalog", gateway).await.unwrap().passport;
    }
    exchange_for(server, &token, catalog, "catalog", gateway).await
}

pub(crate) async fn passport_names_eight_actors_at_most(database: Database) {
    let (server, gateway, catalog) = with_catalog(&database).await;
    assert_eq!(refused(ninth_exchange(&server, &gateway, &catalog).await), Reason::ActorChainTooLong);
}

pub(crate) async fn actor_chain_too_long_names_the_chain_and_no_person(database: Database) {
    let (server, gateway, catalog) = with_catalog(&database).await;
    let message = ninth_exchange(&server, &gateway, &catalog).await.unwrap_err().message().to_owned();
    let chain = format!(": the caller -> gateway{}; ", " -> catalog".repeat(9));
    assert!(message.contains(&chain) && message.contains("loop"), "{message}");
}
