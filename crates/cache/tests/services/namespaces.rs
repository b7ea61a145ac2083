//! Keys and values of namespaces.

use std::time::Duration;

use accord_api::accord::cache::v1::{
    BatchGetRequest, CacheServiceInvalidateRequest, DeleteRequest, Entry, GetRequest, PutRequest, PutResponse,
    StatsRequest, TouchRequest,
    cache_service_client::CacheServiceClient,
    cache_service_invalidate_request::{Scope, TagList},
};
use accord_api::accord::fault::v1::Reason;
use accord_cache::namespaces::NamespaceConfig;
use accord_runtime::fault;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use crate::fixture::{Fixture, begin_with, by_mesh, seconds};

const ADA: &str = "north/ada@cache";

/// A cache with the namespace `carts`.
async fn begin() -> Fixture {
    begin_with(|config, _| {
        "cache".clone_into(&mut config.auth.client_id);
        config.namespace = vec![NamespaceConfig {
            name: "carts".to_owned(),
            read_permission: "carts.read".to_owned(),
            write_permission: "carts.write".to_owned(),
            max_value_bytes: 1 << 20,
            ..NamespaceConfig::default()
        }];
    })
    .await
}

fn client(fixture: &Fixture) -> CacheServiceClient<Channel> {
    CacheServiceClient::new(fixture.channel.clone())
}

/// A call under a passport alone, as the gateway makes it.
fn under<T>(passport: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-accord-passport", passport.parse().unwrap());
    request.set_timeout(Duration::from_secs(5));
    request
}

fn write(key: &str, value: &'static str) -> PutRequest {
    let value = value.as_bytes().into();
    PutRequest { namespace: "carts".to_owned(), key: key.to_owned(), value, ..PutRequest::default() }
}

async fn put(fixture: &Fixture, write: PutRequest) -> Result<PutResponse, Status> {
    client(fixture).put(under(ADA, write)).await.map(Response::into_inner)
}

async fn get_as(fixture: &Fixture, passport: &str, key: &str) -> Result<Entry, Status> {
    let asked = GetRequest { namespace: "carts".to_owned(), key: key.to_owned(), consistency: None };
    let answer = client(fixture).get(under(passport, asked)).await?;
    Ok(answer.into_inner().entry.unwrap())
}

async fn value(fixture: &Fixture, key: &str) -> Option<String> {
    match get_as(fixture, ADA, key).await {
        Ok(entry) => Some(String::from_utf8(entry.value.to_vec()).unwrap()),
        Err(status) => {
            assert_eq!(refusal(&status), (Code::NotFound, Reason::KeyAbsent));
            None
        }
    }
}

async fn invalidate_as(fixture: &Fixture, passport: &str, scope: Scope) -> Result<(), Status> {
    let asked = CacheServiceInvalidateRequest { namespace: "carts".to_owned(), scope: Some(scope), acknowledgement: 0 };
    client(fixture).invalidate(under(passport, asked)).await.map(drop)
}

fn tags(names: &[&str]) -> Scope {
    Scope::Tags(TagList { tags: names.iter().map(|name| (*name).to_owned()).collect() })
}

fn refusal(status: &Status) -> (Code, Reason) {
    (status.code(), fault::reason_of(status).unwrap_or_else(|| panic!("no reason: {status:?}")))
}

#[tokio::test]
async fn put_value_is_read_with_its_version_and_freshness() {
    let fixture = begin().await;
    let written = put(&fixture, PutRequest { ttl: seconds(60), ..write("ada", "milk") }).await.unwrap();
    assert!(written.freshness.as_ref().unwrap().stored);
    let entry = get_as(&fixture, ADA, "ada").await.unwrap();
    let freshness = entry.freshness.unwrap();
    assert_eq!((entry.key, &entry.value[..], entry.version), ("ada".to_owned(), &b"milk"[..], written.version));
    assert!((50..=60).contains(&freshness.ttl.unwrap().seconds), "{freshness:?}");
    assert_eq!(freshness.node, "cache");
}

