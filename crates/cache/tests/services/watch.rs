//! Streams of changes.

use std::time::Duration;

use accord_api::accord::cache::v1::{
    CacheServiceInvalidateRequest, DeleteRequest, PutRequest, WatchRequest, WatchResponse,
    cache_service_client::CacheServiceClient,
    cache_service_invalidate_request::{Scope, TagList},
    watch_response::{Event, invalidated},
};
use accord_api::accord::fault::v1::Reason;
use accord_cache::namespaces::NamespaceConfig;
use accord_runtime::fault;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};

use crate::fixture::{Fixture, begin_with};

const ADA: &str = "north/ada@cache";

async fn begin_as(change: impl FnOnce(&mut NamespaceConfig)) -> Fixture {
    let carts = |name: &str| NamespaceConfig {
        name: name.to_owned(),
        read_permission: "carts.read".to_owned(),
        write_permission: "carts.write".to_owned(),
        ..NamespaceConfig::default()
    };
    let (mut changed, others) = (carts("carts"), carts("others"));
    change(&mut changed);
    begin_with(|config, _| {
        "cache".clone_into(&mut config.auth.client_id);
        config.namespace = vec![changed, others];
    })
    .await
}

async fn begin() -> Fixture {
    begin_as(|_| {}).await
}

fn client(fixture: &Fixture) -> CacheServiceClient<Channel> {
    CacheServiceClient::new(fixture.channel.clone())
}

fn under<T>(passport: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-accord-passport", passport.parse().unwrap());
    request.set_timeout(Duration::from_secs(30));
    request
}

async fn watch_as(fixture: &Fixture, passport: &str, prefix: &str, token: &str) -> Result<Watch, Status> {
    watch_in(fixture, "carts", passport, (prefix, token)).await
}

async fn watch_in(
    fixture: &Fixture,
    namespace: &str,
    passport: &str,
    (prefix, token): (&str, &str),
) -> Result<Watch, Status> {
    let (namespace, prefix, resume_token) = (namespace.to_owned(), prefix.to_owned(), token.to_owned());
    let asked = under(passport, WatchRequest { namespace, prefix, resume_token });
    Ok(Watch(client(fixture).watch(asked).await?.into_inner()))
}

async fn watch(fixture: &Fixture) -> Watch {
    watch_as(fixture, ADA, "", "").await.unwrap()
}

struct Watch(Streaming<WatchResponse>);

impl Watch {
    async fn message(&mut self) -> WatchResponse {
        self.0.message().await.unwrap().unwrap()
    }

    /// What comes next, in words.
    async fn next(&mut self) -> String {
        told(self.message().await.event.unwrap())
    }
}

fn told(event: Event) -> String {
    match event {
        Event::Reset(_) => "reset".to_owned(),
        Event::Put(put) => format!("put {}", put.key),
        Event::Deleted(deleted) => format!("deleted {}", deleted.key),
        Event::Heartbeat(_) => "heartbeat".to_owned(),
        Event::Invalidated(what) => match what.scope.unwrap() {
            invalidated::Scope::Key(key) => format!("invalidated key {key}"),
            invalidated::Scope::Tags(tags) => format!("invalidated tags {}", tags.tags.join(" ")),
            invalidated::Scope::Prefix(prefix) => format!("invalidated prefix {prefix}"),
            invalidated::Scope::All(_) => "invalidated all".to_owned(),
        },
    }
}

async fn put_as(fixture: &Fixture, passport: &str, key: &str) -> String {
    let write = PutRequest { namespace: "carts".to_owned(), key: key.to_owned(), ..PutRequest::default() };
    client(fixture).put(under(passport, write)).await.unwrap().into_inner().version
}

async fn put(fixture: &Fixture, key: &str) -> String {
    put_as(fixture, ADA, key).await
}

async fn invalidate(fixture: &Fixture, scope: Scope) {
    let asked = CacheServiceInvalidateRequest { namespace: "carts".to_owned(), scope: Some(scope), acknowledgement: 0 };
    client(fixture).invalidate(under(ADA, asked)).await.unwrap();
}

fn tags(names: &[&str]) -> Scope {
    Scope::Tags(TagList { tags: names.iter().map(|name| (*name).to_owned()).collect() })
}

#[tokio::test]
async fn stream_begins_with_a_reset_and_tells_what_is_done_in_order() {
    let fixture = begin().await;
    put(&fixture, "before").await;
    let mut watch = watch(&fixture).await;
    assert_eq!(watch.next().await, "reset");
    let version = put(&fixture, "ada").await;
    let delete = DeleteRequest {
        namespace: "carts".to_owned(),
        key: "ada".to_owned(),
        expected_version: None,
        acknowledgement: 0,
    };
    client(&fixture).delete(under(ADA, delete)).await.unwrap();
    for scope in [tags(&["dairy", "cold"]), Scope::Prefix("user/".to_owned()), Scope::All(true)] {
        invalidate(&fixture, scope).await;
    }
    let Some(Event::Put(first)) = watch.message().await.event else { panic!("a put") };
    assert_eq!((&*first.key, first.version), ("ada", version));
    for expected in ["deleted ada", "invalidated tags dairy cold", "invalidated prefix user/", "invalidated all"] {
        assert_eq!(watch.next().await, expected);
    }
}

