//! Namespaces that keep their values as records, and writes that go there first.

use std::time::Duration;

use accord_api::accord::cache::v1::{
    BatchGetRequest, CacheServiceInvalidateRequest, DeleteRequest, Entry, GetRequest, Outcome, PutRequest, PutResponse,
    cache_service_client::CacheServiceClient, cache_service_invalidate_request::Scope,
};
use accord_api::accord::fault::v1::Reason;
use accord_cache::namespace_origin::records::RecordsConfig;
use accord_cache::namespaces::{NamespaceConfig, WriteMode};
use accord_readthrough::NamespaceLimits;
use accord_runtime::fault;
use accord_store::StoreUrl;
use futures_util::FutureExt;
use tempfile::TempDir;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::fixture::{Fixture, begin_with};

const ADA: &str = "north/ada@cache";

/// A cache whose namespace `carts` has its records in this directory.
async fn begin(directory: &TempDir, write: WriteMode) -> Fixture {
    let carts = NamespaceConfig {
        name: "carts".to_owned(),
        read_permission: "carts.read".to_owned(),
        write_permission: "carts.write".to_owned(),
        records: Some(RecordsConfig::default()),
        write,
        ..NamespaceConfig::default()
    };
    let url = StoreUrl::sqlite(&format!("{}/records.db", directory.path().display()));
    begin_with(|config, _| {
        "cache".clone_into(&mut config.auth.client_id);
        (config.namespace, config.records.url) = (vec![carts], url);
    })
    .await
}

/// A cache, and another one that is started later on the same records.
async fn one_after_another() -> (Fixture, Fixture, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (begin(&directory, WriteMode::Through).await, begin(&directory, WriteMode::Through).await);
    (first, second, directory)
}

fn client(fixture: &Fixture) -> CacheServiceClient<Channel> {
    CacheServiceClient::new(fixture.channel.clone())
}

fn under<T>(passport: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-accord-passport", passport.parse().unwrap());
    request.set_timeout(Duration::from_secs(5));
    request
}

async fn put(fixture: &Fixture, value: &'static str, expected: Option<&str>) -> Result<PutResponse, Status> {
    let (namespace, key) = ("carts".to_owned(), "ada".to_owned());
    let expected_version = expected.map(str::to_owned);
    let write = PutRequest { namespace, key, value: value.into(), expected_version, ..PutRequest::default() };
    Ok(client(fixture).put(under(ADA, write)).await?.into_inner())
}

async fn get_as(fixture: &Fixture, passport: &str) -> Result<Entry, Status> {
    let asked = GetRequest { namespace: "carts".to_owned(), key: "ada".to_owned(), consistency: None };
    Ok(client(fixture).get(under(passport, asked)).await?.into_inner().entry.unwrap())
}

async fn delete(fixture: &Fixture, expected: Option<&str>) -> Result<String, Status> {
    let (namespace, key) = ("carts".to_owned(), "ada".to_owned());
    let asked = DeleteRequest { namespace, key, expected_version: expected.map(str::to_owned), acknowledgement: 0 };
    Ok(client(fixture).delete(under(ADA, asked)).await?.into_inner().version)
}

fn refusal(status: &Status) -> (Code, Option<Reason>) {
    (status.code(), fault::reason_of(status))
}

const CONFLICT: (Code, Option<Reason>) = (Code::Aborted, Some(Reason::VersionConflict));
const ABSENT: (Code, Option<Reason>) = (Code::NotFound, Some(Reason::KeyAbsent));

#[tokio::test]
async fn value_that_was_put_through_is_read_from_memory_and_from_its_record_after_a_restart() {
    let (first, second, _directory) = one_after_another().await;
    let version = put(&first, "milk", None).await.unwrap().version;
    let from_memory = get_as(&first, ADA).await.unwrap();
    let from_record = get_as(&second, ADA).await.unwrap();
    for (entry, outcome) in [(from_memory, Outcome::Hit), (from_record, Outcome::UriMiss)] {
        assert_eq!((&entry.value[..], &entry.version), (&b"milk"[..], &version));
        assert_eq!(entry.freshness.unwrap().outcome(), outcome);
    }
}

#[tokio::test]
async fn put_around_does_not_write_the_record() {
    let directory = tempfile::tempdir().unwrap();
    let around = begin(&directory, WriteMode::Around).await;
    put(&around, "milk", None).await.unwrap();
    assert_eq!(get_as(&around, ADA).await.unwrap().value, "milk");
    let other = begin(&directory, WriteMode::Through).await;
    assert_eq!(refusal(&get_as(&other, ADA).await.unwrap_err()), ABSENT);
}

#[tokio::test]
async fn compare_and_set_is_decided_by_the_record_and_not_by_memory() {
    let (first, second, _directory) = one_after_another().await;
    let milk = put(&first, "milk", Some("")).await.unwrap().version;
    let bread = put(&second, "bread", Some(&milk)).await.unwrap().version;
    assert_eq!(get_as(&first, ADA).await.unwrap().version, milk, "which its memory still says");
    assert_eq!(refusal(&put(&first, "wine", Some(&milk)).await.unwrap_err()), CONFLICT);
    assert_eq!(get_as(&first, ADA).await.unwrap().version, bread, "a conflict forgets what was held");
    assert_eq!(refusal(&put(&first, "wine", Some("")).await.unwrap_err()), CONFLICT);
    for never in ["nothing", "o-0", "o-+1", "o-ffffffffffffffff"] {
        assert_eq!(refusal(&put(&first, "wine", Some(never)).await.unwrap_err()), CONFLICT, "{never}");
    }
}