#[tokio::test]
async fn value_put_without_a_life_has_that_of_the_namespace() {
    let fixture = begin().await;
    let written = put(&fixture, write("ada", "milk")).await.unwrap();
    assert_eq!(written.freshness.unwrap().ttl, seconds(300));
}

#[tokio::test]
async fn expected_version_that_is_not_held_is_a_conflict() {
    let fixture = begin().await;
    let first = put(&fixture, write("ada", "milk")).await.unwrap().version;
    let expecting = |version: &str| PutRequest { expected_version: Some(version.to_owned()), ..write("ada", "bread") };
    let held = put(&fixture, expecting(&first)).await.unwrap().version;
    let spelled_otherwise = held.replace('-', "-+");
    let (mut of_another_life, counter) = (first.clone(), first.split_once('-').unwrap().1.to_owned());
    of_another_life.replace_range(..16, "0123456789abcdef");
    for version in [&first, "nothing", &counter, &of_another_life, "0-0", &spelled_otherwise] {
        let refused = put(&fixture, expecting(version)).await.unwrap_err();
        assert_eq!(refusal(&refused), (Code::Aborted, Reason::VersionConflict), "{version}");
    }
}

#[tokio::test]
async fn expected_version_of_an_absent_key_is_a_conflict() {
    let fixture = begin().await;
    let version = put(&fixture, write("ada", "milk")).await.unwrap().version;
    let delete = |expected_version| DeleteRequest {
        namespace: "carts".into(),
        key: "ada".into(),
        expected_version,
        acknowledgement: 0,
    };
    let deleted = client(&fixture).delete(under(ADA, delete(Some(version.clone())))).await.unwrap();
    assert_eq!(deleted.into_inner().version, version);
    let put = put(&fixture, PutRequest { expected_version: Some(version.clone()), ..write("ada", "bread") }).await;
    assert_eq!(refusal(&put.unwrap_err()), (Code::Aborted, Reason::VersionConflict));
    let again = client(&fixture).delete(under(ADA, delete(Some(version)))).await;
    assert_eq!(refusal(&again.unwrap_err()), (Code::Aborted, Reason::VersionConflict));
    assert_eq!(client(&fixture).delete(under(ADA, delete(None))).await.unwrap().into_inner().version, "");
}

#[tokio::test]
async fn empty_expected_version_is_a_conflict_where_the_key_holds_something() {
    let fixture = begin().await;
    let expecting_nothing = PutRequest { expected_version: Some(String::new()), ..write("ada", "milk") };
    put(&fixture, expecting_nothing.clone()).await.unwrap();
    let refused = put(&fixture, expecting_nothing).await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::Aborted, Reason::VersionConflict));
}

#[tokio::test]
async fn touched_value_has_a_new_life_and_its_old_version() {
    let fixture = begin().await;
    let version = put(&fixture, PutRequest { ttl: seconds(60), ..write("ada", "milk") }).await.unwrap().version;
    let touch = |key: &str| TouchRequest { namespace: "carts".into(), key: key.into(), ttl: seconds(600) };
    let touched = client(&fixture).touch(under(ADA, touch("ada"))).await.unwrap().into_inner();
    assert_eq!(touched.version, version);
    assert!(touched.freshness.unwrap().ttl.unwrap().seconds > 500);
    let refused = client(&fixture).touch(under(ADA, touch("bob"))).await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::NotFound, Reason::KeyAbsent));
}

#[tokio::test]
async fn batch_answers_found_and_absent_keys_in_their_order() {
    let fixture = begin().await;
    for key in ["a", "b", "c"] {
        put(&fixture, write(key, "milk")).await.unwrap();
    }
    let keys = ["c", "x", "a", "y"].map(str::to_owned).to_vec();
    let asked = BatchGetRequest { namespace: "carts".to_owned(), keys, consistency: None };
    let answer = client(&fixture).batch_get(under(ADA, asked)).await.unwrap().into_inner();
    let found: Vec<_> = answer.entries.iter().map(|entry| &*entry.key).collect();
    assert_eq!((found, answer.absent), (vec!["c", "a"], vec!["x".to_owned(), "y".to_owned()]));
}

