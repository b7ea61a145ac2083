//! The lives of signing keys.

use std::time::Duration;

use accord_api::accord::auth::v1::{ListKeysRequest, RotateRequest, key_service_client::KeyServiceClient};
use accord_auth::{rotate::rotate, store::keys::StoredKey};
use accord_token::{Algorithm, verify};

use super::{Place, Running, authorized, eventually};

pub async fn a_rotated_key_is_known_before_it_signs_and_the_old_one_still_verifies(place: Place) {
    let running = Running::start(&place, |config| config.keys.overlap = Duration::from_hours(1)).await;
    let member = running.member(Duration::from_secs(2));
    eventually("the member is ready", || member.ready()).await;
    let (before, root) = (running.token_of("ada").await, running.token_of("root").await);
    let first = member.verify(&before).unwrap().kid.clone();

    let mut keys = KeyServiceClient::new(running.channel.clone());
    let new = keys.rotate(authorized(RotateRequest {}, &root)).await.unwrap().into_inner().key.unwrap();
    let listed = keys.list_keys(ListKeysRequest {}).await.unwrap().into_inner().keys;
    assert_eq!(listed.len(), 2, "both are published");
    let waiting = running.token_of("ada").await;
    assert_eq!(member.verify(&waiting).unwrap().kid, first, "the new one does not sign yet");

    // Another one without the wait signs at once, and what the first signed is still good.
    let (store, vault) = (&running.auth.store, &running.auth.vault);
    let third = rotate(store, vault, Algorithm::Es256, Duration::ZERO, "test").await.unwrap();
    let after = running.token_of("ada").await;
    eventually("the third key is known", || member.verify(&after).is_ok()).await;
    assert_eq!(member.verify(&after).unwrap().kid, third.kid);
    assert!(member.verify(&before).is_ok());
    assert_ne!(new.kid, third.kid);
}

pub async fn a_key_that_signs_no_more_loses_its_private_half(place: Place) {
    let running = Running::start(&place, |_| {}).await;
    let (store, vault) = (&running.auth.store, &running.auth.vault);
    rotate(store, vault, Algorithm::EdDsa, Duration::ZERO, "test").await.unwrap();
    let now = verify::now();
    store.destroy_retired_keys(now + 1).await.unwrap();
    let halves = |keys: Vec<StoredKey>| keys.iter().filter(|key| !key.private.is_empty()).count();
    let keys = store.keys(now).await.unwrap();
    assert_eq!((keys.len(), halves(keys)), (2, 1), "both verify, one signs");
    store.destroy_retired_keys(now + 2 * 24 * 3600).await.unwrap();
    assert_eq!(store.keys(now).await.unwrap().len(), 1, "nothing the first one signed is alive");
}
