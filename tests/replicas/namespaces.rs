//! A namespace that is written through at three replicas: each tells what any of them has acknowledged.

use crate::{Database, sharing};
use accord_api::accord::cache::v1::{
    CacheServiceInvalidateRequest, Consistency, DeleteRequest, GetRequest, PutRequest, WatchRequest, WatchResponse,
    cache_service_client::CacheServiceClient, cache_service_invalidate_request::Scope, watch_response::Event,
};
use accord_api::accord::policy::v1::Acknowledgement;
use accord_fabric::{Bearer, EDITOR, Fabric, Part, Server};
use anyhow::{Context, Result, ensure};
use std::time::Duration;
use tokio::time::timeout;
use toml::toml;
use tonic::{
    Code, Request, Status, Streaming,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};

/// Nothing that a test waits for takes as long.
const SOON: Duration = Duration::from_secs(30);
const TURNS: usize = 30;

type Client = CacheServiceClient<InterceptedService<Channel, Bearer>>;

struct Carts {
    caches: Vec<Server>,
    clients: Vec<Client>,
    /// Its own cache stands beside the replicas, and nobody asks it.
    fabric: Fabric,
    database: Database,
}

impl Carts {
    async fn start(test: &str) -> Result<Self> {
        Self::start_with_lease(test, "1s").await
    }

    /// `lease`: of replicas on the log.
    async fn start_with_lease(test: &str, lease: &str) -> Result<Self> {
        let database = Database::create(test).await?;
        let mut fabric = Fabric::builder()?.start().await?;
        let token = fabric.token(EDITOR).await?;
        let (mut caches, mut clients) = (Vec::new(), Vec::new());
        for number in 0..3 {
            let mut settings = sharing(&fabric, &database.url, number)?;
            settings["log"].as_table_mut().context("a section")?.insert("lease".to_owned(), lease.into());
            settings.extend(toml! {
                [[namespace]]
                name = "carts"
                read_permission = "carts.read"
                write_permission = "carts.write"
                write = "through"
                heartbeat = "100ms"
                [namespace.records]
            });
            let mut cache = fabric.another_with(Part::Cache, settings)?;
            cache.wait_serving().await?;
            let channel = Endpoint::from_shared(format!("http://{}", cache.listen))?.connect_lazy();
            clients.push(CacheServiceClient::with_interceptor(channel, Bearer::new(&token)?));
            caches.push(cache);
        }
        Ok(Self { caches, clients, fabric, database })
    }

    async fn put(&mut self, replica: usize, value: &str, expected: Option<&str>) -> Result<String, Status> {
        let (namespace, key) = ("carts".to_owned(), "ada".to_owned());
        let (value, expected_version) = (value.as_bytes().to_vec().into(), expected.map(str::to_owned));
        let put = PutRequest { namespace, key, value, expected_version, ..PutRequest::default() };
        Ok(self.clients[replica].put(in_time(put)).await?.into_inner().version)
    }

    async fn delete(&mut self, replica: usize) -> Result<()> {
        let (namespace, key) = ("carts".to_owned(), "ada".to_owned());
        self.clients[replica]
            .delete(in_time(DeleteRequest { namespace, key, expected_version: None, acknowledgement: 0 }))
            .await?;
        Ok(())
    }

    /// The value and its version.
    async fn get(&mut self, replica: usize) -> Result<Option<(String, String)>> {
        let get = GetRequest { namespace: "carts".to_owned(), key: "ada".to_owned(), consistency: None };
        match self.clients[replica].get(in_time(get)).await {
            Ok(answer) => {
                let entry = answer.into_inner().entry.context("an entry")?;
                Ok(Some((String::from_utf8(entry.value.to_vec())?, entry.version)))
            }
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status.into()),
        }
    }

    async fn watch(&mut self, replica: usize, resume_token: String) -> Result<Streaming<WatchResponse>> {
        let watch = WatchRequest { namespace: "carts".to_owned(), prefix: String::new(), resume_token };
        Ok(self.clients[replica].watch(watch).await?.into_inner())
    }

    /// Takes the database back.
    async fn end(self) -> Result<()> {
        let Self { caches, clients, fabric, database } = self;
        drop((clients, caches, fabric));
        database.drop().await
    }
}

/// The next change, and where to go on after it.
async fn next(stream: &mut Streaming<WatchResponse>) -> Result<(Event, String)> {
    let change = async {
        loop {
            let WatchResponse { resume_token, event } = stream.message().await?.context("the stream goes on")?;
            match event.context("an event")? {
                Event::Heartbeat(_) => {}
                event => return anyhow::Ok((event, resume_token)),
            }
        }
    };
    timeout(SOON, change).await.context("no change is told")?
}

/// Longer than a replica's lease, for which a write may have to wait.
fn in_time<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_secs(5));
    request
}