#[tokio::test]
async fn stream_goes_on_after_its_token_and_misses_nothing() {
    let fixture = begin().await;
    let mut first = watch(&fixture).await;
    first.message().await;
    put(&fixture, "a").await;
    let token = first.message().await.resume_token;
    drop(first);
    put(&fixture, "b").await;
    let mut second = watch_as(&fixture, ADA, "", &token).await.unwrap();
    assert_eq!(second.next().await, "heartbeat", "it is whole");
    put(&fixture, "c").await;
    assert_eq!((second.next().await, second.next().await), ("put b".to_owned(), "put c".to_owned()));
}

#[tokio::test]
async fn token_that_is_too_old_or_of_another_life_of_the_cache_is_a_reset() {
    let fixture = begin_as(|carts| carts.max_changes = 2).await;
    let old = watch(&fixture).await.message().await.resume_token;
    for key in ["a", "b", "c"] {
        put(&fixture, key).await;
    }
    let of_another_life = watch(&begin().await).await.message().await.resume_token;
    for token in [&*old, &*of_another_life, "nonsense"] {
        let mut stream = watch_as(&fixture, ADA, "", token).await.unwrap();
        assert_eq!(stream.next().await, "reset", "{token}");
        put(&fixture, "d").await;
        assert_eq!(stream.next().await, "put d");
    }
}

#[tokio::test]
async fn token_of_another_namespace_or_tenant_is_a_reset() {
    let fixture = begin().await;
    let token = watch(&fixture).await.message().await.resume_token;
    for (namespace, passport, first) in
        [("carts", ADA, "heartbeat"), ("others", ADA, "reset"), ("carts", "south/sara@cache", "reset")]
    {
        let mut stream = watch_in(&fixture, namespace, passport, ("", &token)).await.unwrap();
        assert_eq!(stream.next().await, first, "{namespace} {passport}");
    }
}

#[tokio::test]
async fn stream_ends_when_its_caller_is_revoked() {
    let fixture = begin().await;
    let mut stream = watch_as(&fixture, "north/leaver@cache", "", "").await.unwrap();
    let ended = loop {
        match stream.0.message().await {
            Ok(message) => assert!(message.is_some(), "it ends with a reason"),
            Err(status) => break status,
        }
    };
    assert_eq!((ended.code(), fault::reason_of(&ended)), (Code::Unauthenticated, Some(Reason::TokenRevoked)));
}

#[tokio::test]
async fn changes_of_another_tenant_or_prefix_are_not_told() {
    let fixture = begin().await;
    let mut watch = watch_as(&fixture, ADA, "user/", "").await.unwrap();
    watch.message().await;
    put_as(&fixture, "south/sara@cache", "user/1").await;
    put(&fixture, "cart/1").await;
    put(&fixture, "user/2").await;
    assert_eq!(watch.next().await, "put user/2");
}

#[tokio::test]
async fn silent_stream_has_heartbeats_whose_tokens_move_on() {
    let fixture = begin_as(|carts| carts.heartbeat = Duration::from_millis(100)).await;
    let mut watch = watch(&fixture).await;
    let first = watch.message().await.resume_token;
    put_as(&fixture, "south/sara@cache", "a").await;
    loop {
        let message = watch.message().await;
        assert_eq!(told(message.event.unwrap()), "heartbeat");
        if message.resume_token != first {
            return;
        }
    }
}

#[tokio::test]
async fn slow_reader_is_ended_with_a_reason() {
    let fixture = begin_as(|carts| carts.max_changes = 4).await;
    let channel = Endpoint::from_shared(fixture.url.clone()).unwrap().initial_stream_window_size(65_535).connect_lazy();
    let asked = under(ADA, WatchRequest { namespace: "carts".to_owned(), ..WatchRequest::default() });
    let mut stream = CacheServiceClient::new(channel).watch(asked).await.unwrap().into_inner();
    let long = vec!["t".repeat(250); 100];
    for _ in 0..100 {
        invalidate(&fixture, Scope::Tags(TagList { tags: long.clone() })).await;
    }
    let ended = loop {
        match stream.message().await {
            Ok(message) => assert!(message.is_some(), "it ends with a reason"),
            Err(status) => break status,
        }
    };
    assert_eq!((ended.code(), fault::reason_of(&ended)), (Code::Aborted, Some(Reason::WatcherTooSlow)));
}

#[tokio::test]
async fn one_principal_leaves_places_to_other_watchers() {
    let fixture = begin_as(|carts| carts.max_watchers = 4).await;
    let _watching = [watch(&fixture).await, watch(&fixture).await];
    let refused = watch_as(&fixture, ADA, "", "").await.err().unwrap();
    assert_eq!((refused.code(), fault::reason_of(&refused)), (Code::ResourceExhausted, Some(Reason::Overloaded)));
    assert!(watch_as(&fixture, "north/bob@cache", "", "").await.is_ok());
}

#[tokio::test]
async fn watcher_needs_the_permission_to_read() {
    let fixture = begin().await;
    let refused = watch_as(&fixture, "north/stranger@cache", "", "").await.err().unwrap();
    assert_eq!(fault::reason_of(&refused), Some(Reason::PermissionMissing));
    assert!(watch_as(&fixture, "north/reader@cache", "", "").await.is_ok());
}