#[tokio::test]
async fn delete_removes_the_record_and_its_version_is_not_used_again() {
    let (first, second, _directory) = one_after_another().await;
    let version = put(&first, "milk", None).await.unwrap().version;
    assert_eq!(refusal(&delete(&first, Some("o-1")).await.unwrap_err()), CONFLICT);
    assert_eq!(refusal(&delete(&first, Some("")).await.unwrap_err()), CONFLICT);
    assert_eq!(delete(&first, Some(&version)).await.unwrap(), version);
    for fixture in [&first, &second] {
        assert_eq!(refusal(&get_as(fixture, ADA).await.unwrap_err()), ABSENT);
    }
    assert_eq!(delete(&first, None).await.unwrap(), "");
    assert_ne!(put(&second, "milk", Some("")).await.unwrap().version, version);
}

#[tokio::test]
async fn invalidated_value_is_loaded_from_its_record() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = begin(&directory, WriteMode::Through).await;
    put(&fixture, "milk", None).await.unwrap();
    let all = CacheServiceInvalidateRequest {
        namespace: "carts".to_owned(),
        scope: Some(Scope::All(true)),
        acknowledgement: 0,
    };
    client(&fixture).invalidate(under(ADA, all)).await.unwrap();
    let entry = get_as(&fixture, ADA).await.unwrap();
    assert_eq!((&entry.value[..], entry.freshness.unwrap().outcome()), (&b"milk"[..], Outcome::UriMiss));
}

#[tokio::test]
async fn tenants_have_records_of_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = begin(&directory, WriteMode::Through).await;
    put(&fixture, "milk", None).await.unwrap();
    assert_eq!(refusal(&get_as(&fixture, "south/ada@cache").await.unwrap_err()), ABSENT);
}

#[tokio::test]
async fn batch_reads_records_and_tells_which_keys_have_none() {
    let (first, second, _directory) = one_after_another().await;
    put(&first, "milk", None).await.unwrap();
    let keys = ["bob", "ada", "a\0b"].map(str::to_owned).to_vec();
    let asked = under(ADA, BatchGetRequest { namespace: "carts".to_owned(), keys, consistency: None });
    let answer = client(&second).batch_get(asked).await.unwrap().into_inner();
    assert_eq!((answer.entries.len(), &answer.entries[0].value[..]), (1, &b"milk"[..]));
    assert_eq!((answer.absent, answer.failed.len()), (vec!["bob".to_owned(), "a\0b".to_owned()], 0));
}

#[tokio::test]
async fn write_whose_record_can_not_be_written_is_refused_and_leaves_the_key_to_its_record() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = begin(&directory, WriteMode::Through).await;
    put(&fixture, "milk", None).await.unwrap();
    fixture.stores.keys.as_ref().unwrap().close().await;
    let refused = put(&fixture, "bread", None).await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::Unavailable, Some(Reason::UpstreamUnavailable)));
    let unknown = get_as(&fixture, ADA).await.unwrap_err();
    assert_eq!(refusal(&unknown), (Code::Unavailable, Some(Reason::UpstreamUnavailable)), "memory says nothing of it");
}

#[tokio::test]
async fn concurrent_puts_leave_memory_and_record_alike() {
    let (first, second, _directory) = one_after_another().await;
    let values = ["milk", "bread", "wine", "rice", "salt", "tea"];
    let puts = futures_util::future::join_all(values.map(|value| put(&first, value, None))).await;
    assert!(puts.iter().all(Result::is_ok), "{puts:?}");
    let (held, record) = (get_as(&first, ADA).await.unwrap(), get_as(&second, ADA).await.unwrap());
    assert_eq!((held.value, held.version), (record.value, record.version));
}

fn once() -> Request<PutRequest> {
    let (namespace, key, idempotency_key) = ("carts".to_owned(), "ada".to_owned(), Some("put-1".to_owned()));
    under(ADA, PutRequest { namespace, key, value: "milk".into(), idempotency_key, ..PutRequest::default() })
}

/// What a repetition of the put is answered, once it is not in flight any more.
async fn repeated(fixture: &Fixture) -> PutResponse {
    loop {
        match client(fixture).put(once()).await {
            Ok(answer) => return answer.into_inner(),
            Err(status) => assert_eq!(fault::reason_of(&status), Some(Reason::IdempotencyInFlight)),
        }
    }
}

/// Until the first put has claimed its key.
async fn in_flight(fixture: &Fixture) {
    while client(fixture).put(once()).await.is_ok() {}
}

#[tokio::test]
async fn idempotent_put_whose_caller_left_is_recorded_with_what_it_did() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = begin(&directory, WriteMode::Through).await;
    // Another write of the key has its turn: the put has claimed its idempotency key, and waits.
    let same = fixture.engine.namespace("carts", NamespaceLimits { bytes: 1, entries: 1, changes: 1 });
    let (open, opened) = tokio::sync::oneshot::channel::<()>();
    let before = fixture.engine.write_through::<(), ()>(&same, ("north", "ada"), async {
        let _ = opened.await.is_ok();
        Err(())
    });
    let mut before = Box::pin(before);
    assert!(before.as_mut().now_or_never().is_none());
    let mut services = CacheServiceClient::new(fixture.server.clone());
    {
        let mut put = Box::pin(services.put(once()));
        tokio::select! {
            put = &mut put => panic!("it waits for its turn: {put:?}"),
            () = in_flight(&fixture) => {}
        }
    }
    // The caller has left, and the handler with it.
    open.send(()).unwrap();
    assert!(before.await.unwrap().is_err());
    let written = loop {
        if let Ok(entry) = get_as(&fixture, ADA).await {
            break entry.version;
        }
    };
    assert_eq!(repeated(&fixture).await.version, written, "it is answered, and not put again");
}
