//! What auth itself knows of revocations, and streams.

use accord_api::accord::{
    auth::v1::{
        ExchangeRequest, RevokeRequest, WatchRequest, revocation_service_client::RevocationServiceClient,
        revoke_request::Target,
    },
    fault::v1::Reason,
};
use sqlx::{Connection, Executor};

use super::{Database, Server, admin, authorized, refused};

pub(crate) async fn revoked_token_is_not_active(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let token = server.token_of("ada").await;
    assert!(server.is_active(&token).await);
    server.tokens().revoke(RevokeRequest { target: Some(Target::Token(token.clone())) }).await.unwrap();
    assert!(!server.is_active(&token).await);
}

pub(crate) async fn revocation_of_a_passport_is_refused(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let exchange = ExchangeRequest {
        subject_token: server.token_of("ada").await,
        audience: "catalog".to_owned(),
        ..ExchangeRequest::default()
    };
    let exchanged = server.tokens().exchange(authorized(exchange, &server.mesh_token().await)).await.unwrap();
    let target = Some(Target::Token(exchanged.into_inner().passport));
    assert_eq!(refused(server.tokens().revoke(RevokeRequest { target }).await), Reason::FieldInvalid);
}

pub(crate) async fn revocation_of_what_is_no_token_changes_nothing(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let target = Some(Target::Token("no token".to_owned()));
    assert!(server.tokens().revoke(RevokeRequest { target }).await.is_ok());
}

pub(crate) async fn later_revocation_is_added_to_earlier_ones(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (ada, root) = (server.token_of("ada").await, server.token_of("root").await);
    admin(&server.auth.store).revoke_subject("ada").await.unwrap();
    assert!(!server.is_active(&ada).await);
    server.tokens().revoke(RevokeRequest { target: Some(Target::Token(root.clone())) }).await.unwrap();
    assert!(!server.is_active(&ada).await && !server.is_active(&root).await);
}

pub(crate) async fn verifier_ahead_of_the_store_is_sent_everything(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    assert!(server.auth.state.current().await.unwrap().update_since(u64::MAX).full);
}

pub(crate) async fn restored_store_replaces_what_was_known(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (ada, root) = (server.token_of("ada").await, server.token_of("root").await);
    admin(&server.auth.store).revoke_subject("ada").await.unwrap();
    server.tokens().revoke(RevokeRequest { target: Some(Target::Token(root.clone())) }).await.unwrap();
    assert!(!server.is_active(&ada).await && !server.is_active(&root).await);

    let mut connection = sqlx::AnyConnection::connect(&database.url).await.unwrap();
    for step in [
        "DELETE FROM revoked",
        "UPDATE principals SET epoch = 0, epoch_at = 0, epoch_revision = 0",
        "UPDATE meta SET value = 1 WHERE name = 'revision'",
    ] {
        connection.execute(step).await.unwrap();
    }
    assert!(server.is_active(&ada).await && server.is_active(&root).await, "nothing of the other store is left");
}

pub(crate) async fn stream_of_a_verifier_whose_own_token_is_revoked_ends(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mesh = server.mesh_token().await;
    let (questions, asked) = tokio::sync::mpsc::channel(2);
    let ask = async |question| questions.send(WatchRequest { question, revision: 0 }).await.unwrap();
    ask(1).await;
    let request = authorized(tokio_stream::wrappers::ReceiverStream::new(asked), &mesh);
    let mut answers = RevocationServiceClient::new(server.channel.clone()).watch(request).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().question, 1);
    admin(&server.auth.store).revoke_subject("gateway").await.unwrap();
    ask(2).await;
    assert_eq!(refused(answers.message().await), Reason::TokenRevoked);
}