#[tokio::test]
async fn value_that_one_replica_acknowledged_is_read_at_each() -> Result<()> {
    let mut carts = Carts::start("carts").await?;
    for turn in 0..TURNS {
        let (value, writer) = (format!("{turn}"), turn % 3);
        let version = carts.put(writer, &value, None).await?;
        for replica in 0..3 {
            let seen = carts.get(replica).await?;
            ensure!(seen == Some((value.clone(), version.clone())), "{value} {version} at {replica}: {seen:?}");
        }
    }
    carts.delete(1).await?;
    for replica in 0..3 {
        ensure!(carts.get(replica).await?.is_none(), "{replica} holds what was deleted");
    }
    carts.end().await
}

#[tokio::test]
async fn of_two_compare_and_sets_at_two_replicas_one_is_a_conflict() -> Result<()> {
    let mut carts = Carts::start("carts_compared").await?;
    let mut version = carts.put(0, "first", Some("")).await?;
    let refused = carts.put(1, "first", Some("")).await;
    ensure!(refused.as_ref().is_err_and(|status| status.code() == Code::Aborted), "{refused:?}");
    for turn in 0..TURNS {
        let (one, other) = (turn % 3, (turn + 1) % 3);
        let next = carts.put(one, "milk", Some(&version)).await?;
        let refused = carts.put(other, "bread", Some(&version)).await;
        ensure!(refused.as_ref().is_err_and(|status| status.code() == Code::Aborted), "{refused:?}");
        version = next;
    }
    carts.end().await
}

#[tokio::test]
async fn value_is_acknowledged_and_read_while_a_replica_is_paused_and_by_it_after_it_goes_on() -> Result<()> {
    let mut carts = Carts::start("carts_paused").await?;
    carts.put(0, "before", None).await?;
    ensure!(carts.get(2).await?.is_some(), "it holds the value");
    carts.caches[2].process.pause()?;
    let version = carts.put(0, "after", None).await?;
    ensure!(carts.get(1).await? == Some(("after".to_owned(), version.clone())), "at the other");
    carts.caches[2].process.resume()?;
    ensure!(carts.get(2).await? == Some(("after".to_owned(), version)), "at the one that was paused");
    carts.end().await
}

#[tokio::test]
async fn local_acknowledgement_waits_for_no_paused_replica_and_its_token_is_met_at_each() -> Result<()> {
    // The paused replica is in the register for longer than what follows takes.
    let mut carts = Carts::start_with_lease("carts_local", "5s").await?;
    carts.put(0, "before", None).await?;
    ensure!(carts.get(2).await?.is_some(), "it holds the value");
    carts.caches[2].process.pause()?;
    let put = |value: &'static str, acknowledgement: Acknowledgement| {
        let (namespace, key, value) = ("carts".to_owned(), "ada".to_owned(), value.as_bytes().into());
        let acknowledgement = acknowledgement.into();
        in_time(PutRequest { namespace, key, value, acknowledgement, ..PutRequest::default() })
    };
    let local = carts.clients[0].put(put("newest", Acknowledgement::Local)).await?.into_inner();
    ensure!(local.acknowledgement() == Acknowledgement::Local, "{:?}", local.acknowledgement());
    // One that is to be known everywhere still waits for that replica: so the first one did not.
    let all =
        timeout(Duration::from_millis(500), carts.clients[0].put(put("newest", Acknowledgement::AllReplicas))).await;
    ensure!(all.is_err(), "{all:?}");
    carts.caches[2].process.resume()?;
    for replica in [2, 1, 0] {
        let at_least_as_fresh = vec![local.consistency_token.clone().into()];
        let consistency = Some(Consistency { at_least_as_fresh, ..Consistency::default() });
        let get = GetRequest { namespace: "carts".to_owned(), key: "ada".to_owned(), consistency };
        let entry = carts.clients[replica].get(in_time(get)).await?.into_inner().entry.context("an entry")?;
        ensure!(&entry.value[..] == b"newest", "{entry:?} at {replica}");
    }
    carts.end().await
}

#[tokio::test]
async fn watcher_goes_on_at_another_replica_after_the_last_change_that_it_was_told() -> Result<()> {
    let mut carts = Carts::start("carts_watched").await?;
    let mut stream = carts.watch(0, String::new()).await?;
    ensure!(matches!(next(&mut stream).await?.0, Event::Reset(_)));
    let first = carts.put(1, "milk", None).await?;
    let (event, token) = next(&mut stream).await?;
    ensure!(matches!(&event, Event::Put(put) if put.key == "ada" && put.version == first), "{event:?}");
    drop(stream);
    let second = carts.put(2, "bread", None).await?;
    let all = CacheServiceInvalidateRequest {
        namespace: "carts".to_owned(),
        scope: Some(Scope::All(true)),
        acknowledgement: 0,
    };
    carts.clients[0].invalidate(in_time(all)).await?;
    let mut stream = carts.watch(1, token).await?;
    let (event, _) = next(&mut stream).await?;
    ensure!(matches!(&event, Event::Put(put) if put.version == second), "{event:?}");
    let (event, _) = next(&mut stream).await?;
    ensure!(matches!(event, Event::Invalidated(_)), "{event:?}");
    carts.end().await
}
