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
use accord_token::{Algorithm, Flaw, Refusal, verify};

use super::{Place, Running, authorized, eventually};

pub(crate) async fn a_rotated_key_is_known_before_it_signs_and_the_old_one_still_verifies(place: Place) {
    let running = Running::start(&place, |config| config.keys.overlap = Duration::from_hours(1)).await;
    let client = running.mesh_client(Duration::from_secs(2));
    eventually("the mesh client is ready", || client.ready()).await;
    let (before, root) = (running.token_of("ada").await, running.token_of("root").await);
    let first = client.verify(&before).unwrap().kid.clone();

    let mut keys = KeyServiceClient::new(running.channel.clone());
    let new = keys.rotate(authorized(RotateRequest {}, &root)).await.unwrap().into_inner().key.unwrap();
    let listed = keys.list_keys(ListKeysRequest {}).await.unwrap().into_inner().keys;
    assert_eq!(listed.len(), 2, "both are published");
    let waiting = running.token_of("ada").await;
    assert_eq!(client.verify(&waiting).unwrap().kid, first, "the new one does not sign yet");

    // Another one without the wait signs at once, and what the first signed is still good.
    let (store, encryption_key) = (&running.auth.store, &running.auth.encryption_key);
    let third = rotate(store, encryption_key, Algorithm::Es256, Duration::ZERO, "test").await.unwrap();
    let after = running.token_of("ada").await;
    eventually("the third key is known", || client.verify(&after).is_ok()).await;
    assert_eq!(client.verify(&after).unwrap().kid, third.kid);
    assert!(client.verify(&before).is_ok());
    assert_ne!(new.kid, third.kid);
}

pub(crate) async fn a_key_that_signs_no_more_loses_its_private_half(place: Place) {
    let running = Running::start(&place, |_| {}).await;
    let (store, encryption_key) = (&running.auth.store, &running.auth.encryption_key);
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

pub(crate) async fn whoever_rotates_when_one_key_may_sign_at_any_moment(place: Place) {
    let mut ours = None;
    let running = Running::start(&place, |config| ours = Some(config.clone())).await;
    let (store, encryption_key) = (&running.auth.store, &running.auth.encryption_key);
    let replica = Store::open(&place.url).await.unwrap();
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

pub(crate) async fn a_retired_key_is_published_no_more(place: Place) {
    let running = Running::start(&place, |_| {}).await;
    let client = running.mesh_client(Duration::from_secs(2));
    eventually("the mesh client is ready", || client.ready()).await;
    let before = running.token_of("ada").await;
    assert!(client.verify(&before).is_ok());
    let (store, encryption_key) = (&running.auth.store, &running.auth.encryption_key);
    rotate(store, encryption_key, Algorithm::EdDsa, Duration::ZERO, "test").await.unwrap();
    let mut keys = KeyServiceClient::new(running.channel.clone());
    assert_eq!(keys.list_keys(ListKeysRequest {}).await.unwrap().into_inner().keys.len(), 2);
    store.destroy_retired_keys(verify::now() + 2 * 24 * 3600).await.unwrap();
    assert_eq!(keys.list_keys(ListKeysRequest {}).await.unwrap().into_inner().keys.len(), 1);
    let unknown = || client.verify(&before).err() == Some(Refusal::Invalid(Flaw::KeyUnknown));
    eventually("the signature is forgotten with its key", unknown).await;
}

pub(crate) async fn a_replica_whose_clock_is_behind_can_sign_too(place: Place) {
    let running = Running::start(&place, |_| {}).await;
    let state = running.auth.state.current().await.unwrap();
    assert!(state.signing_key(verify::now() - 10).is_some());
}

pub(crate) async fn a_key_that_was_sealed_elsewhere_stops_the_start(place: Place) {
    let mut ours = None;
    let running = Running::start(&place, |config| ours = Some(config.clone())).await;
    let other = EncryptionKey::new(&Secret::from(generate_secret().unwrap())).unwrap();
    let overlap = Duration::from_hours(1);
    let key = rotate(&running.auth.store, &other, Algorithm::EdDsa, overlap, "test").await.unwrap();
    // It could sign now, and would stop when the other key's time comes.
    let told = Auth::open(&ours.unwrap()).await.err().expect("it can't sign with that key").to_string();
    assert!(told.contains(&key.kid) && told.contains("keys.encryption_key_file"), "{told}");
    assert!(!running.token_of("ada").await.is_empty(), "what runs goes on as long as it can");
}
