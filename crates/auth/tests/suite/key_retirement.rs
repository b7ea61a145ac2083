//! Signing keys that somebody else may have, and that are withdrawn at once.

use std::{collections::HashSet, time::Duration};

use accord_api::accord::{
    auth::v1::{ListKeysRequest, RetireRequest, RetireResponse, RotateRequest, key_service_client::KeyServiceClient},
    fault::v1::Reason,
};
use accord_auth::domain::key_rotation::rotate;
use accord_runtime::{deadline::Deadline, request::RequestId};
use accord_token::{Algorithm, InvalidTokenReason, Refusal, Type, sign, verify};
use tonic::{Status, transport::Channel};

use super::{
    Database, READ, Server, authorized, eventually, http::get, refused, revocation::put_back, verifier::ready_client,
};

fn keys(server: &Server) -> KeyServiceClient<Channel> {
    KeyServiceClient::new(server.channel.clone())
}

async fn signing(server: &Server) -> String {
    keys(server).list_keys(ListKeysRequest {}).await.unwrap().into_inner().signing_kid
}

async fn published(server: &Server) -> HashSet<String> {
    let listed = keys(server).list_keys(ListKeysRequest {}).await.unwrap().into_inner().keys;
    listed.into_iter().map(|key| key.kid).collect()
}

async fn retire(server: &Server, kid: &str, root: &str, idempotency_key: &str) -> Result<RetireResponse, Status> {
    let request = RetireRequest { kid: kid.to_owned(), idempotency_key: idempotency_key.to_owned() };
    keys(server).retire(authorized(request, root)).await.map(tonic::Response::into_inner)
}

/// A key that signs so long after now.
async fn publish(server: &Server, after: Duration) -> String {
    let (store, encryption_key) = (&server.auth.store, &server.auth.encryption_key);
    rotate(store, encryption_key, Algorithm::EdDsa, after, "test").await.unwrap().kid
}

pub(crate) async fn retired_signing_key_is_gone_with_everything_that_it_signed(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let client = ready_client(&server).await;
    let (ada, root, kid) = (server.token_of("ada").await, server.token_of("root").await, signing(&server).await);
    assert!(client.verify(&ada).is_ok());
    let successor = retire(&server, &kid, &root, "").await.unwrap().signing_kid;
    assert!(successor != kid && published(&server).await == HashSet::from([successor.clone()]));
    let set = get(server.address, "/.well-known/jwks.json").await.json();
    assert!(!set.to_string().contains(&kid), "{set}");
    let kept = server.auth.store.keys(0).await.unwrap();
    assert_eq!(kept.iter().map(|key| &*key.kid).collect::<Vec<_>>(), [&successor], "its private half is destroyed");

    let unknown = || client.verify(&ada).err() == Some(Refusal::Invalid(InvalidTokenReason::KeyUnknown));
    eventually("every verifier refuses what it signed", unknown).await;
    assert_eq!(refused(retire(&server, &successor, &root, "").await), Reason::CredentialInvalid, "auth as well");
    let after = server.token_of("ada").await;
    assert_eq!(server.kid_of(&after).await, successor);
    eventually("the successor is known", || client.verify(&after).is_ok()).await;
    let (log, broken) = server.auth.store.audit_log().await.unwrap();
    let entry = log.iter().find(|entry| entry.action == "key.retire").unwrap();
    assert_eq!((&*entry.actor, &*entry.target, broken), ("root", &*kid, None));
}

pub(crate) async fn retired_signing_key_is_followed_by_the_one_that_was_published(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (root, kid) = (server.token_of("root").await, signing(&server).await);
    let next = publish(&server, Duration::from_hours(1)).await;
    assert_eq!(retire(&server, &kid, &root, "").await.unwrap().signing_kid, next);
    let state = server.auth.state.current().await.unwrap();
    for seconds in [-10, 0, 7200] {
        let signing = state.signing_key(verify::now() + seconds).expect("on every clock, and from now on");
        assert_eq!(signing.public().kid, next);
    }
    assert_eq!(published(&server).await.len(), 1);
}

pub(crate) async fn retired_key_that_was_to_sign_next_leaves_the_present_one_signing(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (root, kid) = (server.token_of("root").await, signing(&server).await);
    let next = publish(&server, Duration::from_hours(1)).await;
    assert_eq!(retire(&server, &next, &root, "").await.unwrap().signing_kid, kid);
    let state = server.auth.state.current().await.unwrap();
    assert_eq!(state.signing_key(verify::now() + 48 * 3600).unwrap().public().kid, kid, "it has no end again");
    let key = server.auth.store.keys(0).await.unwrap().remove(0);
    assert_eq!((key.signs_until, key.gone_at), (0, 0));
}