#[tokio::test]
async fn batch_beyond_its_bounds_is_refused() {
    let fixture = begin().await;
    let batch = |keys: Vec<String>| {
        let asked = BatchGetRequest { namespace: "carts".to_owned(), keys, consistency: None };
        let mut client = client(&fixture);
        async move { refusal(&client.batch_get(under(ADA, asked)).await.unwrap_err()) }
    };
    let malformed = (Code::InvalidArgument, Reason::RequestMalformed);
    assert_eq!(batch((0..101).map(|n| n.to_string()).collect()).await, malformed);
    assert_eq!(batch(Vec::new()).await, malformed);
    for key in ["a", "b", "c", "d"] {
        let large = PutRequest { value: vec![0; 1 << 20].into(), ..write(key, "") };
        put(&fixture, large).await.unwrap();
    }
    let too_large = batch(["a", "b", "c", "d"].map(str::to_owned).to_vec()).await;
    assert_eq!(too_large, (Code::ResourceExhausted, Reason::ResponseTooLarge));
}

#[tokio::test]
async fn invalidation_by_tag_prefix_or_all_reaches_what_it_names() {
    let fixture = begin().await;
    for (key, tag) in [("a/1", "x"), ("a/2", "y"), ("b/1", "y"), ("c", "z")] {
        put(&fixture, PutRequest { tags: vec![tag.to_owned()], ..write(key, "milk") }).await.unwrap();
    }
    let held = async || {
        let mut held = Vec::new();
        for key in ["a/1", "a/2", "b/1", "c"] {
            held.push(value(&fixture, key).await.is_some());
        }
        held
    };
    invalidate_as(&fixture, ADA, tags(&["y"])).await.unwrap();
    assert_eq!(held().await, [true, false, false, true]);
    invalidate_as(&fixture, ADA, Scope::Prefix("a/".to_owned())).await.unwrap();
    assert_eq!(held().await, [false, false, false, true]);
    invalidate_as(&fixture, ADA, Scope::All(true)).await.unwrap();
    assert_eq!(held().await, [false; 4]);
}

#[tokio::test]
async fn invalidation_of_nothing_is_refused() {
    let fixture = begin().await;
    for scope in [tags(&[]), Scope::Prefix(String::new()), Scope::All(false)] {
        let refused = invalidate_as(&fixture, ADA, scope).await.unwrap_err();
        assert_eq!(refusal(&refused), (Code::InvalidArgument, Reason::RequestMalformed));
    }
}

#[tokio::test]
async fn other_tenant_sees_and_invalidates_nothing() {
    let fixture = begin().await;
    put(&fixture, PutRequest { tags: vec!["x".to_owned()], ..write("ada", "milk") }).await.unwrap();
    let south = "south/ada@cache";
    assert_eq!(get_as(&fixture, south, "ada").await.unwrap_err().code(), Code::NotFound);
    for scope in [tags(&["x"]), Scope::Prefix("a".to_owned()), Scope::All(true)] {
        invalidate_as(&fixture, south, scope).await.unwrap();
    }
    assert_eq!(value(&fixture, "ada").await.unwrap(), "milk");
    assert_eq!(&get_as(&fixture, "north/bob@cache", "ada").await.unwrap().value[..], b"milk", "of the same tenant");
}

