//! What auth itself knows of revocations, and streams.

use std::{collections::BTreeSet, time::Duration};

use accord_api::accord::{
    auth::v1::{
        ExchangeRequest, RevokeRequest, StoreMark, WatchRequest, WatchResponse,
        revocation_service_client::RevocationServiceClient, revoke_request::Target,
    },
    fault::v1::Reason,
};
use accord_auth::{config::Config, domain::encryption_key::generate_secret, store::Store};
use accord_runtime::config::Secret;
use accord_token::{Claims, Type, sign, verify};
use sqlx::{Connection, Executor};
use tokio::sync::mpsc;
use tonic::Streaming;

use super::{Database, Server, admin, authorized, eventually, refused};

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

pub(crate) async fn revocation_of_what_no_verifier_accepts_is_not_recorded(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (ada, state) = (server.token_of("ada").await, server.auth.state.current().await.unwrap());
    let key = state.signing_key(verify::now()).unwrap();
    let good = server.auth.verify_access_token(&ada, &state).unwrap().claims;
    let revoke = async |exp: i64, iat: i64| {
        let claims = Claims { exp, iat, jti: format!("{exp}"), ..good.clone() };
        let target = Some(Target::Token(sign::sign(&claims, Type::Access, &key).unwrap()));
        server.tokens().revoke(RevokeRequest { target }).await.unwrap();
        server.auth.state.current().await.unwrap().revocations.revision
    };
    let (before, now) = (state.revocations.revision, verify::now());
    // Whoever has a key could have auth and every verifier remember these for ever.
    for (exp, iat) in [(i64::MAX, now), (now + 86_401, now), (now + 86_400, now + 8_000), (now, now)] {
        assert_eq!(revoke(exp, iat).await, before, "{exp} {iat}");
    }
    assert!(revoke(now + 86_400, now).await > before);
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

/// The update for a verifier that knows the revision `since`: whether it is everything, and of how many subjects and tokens. What is
/// committed while auth reads is read twice, and may be told twice.
async fn told(server: &Server, since: u64) -> (bool, usize, usize) {
    let update = server.auth.state.current().await.unwrap().update_since(since);
    let different = |names: Vec<&str>| names.into_iter().collect::<BTreeSet<_>>().len();
    let subjects = different(update.subjects.iter().map(|(name, _)| &**name).collect());
    (update.full, subjects, different(update.tokens.iter().map(|(jti, _)| &**jti).collect()))
}

/// Revokes so many tokens at one revision, as one statement of another process does.
async fn revoke_together(server: &Server, first: usize, tokens: usize) -> u64 {
    let mut tx = server.auth.store.begin().await.unwrap();
    let revision = tx.next_revision().await.unwrap();
    for number in first..first + tokens {
        tx.revoke_token(&format!("token-{number}"), verify::now() + 600, revision).await.unwrap();
    }
    tx.commit().await.unwrap();
    revision
}

pub(crate) async fn update_has_what_came_together_and_all_of_it_where_that_is_too_much(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let before = server.auth.state.current().await.unwrap().revocations.revision;
    admin(&server.auth.store).revoke_subject("ada").await.unwrap();
    let few = revoke_together(&server, 0, 3).await;
    assert_eq!(told(&server, before).await, (false, 1, 3), "all that came since");
    assert_eq!(told(&server, few - 1).await, (false, 0, 3), "those that came together");
    let many = revoke_together(&server, 3, 1100).await;
    assert_eq!(told(&server, few).await, (true, 1, 1103), "more than are told one by one");
    assert_eq!(told(&server, many).await, (false, 0, 0), "nothing new");
    revoke_together(&server, 1103, 1).await;
    assert_eq!(told(&server, many).await, (false, 0, 1), "what came after that");
}

/// What an older copy in the store's place looks like: what was revoked is not.
pub(crate) async fn put_back(database: &Database) {
    let mut connection = sqlx::AnyConnection::connect(&database.url).await.unwrap();
    for step in [
        "DELETE FROM revoked",
        "UPDATE principals SET epoch = 0, epoch_at = 0, epoch_revision = 0",
        "UPDATE meta SET value = 1 WHERE name = 'revision'",
    ] {
        connection.execute(step).await.unwrap();
    }
}

pub(crate) async fn older_store_in_place_of_a_served_one_revives_nothing(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (ada, root) = (server.token_of("ada").await, server.token_of("root").await);
    admin(&server.auth.store).revoke_subject("ada").await.unwrap();
    server.tokens().revoke(RevokeRequest { target: Some(Target::Token(root.clone())) }).await.unwrap();
    put_back(&database).await;
    assert!(!server.is_active(&ada).await && !server.is_active(&root).await);
    let new = server.token_of("ada").await;
    assert!(server.is_active(&new).await, "what is issued afterwards is good");
}

pub(crate) async fn older_store_revives_nothing_at_an_auth_that_starts_on_it_with_its_mark(database: Database) {
    let (key, mark) = (generate_secret().unwrap(), database.directory.path().join("own.mark"));
    let start = async || {
        let with_mark = |config: &mut Config| {
            config.keys.encryption_key = Secret::from(key.clone());
            config.store.mark_file = Some(mark.clone());
        };
        Server::start(&database, with_mark).await
    };
    let server = start().await;
    let (ada, root) = (server.token_of("ada").await, server.token_of("root").await);
    // By this process, and by another one that has no mark: this one learns of it.
    server.tokens().revoke(RevokeRequest { target: Some(Target::Token(root.clone())) }).await.unwrap();
    let other = Store::open(&database.url).await.unwrap();
    admin(&other).revoke_subject("ada").await.unwrap();
    let revision = other.mark().await.unwrap().revision.to_string();
    let is_known = || std::fs::read_to_string(&mark).is_ok_and(|text| text.split(' ').nth(1) == Some(&revision));
    eventually("the mark is raised", is_known).await;
    server.stop().await;

    put_back(&database).await;
    // Nothing beside its own file tells this one, and no verifier has asked yet.
    let server = start().await;
    assert!(!server.is_active(&ada).await && !server.is_active(&root).await);
    let new = server.token_of("ada").await;
    assert!(server.is_active(&new).await, "what is issued afterwards is good");
}

pub(crate) async fn store_older_than_a_verifier_has_seen_it_revokes_everything(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let ada = server.token_of("ada").await;
    let known = server.auth.store.mark().await.unwrap();
    let seen = StoreMark { store: known.store, revision: known.revision + 5, global_epoch: known.global_epoch + 2 };
    let news = watched(&server, Some(seen)).await;
    assert!(news.revision >= known.revision + 6, "newer than all that are known");
    assert!(news.global_epoch >= known.global_epoch + 3);
    assert!(!server.is_active(&ada).await);
    let (entries, broken) = server.auth.store.audit_log().await.unwrap();
    assert!(broken.is_none() && entries.iter().any(|entry| entry.action == "store.older"));
}

pub(crate) async fn what_a_verifier_has_seen_of_another_store_revokes_nothing(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let ada = server.token_of("ada").await;
    let known = server.auth.store.mark().await.unwrap();
    for seen in [
        StoreMark { store: known.store + 1, revision: known.revision + 5, global_epoch: known.global_epoch },
        StoreMark { store: known.store, revision: u64::MAX, global_epoch: u64::MAX },
    ] {
        assert_eq!(watched(&server, Some(seen)).await.revision, known.revision);
    }
    assert!(server.is_active(&ada).await);
}

/// The first answer to a verifier that has seen the store come this far.
async fn watched(server: &Server, seen: Option<StoreMark>) -> WatchResponse {
    let mesh = server.mesh_token().await;
    let question = tokio_stream::iter([WatchRequest { question: 1, revision: 0, seen }]);
    let questions = tokio_stream::StreamExt::chain(question, tokio_stream::pending());
    let request = authorized(questions, &mesh);
    let mut answers = RevocationServiceClient::new(server.channel.clone()).watch(request).await.unwrap().into_inner();
    answers.message().await.unwrap().unwrap()
}

/// A verifier that has asked once, with this token.
struct Watching {
    questions: mpsc::Sender<WatchRequest>,
    answers: Streaming<WatchResponse>,
}

impl Watching {
    async fn start(server: &Server, token: &str) -> Self {
        let (questions, asked) = mpsc::channel(2);
        let request = authorized(tokio_stream::wrappers::ReceiverStream::new(asked), token);
        questions.send(WatchRequest { question: 1, revision: 0, seen: None }).await.unwrap();
        let answers = RevocationServiceClient::new(server.channel.clone()).watch(request).await.unwrap().into_inner();
        let mut watching = Self { questions, answers };
        assert_eq!(watching.answers.message().await.unwrap().unwrap().question, 1);
        watching
    }

    /// How the stream ends: news may come before.
    async fn end(&mut self) -> Reason {
        loop {
            match self.answers.message().await {
                Ok(Some(_)) => {}
                ended => return refused(ended),
            }
        }
    }
}

pub(crate) async fn stream_of_a_verifier_whose_own_token_is_revoked_ends(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let mut watching = Watching::start(&server, &server.mesh_token().await).await;
    admin(&server.auth.store).revoke_subject("gateway").await.unwrap();
    // The stream may have ended by then: auth looks for what other processes revoke by itself.
    let _ = watching.questions.send(WatchRequest { question: 2, revision: 0, seen: None }).await;
    assert_eq!(watching.end().await, Reason::TokenRevoked);
}

pub(crate) async fn stream_of_a_verifier_that_asks_nothing_ends_with_its_token(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (revoked, expiring) = (server.mesh_token().await, Duration::from_secs(1));
    let mut watching = Watching::start(&server, &revoked).await;
    server.tokens().revoke(RevokeRequest { target: Some(Target::Token(revoked)) }).await.unwrap();
    assert_eq!(watching.end().await, Reason::TokenRevoked);
    // Accepted for the leeway of 10 s longer.
    let expiring = server.auth.issue_token("gateway", expiring, "test").await.unwrap();
    let mut watching = Watching::start(&server, &expiring).await;
    let ended = tokio::time::timeout(Duration::from_mins(1), watching.end()).await;
    assert_eq!(ended.expect("the stream ends"), Reason::TokenExpired);
}
