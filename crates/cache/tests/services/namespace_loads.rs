//! Keys that hold nothing, loaded from the method that their namespace names.

use accord_api::accord::cache::v1::{
    BatchGetRequest, BatchGetResponse, DeleteRequest, Entry, GetRequest, Outcome, PutRequest, StatsRequest,
    cache_service_client::CacheServiceClient,
};
use accord_api::accord::fault::v1::Reason;
use accord_api::catalog::v1::Product;
use accord_cache::config::Config;
use accord_cache::namespace_origin::upstream::OriginConfig;
use accord_cache::namespaces::NamespaceConfig;
use accord_runtime::fault;
use prost::Message;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::fixture::{Fixture, begin_with};

const ADA: &str = "north/ada@cache";

fn origin() -> OriginConfig {
    OriginConfig {
        upstream: "shop".to_owned(),
        method: "shop.v1.Shop/Get".to_owned(),
        permission: "shop.read".to_owned(),
        ..OriginConfig::default()
    }
}

/// A cache whose namespace `carts` holds the shop's products.
async fn begin() -> Fixture {
    begin_as(|_| {}).await
}

async fn begin_as(change: impl FnOnce(&mut NamespaceConfig)) -> Fixture {
    begin_configured(|config| change(&mut config.namespace[0])).await
}

async fn begin_configured(change: impl FnOnce(&mut Config)) -> Fixture {
    let carts = NamespaceConfig {
        name: "carts".to_owned(),
        read_permission: "carts.read".to_owned(),
        write_permission: "carts.write".to_owned(),
        origin: Some(origin()),
        ..NamespaceConfig::default()
    };
    begin_with(|config, _| {
        "cache".clone_into(&mut config.auth.client_id);
        config.namespace = vec![carts];
        change(config);
    })
    .await
}

fn client(fixture: &Fixture) -> CacheServiceClient<Channel> {
    CacheServiceClient::new(fixture.channel.clone())
}

fn under<T>(passport: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-accord-passport", passport.parse().unwrap());
    request.set_timeout(Duration::from_secs(4));
    request
}

fn asked(key: &str) -> GetRequest {
    GetRequest { namespace: "carts".to_owned(), key: key.to_owned(), consistency: None }
}

async fn get_as(fixture: &Fixture, passport: &str, key: &str) -> Result<Entry, Status> {
    let answer = client(fixture).get(under(passport, asked(key))).await?;
    Ok(answer.into_inner().entry.unwrap())
}

async fn get(fixture: &Fixture, key: &str) -> Result<Entry, Status> {
    get_as(fixture, ADA, key).await
}

/// A read that goes on beside the test.
fn reading(fixture: &Fixture, key: &str) -> JoinHandle<Result<Entry, Status>> {
    let (mut client, request) = (client(fixture), under(ADA, asked(key)));
    tokio::spawn(async move { Ok(client.get(request).await?.into_inner().entry.unwrap()) })
}

async fn batch(fixture: &Fixture, keys: &[&str]) -> Result<BatchGetResponse, Status> {
    let keys = keys.iter().map(|key| (*key).to_owned()).collect();
    let asked = under(ADA, BatchGetRequest { namespace: "carts".to_owned(), keys, consistency: None });
    Ok(client(fixture).batch_get(asked).await?.into_inner())
}

async fn put(fixture: &Fixture, value: &'static str, expected_version: Option<String>) -> Result<(), Status> {
    let (namespace, key) = ("carts".to_owned(), "ada".to_owned());
    let write = PutRequest { namespace, key, value: value.into(), expected_version, ..PutRequest::default() };
    client(fixture).put(under(ADA, write)).await.map(drop)
}

fn outcome(entry: &Entry) -> Outcome {
    entry.freshness.as_ref().unwrap().outcome()
}

fn refusal(status: &Status) -> (Code, Option<Reason>) {
    (status.code(), fault::reason_of(status))
}

/// Answers wait until the test lets them go.
fn hold(fixture: &Fixture) {
    fixture.shop.open.forget_permits(Semaphore::MAX_PERMITS);
}