#[tokio::test]
async fn reader_may_read_and_not_write() {
    let fixture = begin().await;
    put(&fixture, write("ada", "milk")).await.unwrap();
    let reader = "north/reader@cache";
    assert!(get_as(&fixture, reader, "ada").await.is_ok());
    let missing = (Code::PermissionDenied, Reason::PermissionMissing);
    let refused = client(&fixture).put(under(reader, write("ada", "bread"))).await.unwrap_err();
    assert_eq!(refusal(&refused), missing);
    assert!(refused.message().contains("carts.write"), "{refused:?}");
    let touch = TouchRequest { namespace: "carts".into(), key: "ada".into(), ttl: None };
    assert_eq!(refusal(&client(&fixture).touch(under(reader, touch)).await.unwrap_err()), missing);
    let delete =
        DeleteRequest { namespace: "carts".into(), key: "ada".into(), expected_version: None, acknowledgement: 0 };
    assert_eq!(refusal(&client(&fixture).delete(under(reader, delete)).await.unwrap_err()), missing);
    let refused = invalidate_as(&fixture, reader, Scope::All(true)).await.unwrap_err();
    assert_eq!(refusal(&refused), missing);
    assert_eq!(value(&fixture, "ada").await.unwrap(), "milk");
}

#[tokio::test]
async fn stranger_may_neither_read_nor_see_stats() {
    let fixture = begin().await;
    let (stranger, missing) = ("north/stranger@cache", (Code::PermissionDenied, Reason::PermissionMissing));
    assert_eq!(refusal(&get_as(&fixture, stranger, "ada").await.unwrap_err()), missing);
    let batch = BatchGetRequest { namespace: "carts".into(), keys: vec!["ada".into()], consistency: None };
    assert_eq!(refusal(&client(&fixture).batch_get(under(stranger, batch)).await.unwrap_err()), missing);
    let stats = StatsRequest { namespace: "carts".into() };
    assert_eq!(refusal(&client(&fixture).stats(under(stranger, stats)).await.unwrap_err()), missing);
}

#[tokio::test]
async fn passport_for_another_audience_is_refused() {
    let fixture = begin().await;
    let refused = get_as(&fixture, "north/ada@shop", "ada").await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::Unauthenticated, Reason::CredentialInvalid));
}

#[tokio::test]
async fn workload_calls_in_its_own_name_by_its_access_token() {
    let fixture = begin().await;
    client(&fixture).put(by_mesh(write("ada", "milk"))).await.unwrap();
    assert_eq!(value(&fixture, "ada").await, None, "the workload has no tenant");
    let mut both = by_mesh(GetRequest { namespace: "carts".into(), key: "ada".into(), consistency: None });
    both.metadata_mut().insert("x-accord-passport", "north/stranger@cache".parse().unwrap());
    let refused = client(&fixture).get(both).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "with a passport it calls in another's name");
}

#[tokio::test]
async fn unknown_namespace_is_not_found() {
    let fixture = begin().await;
    let refused = put(&fixture, PutRequest { namespace: "cars".into(), ..write("ada", "milk") }).await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::NotFound, Reason::NamespaceUnknown));
}

#[tokio::test]
async fn value_larger_than_the_namespace_allows_is_refused_and_the_older_one_stays() {
    let fixture = begin().await;
    put(&fixture, write("ada", "milk")).await.unwrap();
    let large = PutRequest { value: vec![0; (1 << 20) + 1].into(), ..write("ada", "") };
    assert_eq!(refusal(&put(&fixture, large).await.unwrap_err()), (Code::ResourceExhausted, Reason::RequestTooLarge));
    assert_eq!(value(&fixture, "ada").await.unwrap(), "milk");
}

#[tokio::test]
async fn key_tag_or_life_that_does_not_fit_is_invalid() {
    let fixture = begin().await;
    let long = "k".repeat(513);
    let tag = |tag: &str| PutRequest { tags: vec![tag.to_owned()], ..write("ada", "milk") };
    let wrong = [
        write("", "milk"),
        write(&long, "milk"),
        tag(""),
        tag(&"t".repeat(257)),
        PutRequest { ttl: seconds(0), ..write("ada", "milk") },
        PutRequest { ttl: seconds(3601), ..write("ada", "milk") },
    ];
    for put_request in wrong {
        let refused = put(&fixture, put_request.clone()).await.unwrap_err();
        assert_eq!(refusal(&refused), (Code::InvalidArgument, Reason::FieldInvalid), "{put_request:?}");
    }
    let many = PutRequest { tags: vec!["t".to_owned(); 17], ..write("ada", "milk") };
    assert_eq!(refusal(&put(&fixture, many).await.unwrap_err()), (Code::InvalidArgument, Reason::RequestMalformed));
}