pub(crate) async fn retired_key_that_signs_no_more_takes_its_own_tokens_alone(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (ada, kid) = (server.token_of("ada").await, signing(&server).await);
    let next = publish(&server, Duration::ZERO).await;
    let (after, root) = (server.token_of("ada").await, server.token_of("root").await);
    assert_eq!(retire(&server, &kid, &root, "").await.unwrap().signing_kid, next);
    let state = server.auth.state.current().await.unwrap();
    assert!(server.auth.verify_access_token(&after, &state).is_ok());
    assert!(server.auth.verify_access_token(&ada, &state).is_err());
}

pub(crate) async fn key_is_rotated_and_retired_once_for_one_idempotency_key(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let root = server.token_of("root").await;
    let rotated = async || {
        let request = RotateRequest { idempotency_key: "one".to_owned() };
        keys(&server).rotate(authorized(request, &root)).await.unwrap().into_inner().key.unwrap()
    };
    let next = rotated().await;
    assert_eq!((rotated().await, published(&server).await.len()), (next.clone(), 2));
    for _ in 0..2 {
        retire(&server, &next.kid, &root, "other").await.unwrap();
    }
    assert_eq!(refused(retire(&server, "another", &root, "other").await), Reason::IdempotencyKeyReused);
    assert_eq!(refused(retire(&server, &next.kid, &root, "").await), Reason::SubjectUnknown);
    assert_eq!(published(&server).await.len(), 1);
}

pub(crate) async fn neither_person_nor_workload_retires_a_key(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let kid = signing(&server).await;
    for token in [server.token_of("ada").await, server.mesh_token().await] {
        assert_eq!(refused(retire(&server, &kid, &token, "").await), Reason::PermissionMissing);
    }
    let request = RetireRequest { kid: kid.clone(), ..RetireRequest::default() };
    assert_eq!(refused(keys(&server).retire(request).await), Reason::CredentialMissing);
    assert_eq!(signing(&server).await, kid);
}

pub(crate) async fn decision_with_a_passport_of_a_retired_key_is_made_anew(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (token, first) = (server.token_of("ada").await, signing(&server).await);
    let second = publish(&server, Duration::ZERO).await;
    let client = ready_client(&server).await;
    let ada = client.verify(&token).unwrap();
    let passport = async || {
        let (deadline, id) = (Deadline::after(Duration::from_secs(10)), RequestId::new());
        let decision = client.decide(&token, &ada, &READ, deadline, &id).await.unwrap();
        decision.passport.as_ref().unwrap().to_str().unwrap().to_owned()
    };
    let before = passport().await;
    assert_eq!(client.verify_passport(&before, "catalog").unwrap().kid, second);
    let root = server.token_of("root").await;
    retire(&server, &second, &root, "").await.unwrap();
    eventually("the passport is refused", || client.verify_passport(&before, "catalog").is_err()).await;
    // The token that it was made for is of another key, and good still; the mesh client's own has to be another one first.
    assert!(client.verify(&token).is_ok_and(|verified| verified.kid == first));
    let anew = async {
        loop {
            let (deadline, id) = (Deadline::after(Duration::from_secs(10)), RequestId::new());
            if let Ok(decision) = client.decide(&token, &ada, &READ, deadline, &id).await {
                return decision;
            }
        }
    };
    let decision = tokio::time::timeout(Duration::from_secs(20), anew).await.expect("auth is asked again");
    let passport = decision.passport.as_ref().unwrap().to_str().unwrap();
    assert_ne!(passport, before);
}

pub(crate) async fn older_store_brings_no_retired_signing_key_back(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (ada, root, kid) = (server.token_of("ada").await, server.token_of("root").await, signing(&server).await);
    let (older, state) =
        (server.auth.store.keys(0).await.unwrap().remove(0), server.auth.state.current().await.unwrap());
    let stolen = state.signing_key(verify::now()).unwrap();
    retire(&server, &kid, &root, "").await.unwrap();
    let mut tx = server.auth.store.begin().await.unwrap();
    tx.add_key(&older, 0).await.unwrap();
    tx.commit().await.unwrap();
    put_back(&database).await;

    // Whoever has the key says what they like of the epochs.
    let mut claims = server.auth.verify_access_token(&ada, &state).unwrap().claims;
    (claims.ep, claims.gep, claims.jti) = (u64::MAX, u64::MAX, "forged".to_owned());
    let forged = sign::sign(&claims, Type::Access, &stolen).unwrap();
    assert!(!server.is_active(&forged).await);
    assert!(!published(&server).await.contains(&kid));
    let new = server.token_of("ada").await;
    assert!(server.is_active(&new).await, "another key signs");
}
