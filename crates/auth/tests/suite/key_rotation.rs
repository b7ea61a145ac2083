//! The lives of signing keys.

use std::time::Duration;

use accord_api::accord::auth::v1::{ListKeysRequest, RotateRequest, key_service_client::KeyServiceClient};
use accord_auth::{
    domain::{
        auth::Auth,
        encryption_key::{EncryptionKey, generate_secret},
        key_rotation::rotate,
    },
    store::{Store, keys::StoredKey},
};
use accord_runtime::config::Secret;
use accord_token::{Algorithm, InvalidTokenReason, Refusal, verify};

use super::{Database, Server, authorized, eventually};

pub(crate) async fn rotated_key_is_published_before_it_signs(database: Database) {
    let server = Server::start(&database, |config| config.keys.publish_before_signing = Duration::from_hours(1)).await;
    let root = server.token_of("root").await;
    let mut keys = KeyServiceClient::new(server.channel.clone());
    let new = keys.rotate(authorized(RotateRequest::default(), &root)).await.unwrap().into_inner().key.unwrap();
    let published = keys.list_keys(ListKeysRequest {}).await.unwrap().into_inner().keys;
    assert!(published.len() == 2 && published.contains(&new), "{published:?}");
    assert_ne!(server.kid_of(&server.token_of("ada").await).await, new.kid);
}

pub(crate) async fn rotated_key_signs_once_it_was_published_long_enough(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (store, encryption_key) = (&server.auth.store, &server.auth.encryption_key);
    let new = rotate(store, encryption_key, Algorithm::Es256, Duration::ZERO, "test").await.unwrap();
    assert_eq!(server.kid_of(&server.token_of("ada").await).await, new.kid);
}

pub(crate) async fn tokens_of_the_key_before_still_verify(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let client = server.mesh_client(Duration::from_secs(2));
    eventually("the mesh client is ready", || client.ready()).await;
    let before = server.token_of("ada").await;
    let (store, encryption_key) = (&server.auth.store, &server.auth.encryption_key);
    rotate(store, encryption_key, Algorithm::Es256, Duration::ZERO, "test").await.unwrap();
    let after = server.token_of("ada").await;
    eventually("the new key is known", || client.verify(&after).is_ok()).await;
    assert!(client.verify(&before).is_ok());
}

pub(crate) async fn retired_key_loses_its_private_half_and_then_its_public_one(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let (store, encryption_key) = (&server.auth.store, &server.auth.encryption_key);
    let (now, leeway) = (verify::now(), 10);
    rotate(store, encryption_key, Algorithm::EdDsa, Duration::ZERO, "test").await.unwrap();
    let halves = |keys: Vec<StoredKey>| keys.iter().filter(|key| !key.private.is_empty()).count();
    store.destroy_retired_keys(now + leeway).await.unwrap();
    assert_eq!(halves(store.keys(now).await.unwrap()), 2, "a replica whose clock is behind signs with it still");
    store.destroy_retired_keys(now + leeway + 60).await.unwrap();
    let keys = store.keys(now).await.unwrap();
    assert_eq!((keys.len(), halves(keys)), (2, 1), "both verify, one signs");
    store.destroy_retired_keys(now + 2 * 24 * 3600).await.unwrap();
    assert_eq!(store.keys(now).await.unwrap().len(), 1, "nothing the first one signed is alive");
}

pub(crate) async fn concurrent_rotations_leave_one_signing_key_at_any_moment(database: Database) {
    let mut ours = None;
    let server = Server::start(&database, |config| ours = Some(config.clone())).await;
    let (store, encryption_key) = (&server.auth.store, &server.auth.encryption_key);
    let replica = Store::open(&database.url).await.unwrap();
    let began = verify::now();
    let rotated = |store, hours| rotate(store, encryption_key, Algorithm::EdDsa, Duration::from_hours(hours), "test");
    // Twice at once on two replicas, then sooner than those, then later.
    let (first, second) = tokio::join!(rotated(store, 2), rotated(&replica, 2));
    let (sooner, later) = (rotated(store, 1).await.unwrap(), rotated(&replica, 3).await.unwrap());

    // Known in the same way to a process that starts in the middle of it.
    let restarted = Auth::open(&ours.unwrap()).await.unwrap();
    let state = restarted.state.current().await.unwrap();
    let signs = |hours: i64| state.signing_key(began + hours * 3600 + 60).map(|key| key.public().kid.clone());
    let early = signs(0).expect("the first key");
    assert_eq!([signs(1), signs(2), signs(3)], [Some(sooner.kid.clone()), Some(sooner.kid), Some(later.kid)]);
    for overtaken in [first.unwrap().kid, second.unwrap().kid] {
        assert!((0..240).all(|minute| {
            let key = state.signing_key(began + minute * 60).expect("one may sign at any moment");
            key.public().kid != overtaken
        }));
    }
    for key in store.keys(began).await.unwrap().iter().filter(|key| key.gone_at != 0) {
        assert!(key.gone_at >= key.signs_until + 24 * 3600 + 15, "{} outlives what it signed", key.kid);
        assert!(key.signs_from > began || key.kid == early, "{} was known before it signs", key.kid);
    }
}

pub(crate) async fn retired_key_is_neither_published_nor_accepted(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let client = server.mesh_client(Duration::from_secs(2));
    eventually("the mesh client is ready", || client.ready()).await;
    let before = server.token_of("ada").await;
    assert!(client.verify(&before).is_ok());
    let (store, encryption_key) = (&server.auth.store, &server.auth.encryption_key);
    rotate(store, encryption_key, Algorithm::EdDsa, Duration::ZERO, "test").await.unwrap();
    let mut keys = KeyServiceClient::new(server.channel.clone());
    assert_eq!(keys.list_keys(ListKeysRequest {}).await.unwrap().into_inner().keys.len(), 2);
    store.destroy_retired_keys(verify::now() + 2 * 24 * 3600).await.unwrap();
    assert_eq!(keys.list_keys(ListKeysRequest {}).await.unwrap().into_inner().keys.len(), 1);
    let unknown = || client.verify(&before).err() == Some(Refusal::Invalid(InvalidTokenReason::KeyUnknown));
    eventually("the signature is forgotten with its key", unknown).await;
}

pub(crate) async fn first_key_signs_on_a_replica_whose_clock_is_behind(database: Database) {
    let server = Server::start(&database, |_| {}).await;
    let state = server.auth.state.current().await.unwrap();
    assert!(state.signing_key(verify::now() - 10).is_some());
}

pub(crate) async fn key_encrypted_with_another_encryption_key_fails_the_start(database: Database) {
    let mut ours = None;
    let server = Server::start(&database, |config| ours = Some(config.clone())).await;
    let other = EncryptionKey::new(&Secret::from(generate_secret().unwrap())).unwrap();
    let publish_before_signing = Duration::from_hours(1);
    let key = rotate(&server.auth.store, &other, Algorithm::EdDsa, publish_before_signing, "test").await.unwrap();
    // It could sign now, and would stop when the other key's time comes.
    let error = Auth::open(&ours.unwrap()).await.err().expect("it can't sign with that key").to_string();
    assert!(error.contains(&key.kid) && error.contains("keys.encryption_key_file"), "{error}");
    assert!(!server.token_of("ada").await.is_empty(), "what runs goes on as long as it can");
}
