//! Another encryption key takes the place of the one before.

use std::time::Duration;

use accord_api::accord::{
    auth::v1::{AddApiKeyRequest, AddApiKeyResponse, RefreshRequest, admin_service_client::AdminServiceClient},
    fault::v1::Reason,
};
use accord_auth::{
    config::Config,
    domain::{auth::Auth, encryption_key::generate_secret, reseal::Resealed},
};
use accord_runtime::config::Secret;
use sqlx::{Connection as _, Executor as _};
use tonic::Request;

use super::{
    Database, PASSWORD, Server,
    account::{App, log_in_with, with_second_factor},
    api_keys::{self, log_in},
    authorized, config, refused,
};

/// A key, and one that is accepted beside it.
fn with_keys(current: &str, accepted: Option<&str>) -> impl Fn(&mut Config) + use<> {
    let [current, accepted] = [current, accepted.unwrap_or_default()].map(|key| Secret::from(key.to_owned()));
    move |config| {
        config.keys.encryption_key = current.clone();
        config.keys.accepted_encryption_key = accepted.clone();
    }
}

/// What was made under a key: a session, an API key and a second factor of ada's.
struct Made {
    refresh_token: String,
    api_key: String,
    app: App,
}

impl Made {
    async fn at(server: &Server) -> Self {
        let refresh_token = server.log_in("ada", PASSWORD).await.unwrap().refresh_token;
        let (_, api_key) = api_keys::add(server, "", None).await;
        Self { refresh_token, api_key, app: with_second_factor(server).await }
    }

    /// Uses what only its holder can prove.
    async fn use_secrets(&mut self, server: &Server) {
        log_in(server, &self.api_key).await.unwrap();
        self.refresh_token = refreshed(server, &self.refresh_token).await;
    }
}

async fn refreshed(server: &Server, refresh_token: &str) -> String {
    let request = RefreshRequest { refresh_token: refresh_token.to_owned() };
    server.tokens().refresh(request).await.unwrap().into_inner().refresh_token
}

