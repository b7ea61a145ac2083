//! Keys of a batch that hold nothing, loaded together.

use accord_api::accord::cache::v1::{
    BatchGetRequest, BatchGetResponse, Entry, FailedKey, GetRequest, cache_service_client::CacheServiceClient,
};
use accord_api::accord::fault::v1::Reason;
use accord_api::catalog::v1::Product;
use accord_cache::namespace_origin::{batch::BatchConfig, upstream::OriginConfig};
use accord_cache::namespaces::NamespaceConfig;
use accord_runtime::fault;
use prost::Message;
use std::time::Duration;
use tonic::{Code, Request, Status};

use crate::fixture::{Fixture, begin_with};

/// A cache whose namespace `carts` holds the shop's products, which the shop gives several at a time.
async fn begin() -> Fixture {
    begin_as(|_| {}).await
}

async fn begin_as(change: impl FnOnce(&mut BatchConfig)) -> Fixture {
    let mut batch = BatchConfig { method: "shop.v1.Shop/GetMany".to_owned(), ..BatchConfig::default() };
    (batch.key_field, batch.value_field, batch.status_field) = (1, 2, 3);
    change(&mut batch);
    let origin = OriginConfig {
        upstream: "shop".to_owned(),
        method: "shop.v1.Shop/Get".to_owned(),
        permission: "shop.read".to_owned(),
        batch: Some(batch),
        ..OriginConfig::default()
    };
    let carts = NamespaceConfig {
        name: "carts".to_owned(),
        read_permission: "carts.read".to_owned(),
        write_permission: "carts.write".to_owned(),
        origin: Some(origin),
        ..NamespaceConfig::default()
    };
    begin_with(|config, _| {
        "cache".clone_into(&mut config.auth.client_id);
        config.namespace = vec![carts];
    })
    .await
}

fn under_passport<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-accord-passport", "north/ada@cache".parse().unwrap());
    request.set_timeout(Duration::from_secs(4));
    request
}

async fn batch<K: ToString>(fixture: &Fixture, keys: &[K]) -> Result<BatchGetResponse, Status> {
    let keys = keys.iter().map(ToString::to_string).collect();
    let asked = under_passport(BatchGetRequest { namespace: "carts".to_owned(), keys, consistency: None });
    Ok(CacheServiceClient::new(fixture.channel.clone()).batch_get(asked).await?.into_inner())
}

async fn get(fixture: &Fixture, key: &str) -> Entry {
    let asked = under_passport(GetRequest { namespace: "carts".to_owned(), key: key.to_owned(), consistency: None });
    CacheServiceClient::new(fixture.channel.clone()).get(asked).await.unwrap().into_inner().entry.unwrap()
}

/// What each call asked for.
fn asked(fixture: &Fixture) -> Vec<String> {
    fixture.shop.seen.lock().unwrap().iter().map(|seen| seen.id.clone()).collect()
}

#[tokio::test]
async fn keys_that_hold_nothing_are_one_call_whose_items_are_told_by_their_keys() {
    let fixture = begin().await;
    get(&fixture, "ada").await;
    let answer = batch(&fixture, &["bob", "ada", "eve"]).await.unwrap();
    assert_eq!(asked(&fixture), ["ada", "bob,eve"], "what is held is not asked for");
    for (entry, key) in answer.entries.iter().zip(["bob", "ada", "eve"]) {
        assert_eq!((&*entry.key, &*Product::decode(entry.value.clone()).unwrap().id), (key, key));
    }
    assert_eq!(get(&fixture, "eve").await.value, answer.entries[2].value);
    assert_eq!(fixture.shop.calls(), 2);
}

#[tokio::test]
async fn hundred_keys_are_as_many_calls_as_the_origins_bound_makes_them() {
    let fixture = begin_as(|batch| batch.max_keys = 40).await;
    let answer = batch(&fixture, &(0..100).collect::<Vec<_>>()).await.unwrap();
    let mut sizes: Vec<_> = asked(&fixture).iter().map(|ids| ids.split(',').count()).collect();
    sizes.sort_unstable();
    assert_eq!((sizes, answer.entries.len()), (vec![20, 40, 40], 100));
}

#[tokio::test]
async fn key_that_the_origin_fails_or_does_not_know_leaves_the_others_alone() {
    let fixture = begin().await;
    let answer = batch(&fixture, &["ada", "closed", "unknown"]).await.unwrap();
    assert_eq!(answer.entries.iter().map(|entry| &*entry.key).collect::<Vec<_>>(), ["ada"]);
    assert_eq!(answer.absent, ["unknown"]);
    let [FailedKey { key, code, message, details }] = &answer.failed[..] else { panic!("{answer:?}") };
    assert_eq!((&**key, *code), ("closed", Code::FailedPrecondition.into()));
    assert_eq!(message, "shop.v1.Shop/GetMany of the upstream shop said: it is closed");
    assert!(details.starts_with(b"\x08\x09"), "the status itself: {details:?}");
}

#[tokio::test]
async fn batch_of_which_nothing_is_known_fails_as_its_first_key() {
    let fixture = begin().await;
    *fixture.shop.failure.lock().unwrap() = Some(Status::failed_precondition("shut"));
    let refused = batch(&fixture, &["ada", "bob"]).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(refused.message(), "shop.v1.Shop/GetMany of the upstream shop said: shut");
}

#[tokio::test]
async fn key_that_is_held_is_answered_where_the_loads_of_others_fail() {
    let fixture = begin().await;
    get(&fixture, "ada").await;
    *fixture.shop.failure.lock().unwrap() = Some(Status::unavailable("shut"));
    let answer = batch(&fixture, &["ada", "bob", "eve"]).await.unwrap();
    assert_eq!((answer.entries.len(), answer.failed.len()), (1, 2));
}

#[tokio::test]
async fn answer_with_another_number_of_items_fails_where_order_counts() {
    let fixture = begin_as(|batch| batch.key_field = 0).await;
    let refused = batch(&fixture, &["ada", "unknown"]).await.unwrap_err();
    assert_eq!(fault::reason_of(&refused), Some(Reason::UpstreamMalformed));
    assert!(refused.message().contains("1 items for 2 keys"), "{}", refused.message());
}

#[tokio::test]
async fn batch_method_that_the_origin_does_not_have_is_said_to_be_the_configurations() {
    let fixture = begin_as(|batch| "shop.v1.Shop/GetMnay".clone_into(&mut batch.method)).await;
    let refused = batch(&fixture, &["ada", "bob"]).await.unwrap_err();
    assert_eq!(fault::reason_of(&refused), Some(Reason::MethodUnknown));
    assert!(refused.message().contains("correct `namespace.origin.batch.method`"), "{}", refused.message());
}

#[tokio::test]
async fn key_in_flight_for_a_read_is_waited_for_by_a_batch() {
    let fixture = begin().await;
    fixture.shop.open.forget_permits(tokio::sync::Semaphore::MAX_PERMITS);
    let (alone, together, open) = (get(&fixture, "ada"), batch(&fixture, &["ada", "bob", "eve"]), async {
        fixture.shop.saw(2).await;
        fixture.shop.open.add_permits(2);
    });
    let (alone, together, ()) = tokio::join!(alone, together, open);
    assert_eq!(together.unwrap().entries[0].value, alone.value);
    assert_eq!(asked(&fixture).len(), 2);
}