#[tokio::test]
async fn stats_say_what_is_held_and_what_was_done() {
    let fixture = begin().await;
    put(&fixture, write("ada", "milk")).await.unwrap();
    value(&fixture, "ada").await;
    value(&fixture, "bob").await;
    let conflict = PutRequest { expected_version: Some(String::new()), ..write("ada", "bread") };
    put(&fixture, conflict).await.unwrap_err();
    let asked = under(ADA, StatsRequest { namespace: "carts".into() });
    let stats = client(&fixture).stats(asked).await.unwrap().into_inner();
    assert_eq!((stats.entries, stats.hits, stats.misses, stats.puts, stats.conflicts), (1, 1, 1, 1, 1));
    assert_eq!((stats.max_entries, stats.max_bytes), (65_536, 16 << 20));
    assert!((500..2_000).contains(&stats.bytes), "{stats:?}");
}

/// A put under an idempotency key.
fn once(key: &str, value: &'static str) -> PutRequest {
    PutRequest { idempotency_key: Some(key.to_owned()), ..write("ada", value) }
}

#[tokio::test]
async fn put_repeated_under_its_idempotency_key_is_answered_alike_and_puts_nothing() {
    let fixture = begin().await;
    let first = put(&fixture, once("k1", "milk")).await.unwrap();
    put(&fixture, write("ada", "bread")).await.unwrap();
    assert_eq!(put(&fixture, once("k1", "milk")).await.unwrap().version, first.version);
    assert_eq!(value(&fixture, "ada").await.unwrap(), "bread");
    assert_ne!(put(&fixture, once("k2", "milk")).await.unwrap().version, first.version);
}

#[tokio::test]
async fn idempotency_key_of_a_put_reused_with_another_request_is_invalid_argument() {
    let fixture = begin().await;
    put(&fixture, once("k1", "milk")).await.unwrap();
    for other in [once("k1", "bread"), PutRequest { ttl: seconds(7), ..once("k1", "milk") }] {
        let refused = put(&fixture, other).await.unwrap_err();
        assert_eq!(refusal(&refused), (Code::InvalidArgument, Reason::IdempotencyKeyReused));
    }
    let of_bob = client(&fixture).put(under("north/bob@cache", once("k1", "bread"))).await;
    assert!(of_bob.is_ok(), "keys are a principal's own");
}

#[tokio::test]
async fn put_that_failed_gives_its_idempotency_key_back() {
    let fixture = begin().await;
    let expecting = PutRequest { expected_version: Some("none".to_owned()), ..once("k1", "milk") };
    assert_eq!(refusal(&put(&fixture, expecting.clone()).await.unwrap_err()), (Code::Aborted, Reason::VersionConflict));
    assert_eq!(refusal(&put(&fixture, expecting).await.unwrap_err()), (Code::Aborted, Reason::VersionConflict));
    assert!(put(&fixture, once("k1", "milk")).await.is_ok());
}

#[tokio::test]
async fn put_under_a_key_is_refused_while_the_records_do_not_answer() {
    let fixture = begin().await;
    fixture.records.close().await;
    let refused = put(&fixture, once("k1", "milk")).await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::Unavailable, Reason::IdempotencyUnavailable));
    assert!(put(&fixture, write("ada", "milk")).await.is_ok());
}

#[tokio::test]
async fn idempotency_key_that_is_none_is_refused_at_its_field() {
    let fixture = begin().await;
    for key in ["", "a\nb", &"k".repeat(256)] {
        let refused = put(&fixture, once(key, "milk")).await.unwrap_err();
        assert_eq!(refusal(&refused), (Code::InvalidArgument, Reason::FieldInvalid));
    }
}