#[tokio::test]
async fn key_that_holds_nothing_is_loaded_and_the_next_read_hits() {
    let fixture = begin().await;
    let first = get(&fixture, "ada").await.unwrap();
    assert_eq!(Product::decode(first.value.clone()).unwrap().id, "ada");
    assert!(outcome(&first) == Outcome::UriMiss && first.freshness.as_ref().unwrap().stored);
    let second = get(&fixture, "ada").await.unwrap();
    assert_eq!((outcome(&second), &second.value, &second.version), (Outcome::Hit, &first.value, &first.version));
    assert_eq!(second.freshness.unwrap().ttl.unwrap().seconds, 299, "the life of the namespace");
    assert_eq!(fixture.shop.calls(), 1);
}

#[tokio::test]
async fn keys_loaded_for_one_principal_leave_places_at_the_upstream_to_others() {
    let fixture = begin_configured(|config| config.upstream[0].max_in_flight = 4).await;
    hold(&fixture);
    let of_ada = [reading(&fixture, "milk"), reading(&fixture, "bread")];
    fixture.shop.saw(2).await;
    let refused = get(&fixture, "tea").await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::ResourceExhausted, Some(Reason::UpstreamOverloaded)));
    let open = async {
        fixture.shop.saw(3).await;
        fixture.shop.open.add_permits(3);
    };
    let (of_bob, ()) = tokio::join!(get_as(&fixture, "north/bob@cache", "rice"), open);
    assert!(of_bob.is_ok(), "{of_bob:?}");
    for read in of_ada {
        read.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn value_field_alone_is_the_value_where_the_origin_names_one() {
    let fixture = begin_as(|carts| carts.origin.as_mut().unwrap().value_field = 1).await;
    assert_eq!(get(&fixture, "ada").await.unwrap().value, "ada");
}

#[tokio::test]
async fn load_runs_under_a_passport_of_the_reader_and_the_entry_is_shared_within_the_tenant() {
    let fixture = begin().await;
    for passport in [ADA, "north/bob@cache", "south/ada@cache"] {
        get_as(&fixture, passport, "ada").await.unwrap();
    }
    let seen = fixture.shop.seen.lock().unwrap().clone();
    let passports: Vec<_> = seen.iter().map(|call| call.metadata.get("x-accord-passport").unwrap()).collect();
    assert_eq!(passports, ["north/ada@shop", "south/ada@shop"]);
}

#[tokio::test]
async fn reader_whose_passport_is_not_exchanged_is_refused_and_a_hit_needs_none() {
    let fixture = begin().await;
    let leaver = "north/leaver@cache";
    let refused = get_as(&fixture, leaver, "ada").await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::Unauthenticated, Some(Reason::TokenRevoked)));
    assert_eq!(fixture.shop.calls(), 0);
    get(&fixture, "ada").await.unwrap();
    assert!(get_as(&fixture, leaver, "ada").await.is_ok());
}

#[tokio::test]
async fn stranger_loads_nothing() {
    let fixture = begin().await;
    let refused = get_as(&fixture, "north/stranger@cache", "ada").await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::PermissionDenied, Some(Reason::PermissionMissing)));
    assert_eq!(fixture.shop.calls(), 0);
}

#[tokio::test]
async fn reader_without_the_permission_of_the_method_loads_nothing() {
    let fixture = begin().await;
    let refused = get_as(&fixture, "north/clerk@cache", "ada").await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::PermissionDenied, Some(Reason::PermissionMissing)));
    assert!(refused.message().contains("`shop.read` on the upstream shop"), "{}", refused.message());
    assert_eq!(fixture.shop.calls(), 0);
}

#[tokio::test]
async fn method_that_is_open_to_the_authenticated_takes_no_permission() {
    let fixture = begin_as(|carts| carts.origin.as_mut().unwrap().permission = "authenticated".to_owned()).await;
    assert!(get_as(&fixture, "north/clerk@cache", "ada").await.is_ok());
}