/// Until every API key that was used is written down; what nobody waits for there is waited for here.
async fn resealed(auth: &Auth) -> Resealed {
    let waiting = async {
        loop {
            let resealed = auth.reseal("test").await.unwrap();
            if resealed.is_done() {
                return resealed;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("everything was used")
}

pub(crate) async fn replicas_go_over_to_another_encryption_key_while_they_serve(database: Database) {
    let [old, new] = [(); 2].map(|()| generate_secret().unwrap());
    let first = Server::start(&database, with_keys(&old, None)).await;
    let mut made = Made::at(&first).await;
    // Every replica knows both before any uses the new one, and then they go over one after the other.
    let before = Server::start(&database, with_keys(&old, Some(&new))).await;
    let after = Server::start(&database, with_keys(&new, Some(&old))).await;
    for server in [&after, &before, &after, &before] {
        made.use_secrets(server).await;
        assert!(server.is_active(&server.token_of("ada").await).await);
    }
    made.use_secrets(&after).await;
    assert_eq!(resealed(&after.auth).await.lost_second_factors, 0);

    let alone = Server::start(&database, with_keys(&new, None)).await;
    made.use_secrets(&alone).await;
    assert!(log_in_with(&alone, &made.app.code(0)).await.is_ok());
    assert!(alone.is_active(&alone.token_of("ada").await).await, "it signs");
}

pub(crate) async fn reseal_is_not_done_before_every_secret_was_used(database: Database) {
    let [old, new] = [(); 2].map(|()| generate_secret().unwrap());
    let mut made = Made::at(&Server::start(&database, with_keys(&old, None)).await).await;
    let server = Server::start(&database, with_keys(&new, Some(&old))).await;
    let (first, key) = (server.auth.reseal("test").await.unwrap(), &server.auth.encryption_key);
    assert_eq!((first.signing_keys, first.second_factors, first.is_done()), (1, 1, false));
    assert_eq!((first.waiting.api_keys, first.waiting.sessions), (1, 1));
    assert_eq!((&*first.key_id, Some(&*first.accepted_key_id)), (key.id(), key.accepted_id()));
    assert!(made.api_key.starts_with(&first.waiting.first_api_keys[0]));
    made.use_secrets(&server).await;
    let last = resealed(&server.auth).await;
    assert_eq!((last.signing_keys, last.second_factors), (0, 0), "once is enough");
    let (log, broken) = server.auth.store.audit_log().await.unwrap();
    let entries: Vec<_> = log.iter().filter(|entry| entry.action == "key.reseal").map(|it| &*it.target).collect();
    assert_eq!((entries, broken), (vec!["1 signing keys", "1 second factors"], None));
}

pub(crate) async fn session_that_ended_and_key_that_was_removed_need_no_encryption_key(database: Database) {
    let [old, new] = [(); 2].map(|()| generate_secret().unwrap());
    let made = Made::at(&Server::start(&database, with_keys(&old, None)).await).await;
    let server = Server::start(&database, with_keys(&new, Some(&old))).await;
    let admin = super::admin(&server.auth.store);
    admin.remove_api_key(&made.api_key[..19]).await.unwrap();
    admin.revoke_subject("ada").await.unwrap();
    assert!(server.auth.reseal("test").await.unwrap().is_done());
}

pub(crate) async fn start_with_the_new_encryption_key_alone_before_reseal_is_refused(database: Database) {
    let [old, new] = [(); 2].map(|()| generate_secret().unwrap());
    let server = Server::start(&database, with_keys(&old, None)).await;
    let error = Auth::open(&config(&database, with_keys(&new, None))).await.err().unwrap().to_string();
    let kid = server.kid_of(&server.token_of("ada").await).await;
    assert!(error.contains(&kid) && error.contains("keys.accepted_encryption_key_file"), "{error}");
}

pub(crate) async fn secrets_under_a_key_that_was_taken_out_too_early_let_nobody_in(database: Database) {
    let [old, new] = [(); 2].map(|()| generate_secret().unwrap());
    let mut made = Made::at(&Server::start(&database, with_keys(&old, None)).await).await;
    Server::start(&database, with_keys(&new, Some(&old))).await.auth.reseal("test").await.unwrap();
    let early = Server::start(&database, with_keys(&new, None)).await;
    assert_eq!(refused(log_in(&early, &made.api_key).await), Reason::CredentialInvalid);
    let request = RefreshRequest { refresh_token: made.refresh_token.clone() };
    assert_eq!(refused(early.tokens().refresh(request).await), Reason::CredentialInvalid);

    // They are good again where the key is put back.
    let again = Server::start(&database, with_keys(&new, Some(&old))).await;
    made.use_secrets(&again).await;
}

pub(crate) async fn second_factor_under_another_encryption_key_lets_nobody_in(database: Database) {
    let [old, new, third] = [(); 3].map(|()| generate_secret().unwrap());
    let made = Made::at(&Server::start(&database, with_keys(&old, None)).await).await;
    let server = Server::start(&database, with_keys(&new, Some(&old))).await;
    // The signing key is theirs alone who come after.
    let rotated = async |key: &str| {
        let key = accord_auth::domain::encryption_key::EncryptionKey::new(&Secret::from(key.to_owned())).unwrap();
        let algorithm = accord_token::Algorithm::EdDsa;
        accord_auth::domain::key_rotation::rotate(&server.auth.store, &key, algorithm, Duration::ZERO, "test").await
    };
    rotated(&third).await.unwrap();
    server.auth.store.destroy_retired_keys(accord_token::verify::now() + 60).await.unwrap();
    let other = Server::start(&database, with_keys(&third, Some(&new))).await;
    assert!(log_in_with(&other, &made.app.code(0)).await.is_err());
    let resealed = other.auth.reseal("test").await.unwrap();
    assert_eq!((resealed.lost_second_factors, resealed.is_done()), (1, false));
}

pub(crate) async fn reseal_without_another_encryption_key_is_refused(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let error = server.auth.reseal("test").await.unwrap_err().to_string();
    assert!(error.contains("keys.accepted_encryption_key_file"), "{error}");
}

pub(crate) async fn encryption_key_in_place_of_itself_is_refused(database: Database) {
    let key = generate_secret().unwrap();
    let error = Auth::open(&config(&database, with_keys(&key, Some(&key)))).await.err().unwrap().to_string();
    assert!(error.contains("keys.accepted_encryption_key_file"), "{error}");
}

pub(crate) async fn request_made_under_one_encryption_key_is_answered_alike_under_the_other(database: Database) {
    let [old, new] = [(); 2].map(|()| generate_secret().unwrap());
    let before = Server::start(&database, with_keys(&old, Some(&new))).await;
    let after = Server::start(&database, with_keys(&new, Some(&old))).await;
    let root = before.token_of("root").await;
    let add = async |server: &Server, key: &str| -> AddApiKeyResponse {
        let request = AddApiKeyRequest {
            subject: "ada".to_owned(),
            idempotency_key: key.to_owned(),
            ..AddApiKeyRequest::default()
        };
        let request: Request<_> = authorized(request, &root);
        AdminServiceClient::new(server.channel.clone()).add_api_key(request).await.unwrap().into_inner()
    };
    for (key, first, second) in [("one", &before, &after), ("other", &after, &before)] {
        assert_eq!(add(first, key).await, add(second, key).await);
    }
    // A build before this wrote down no key.
    let made = add(&before, "third").await;
    let mut connection = sqlx::AnyConnection::connect(&database.url).await.unwrap();
    connection.execute("UPDATE admin_requests SET key_id = ''").await.unwrap();
    assert_eq!(add(&after, "third").await, made);
}
