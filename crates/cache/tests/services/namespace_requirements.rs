//! What readers of namespaces require: how old a value may be, and no older than what a consistency token stands for.

use std::time::Duration;

use accord_api::accord::cache::v1::{
    BatchGetRequest, Consistency, DeleteRequest, Entry, GetRequest, Outcome, cache_service_client::CacheServiceClient,
    consistency::Requirement,
};
use accord_api::accord::fault::v1::Reason;
use accord_cache::namespace_origin::upstream::OriginConfig;
use accord_cache::namespaces::NamespaceConfig;
use accord_runtime::fault;
use bytes::Bytes;
use tonic::{Request, Status};

use crate::fixture::{Fixture, begin_with, seconds};

const ADA: &str = "north/ada@cache";

/// A cache whose namespaces `carts` and `baskets` hold the shop's products.
async fn begin() -> Fixture {
    let origin = OriginConfig {
        upstream: "shop".to_owned(),
        method: "shop.v1.Shop/Get".to_owned(),
        permission: "shop.read".to_owned(),
        ..OriginConfig::default()
    };
    let namespace = |name: &str| NamespaceConfig {
        name: name.to_owned(),
        read_permission: "carts.read".to_owned(),
        write_permission: "carts.write".to_owned(),
        origin: Some(origin.clone()),
        ..NamespaceConfig::default()
    };
    begin_with(|config, _| {
        "cache".clone_into(&mut config.auth.client_id);
        config.namespace = ["carts", "baskets"].map(namespace).into();
    })
    .await
}

fn under<T>(passport: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-accord-passport", passport.parse().unwrap());
    request.set_timeout(Duration::from_secs(5));
    request
}

async fn get_in(fixture: &Fixture, namespace: &str, passport: &str, asked: Consistency) -> Result<Entry, Status> {
    let (namespace, key) = (namespace.to_owned(), "milk".to_owned());
    let asked = GetRequest { namespace, key, consistency: Some(asked) };
    let answer = CacheServiceClient::new(fixture.channel.clone()).get(under(passport, asked)).await?;
    Ok(answer.into_inner().entry.unwrap())
}

async fn get(fixture: &Fixture, asked: Consistency) -> Entry {
    get_in(fixture, "carts", ADA, asked).await.unwrap()
}

fn outcome(entry: &Entry) -> Outcome {
    entry.freshness.as_ref().unwrap().outcome()
}

fn requires(requirement: Requirement) -> Consistency {
    Consistency { requirement: Some(requirement), ..Consistency::default() }
}

fn passes(token: &Bytes) -> Consistency {
    Consistency { at_least_as_fresh: vec![token.clone()], ..Consistency::default() }
}

#[tokio::test]
async fn strong_read_is_a_load_that_others_hit() {
    let fixture = begin().await;
    get(&fixture, Consistency::default()).await;
    let strong = get(&fixture, requires(Requirement::Strong(true))).await;
    assert_eq!((outcome(&strong), fixture.shop.calls()), (Outcome::UriMiss, 2));
    let hit = get(&fixture, Consistency::default()).await;
    assert_eq!((outcome(&hit), hit.version, fixture.shop.calls()), (Outcome::Hit, strong.version, 2));
}

#[tokio::test]
async fn value_older_than_a_reader_permits_is_loaded_anew() {
    let fixture = begin().await;
    get(&fixture, Consistency::default()).await;
    let within = |bound| requires(Requirement::MaxStaleness(bound));
    assert_eq!(outcome(&get(&fixture, within(seconds(60).unwrap())).await), Outcome::Hit);
    let nanosecond = prost_types::Duration { seconds: 0, nanos: 1 };
    assert_eq!(outcome(&get(&fixture, within(nanosecond)).await), Outcome::UriMiss);
}

#[tokio::test]
async fn token_of_a_deletion_is_met_by_what_was_loaded_after_it_and_of_a_read_by_what_it_read() {
    let fixture = begin().await;
    let first = get(&fixture, Consistency::default()).await;
    assert_eq!(outcome(&get(&fixture, passes(&first.consistency_token)).await), Outcome::Hit);
    let (namespace, key) = ("carts".to_owned(), "bread".to_owned());
    let delete = DeleteRequest { namespace, key, ..DeleteRequest::default() };
    let mut client = CacheServiceClient::new(fixture.channel.clone());
    let deleted = client.delete(under(ADA, delete)).await.unwrap().into_inner();
    let of_deletion = Bytes::from(deleted.consistency_token);
    let later = get(&fixture, passes(&of_deletion)).await;
    assert_eq!((outcome(&later), fixture.shop.calls()), (Outcome::UriMiss, 2), "whatever its key is");
    for token in [&of_deletion, &later.consistency_token] {
        assert_eq!(outcome(&get(&fixture, passes(token)).await), Outcome::Hit);
    }
}

#[tokio::test]
async fn token_of_another_namespace_or_tenant_is_refused() {
    let fixture = begin().await;
    let token = get(&fixture, Consistency::default()).await.consistency_token;
    for (namespace, passport) in [("baskets", ADA), ("carts", "south/sue@cache")] {
        let refused = get_in(&fixture, namespace, passport, passes(&token)).await.unwrap_err();
        assert_eq!(fault::reason_of(&refused), Some(Reason::ConsistencyTokenInvalid));
    }
}

#[tokio::test]
async fn key_that_holds_nothing_is_not_loaded_for_who_wants_no_load() {
    let fixture = begin().await;
    let only_if_cached = Consistency { only_if_cached: true, ..Consistency::default() };
    let refused = get_in(&fixture, "carts", ADA, only_if_cached.clone()).await.unwrap_err();
    assert_eq!(fault::reason_of(&refused), Some(Reason::AnswerNotStored));
    get(&fixture, Consistency::default()).await;
    let (namespace, keys) = ("carts".to_owned(), ["milk", "bread"].map(str::to_owned).into());
    let batch = BatchGetRequest { namespace, keys, consistency: Some(only_if_cached) };
    let mut client = CacheServiceClient::new(fixture.channel.clone());
    let answer = client.batch_get(under(ADA, batch)).await.unwrap().into_inner();
    assert_eq!((answer.entries.len(), answer.failed.len(), fixture.shop.calls()), (1, 1, 1));
}