#[tokio::test]
async fn method_that_the_origin_does_not_have_is_said_to_be_the_configurations() {
    let fixture = begin_as(|carts| carts.origin.as_mut().unwrap().method = "shop.v1.Shop/Gte".to_owned()).await;
    let refused = get(&fixture, "ada").await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::FailedPrecondition, Some(Reason::MethodUnknown)));
    let said =
        "the upstream shop has no method shop.v1.Shop/Gte; correct `namespace.origin.method` of the namespace carts";
    assert_eq!(refused.message(), said);
}

#[tokio::test]
async fn concurrent_reads_of_a_key_are_one_call() {
    let fixture = begin().await;
    hold(&fixture);
    let reads: Vec<_> = (0..50).map(|_| reading(&fixture, "ada")).collect();
    fixture.shop.saw(1).await;
    let other = reading(&fixture, "bob");
    fixture.shop.saw(2).await;
    fixture.shop.open.add_permits(Semaphore::MAX_PERMITS);
    for read in reads.into_iter().chain([other]) {
        read.await.unwrap().unwrap();
    }
    assert_eq!(fixture.shop.calls(), 2);
}

#[tokio::test]
async fn batch_loads_what_its_keys_do_not_hold_each_once() {
    let fixture = begin().await;
    get(&fixture, "k3").await.unwrap();
    let keys: Vec<_> = (0..40).map(|n| format!("k{n}")).collect();
    let keys: Vec<_> = keys.iter().map(String::as_str).chain(["k7"]).collect();
    let answer = batch(&fixture, &keys).await.unwrap();
    let found: Vec<_> = answer.entries.iter().map(|entry| &*entry.key).collect();
    assert_eq!((found, answer.absent.len()), (keys, 0));
    assert_eq!(fixture.shop.calls(), 40);
}

#[tokio::test]
async fn key_that_the_origin_does_not_know_is_absent_and_asked_for_again() {
    let fixture = begin().await;
    *fixture.shop.failure.lock().unwrap() = Some(Status::not_found("no such product"));
    for calls in 1..3 {
        let absent = get(&fixture, "ada").await.unwrap_err();
        assert_eq!((refusal(&absent), fixture.shop.calls()), ((Code::NotFound, Some(Reason::KeyAbsent)), calls));
    }
    assert_eq!(batch(&fixture, &["ada"]).await.unwrap().absent, ["ada"]);
    *fixture.shop.failure.lock().unwrap() = None;
    assert_eq!(outcome(&get(&fixture, "ada").await.unwrap()), Outcome::UriMiss);
}

#[tokio::test]
async fn error_of_the_origin_is_passed_on_with_its_name_and_details() {
    let fixture = begin().await;
    let said = Status::with_details(Code::FailedPrecondition, "closed", "why".into());
    *fixture.shop.failure.lock().unwrap() = Some(said);
    for status in [get(&fixture, "ada").await.unwrap_err(), batch(&fixture, &["bob", "ada"]).await.unwrap_err()] {
        assert_eq!((status.code(), status.details()), (Code::FailedPrecondition, &b"why"[..]));
        assert_eq!(status.message(), "shop.v1.Shop/Get of the upstream shop said: closed");
    }
}

#[tokio::test]
async fn origin_that_is_too_slow_for_its_timeout_fails_all_who_wait_for_it() {
    let fixture = begin_as(|carts| carts.origin.as_mut().unwrap().timeout = Duration::from_millis(300)).await;
    hold(&fixture);
    let reads = [reading(&fixture, "ada"), reading(&fixture, "ada")];
    for read in reads {
        let refused = read.await.unwrap().unwrap_err();
        assert_eq!(refusal(&refused), (Code::DeadlineExceeded, Some(Reason::DeadlineExceeded)));
    }
    assert!(fixture.shop.time_left(0) <= Duration::from_millis(300));
    assert!(fixture.shop.calls() <= 2, "one for each of them at most");
}

#[tokio::test]
async fn unavailable_origin_is_tried_as_often_as_declared() {
    let fixture = begin_as(|carts| carts.origin.as_mut().unwrap().max_attempts = 3).await;
    fixture.shop.next.lock().unwrap().extend([Status::unavailable("busy"), Status::unavailable("busy")]);
    assert!(get(&fixture, "ada").await.is_ok());
    assert_eq!(fixture.shop.calls(), 3);
    fixture.shop.next.lock().unwrap().push_back(Status::unavailable("busy"));
    let mut retried = under(ADA, asked("bob"));
    retried.metadata_mut().insert("grpc-previous-rpc-attempts", "1".parse().unwrap());
    assert_eq!(client(&fixture).get(retried).await.unwrap_err().code(), Code::Unavailable, "its caller retries");
    assert_eq!(fixture.shop.calls(), 4);
}

#[tokio::test]
async fn answer_larger_than_a_value_may_be_is_refused_and_not_held() {
    let fixture = begin_as(|carts| carts.max_value_bytes = 100).await;
    fixture.shop.size.store(200, std::sync::atomic::Ordering::Relaxed);
    let refused = get(&fixture, "ada").await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::ResourceExhausted, Some(Reason::ResponseTooLarge)));
    fixture.shop.size.store(10, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(outcome(&get(&fixture, "ada").await.unwrap()), Outcome::UriMiss);
}

#[tokio::test]
async fn value_put_during_a_slow_load_stays() {
    let fixture = begin().await;
    hold(&fixture);
    let read = reading(&fixture, "ada");
    fixture.shop.saw(1).await;
    put(&fixture, "bread", None).await.unwrap();
    fixture.shop.open.add_permits(Semaphore::MAX_PERMITS);
    assert!(!read.await.unwrap().unwrap().freshness.unwrap().stored);
    assert_eq!(get(&fixture, "ada").await.unwrap().value, "bread");
}

#[tokio::test]
async fn delete_during_a_slow_load_is_not_undone() {
    let fixture = begin().await;
    hold(&fixture);
    let read = reading(&fixture, "ada");
    fixture.shop.saw(1).await;
    let delete =
        DeleteRequest { namespace: "carts".into(), key: "ada".into(), expected_version: None, acknowledgement: 0 };
    client(&fixture).delete(under(ADA, delete)).await.unwrap();
    fixture.shop.open.add_permits(Semaphore::MAX_PERMITS);
    read.await.unwrap().unwrap();
    assert_eq!(outcome(&get(&fixture, "ada").await.unwrap()), Outcome::UriMiss);
}

#[tokio::test]
async fn loaded_version_is_expected_like_one_that_was_put() {
    let fixture = begin().await;
    let version = get(&fixture, "ada").await.unwrap().version;
    put(&fixture, "bread", Some(version.clone())).await.unwrap();
    let refused = put(&fixture, "wine", Some(version)).await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::Aborted, Some(Reason::VersionConflict)));
}

#[tokio::test]
async fn loads_beyond_the_engines_bound_are_refused_with_a_reason() {
    let fixture = begin_with(|config, _| {
        "cache".clone_into(&mut config.auth.client_id);
        config.engine.max_flights = 1;
        config.namespace = vec![NamespaceConfig {
            name: "carts".to_owned(),
            read_permission: "carts.read".to_owned(),
            write_permission: "carts.write".to_owned(),
            origin: Some(origin()),
            ..NamespaceConfig::default()
        }];
    })
    .await;
    hold(&fixture);
    let _loading = reading(&fixture, "ada");
    fixture.shop.saw(1).await;
    let refused = get(&fixture, "bob").await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::ResourceExhausted, Some(Reason::Overloaded)));
}

#[tokio::test]
async fn stats_count_loads_and_what_they_hold() {
    let fixture = begin().await;
    for key in ["ada", "bob", "ada"] {
        get(&fixture, key).await.unwrap();
    }
    let stats =
        client(&fixture).stats(under(ADA, StatsRequest { namespace: "carts".into() })).await.unwrap().into_inner();
    assert_eq!((stats.loads, stats.entries, stats.hits, stats.misses, stats.puts), (2, 2, 1, 2, 0));
}
