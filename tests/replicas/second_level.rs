//! Replicas that share what they have loaded in a Redis nobody here wrote, alone and as a Cluster: it may be killed, paused, put back
//! and written to by others. Each replica has a gateway of its own, so that it is known who answers.

use crate::{Database, SOON, sharing};
use accord_fabric::redis::{Cluster, Redis};
use accord_fabric::{EDITOR, Fabric, Part, Server, http::HttpCall, http::HttpResponse};
use anyhow::{Result, ensure};
use http::Method;
use serde_json::json;
use std::{fs, time::Duration};
use tokio::time::{Instant, sleep_until};
use toml::Table;

const LOOKUPS: &str = "accord_cache_second_level_lookups_total";
const WRITES: &str = "accord_cache_second_level_writes_total";
const UP: &str = "accord_cache_second_level_up";
const LOADS: &str = "accord_cache_load_duration_seconds_count";

/// Longer than any answer takes whose replica waits for the second level no longer than it may, and less than half of the deadline.
const BOUND: Duration = Duration::from_secs(8);

/// A log that is younger than two seconds knows of no gateway that may have been there before, and so lets everything be dropped for
/// each that comes.
const YOUTH: Duration = Duration::from_millis(2500);

/// A replica, and the gateway that asks it and no other.
struct Replica {
    cache: Server,
    gateway: Server,
    token: String,
}

struct Mesh {
    fabric: Fabric,
    database: Database,
    url: String,
    timeout: &'static str,
    token: String,
    started: usize,
    /// When the log had its first batch, or a little later: that of the first gateway.
    log_began: Option<Instant>,
}

impl Mesh {
    /// Waits for the second level longer than any answer takes on a busy machine.
    async fn start(test: &str, url: String) -> Result<Self> {
        Self::start_with(test, url, "5s").await
    }

    async fn start_with(test: &str, url: String, timeout: &'static str) -> Result<Self> {
        let database = Database::create(test).await?;
        let fabric = Fabric::builder()?.overlay("tests/replicas/second_level.toml").start().await?;
        let token = fabric.token(EDITOR).await?;
        Ok(Self { fabric, database, url, timeout, token, started: 0, log_began: None })
    }

    /// A replica that holds nothing, once it serves, its first lease is over and it is connected.
    async fn newcomer(&mut self) -> Result<Replica> {
        let (url, timeout) = (self.url.clone(), self.timeout);
        self.newcomer_with(toml::toml! { second_level = { url = url, password = "secret", timeout = timeout } }).await
    }

    /// The same with sections of its own.
    async fn newcomer_with(&mut self, own: Table) -> Result<Replica> {
        // The age of the log is what is waited for: nothing else tells of it.
        if let Some(began) = self.log_began {
            sleep_until(began + YOUTH).await;
        }
        let mut settings = sharing(&self.fabric, &self.database.url, self.started)?;
        self.started += 1;
        settings.extend(own);
        let mut cache = self.fabric.another_with(Part::Cache, settings)?;
        cache.wait_serving().await?;
        cache.await_metric(UP, &[], |up| up > 0.5).await?;
        let url = cache.url();
        let mut gateway = self.fabric.another_with(Part::Gateway, toml::toml! { cache = { url = url } })?;
        gateway.wait_serving().await?;
        let replica = Replica { cache, gateway, token: self.token.clone() };
        replica.wait_looks().await?;
        self.log_began.get_or_insert_with(Instant::now);
        Ok(replica)
    }

    async fn end(self) -> Result<()> {
        self.database.drop().await
    }
}

impl Replica {
    /// Creates a product, and waits until all replicas know: an invalidation that is deferred would end what is loaded before it.
    async fn create(&self, id: &str) -> Result<()> {
        let call = HttpCall::new(self.gateway.listen, Method::POST, "/v1/products").token(&self.token);
        let call = call.header("idempotency-key", id).json(&json!({ "id": id, "title": "New" }));
        let answer = call.send().await?;
        ensure!(answer.status == 200, "{}", answer.text());
        self.write(id, "New").await
    }

    /// Waits until its gateway, whose life is new to the caches, asks it, and its first lease is over: only then it looks into the second
    /// level.
    async fn wait_looks(&self) -> Result<()> {
        let end = Instant::now() + SOON;
        loop {
            let call = HttpCall::new(self.gateway.listen, Method::GET, "/v1/products/none").token(&self.token);
            let answer = call.send().await?;
            let is_asked = answer.header("cache-status").is_some_and(|told| told.starts_with("accord; fwd=uri-miss"));
            if is_asked && self.count(LOOKUPS, &[]).await? > 0 {
                return Ok(());
            }
            ensure!(Instant::now() < end, "{}: {:?}", answer.status, answer.header("cache-status"));
        }
    }

    /// Writes until a write is acknowledged.
    async fn write(&self, id: &str, title: &str) -> Result<()> {
        loop {
            let call = HttpCall::new(self.gateway.listen, Method::PUT, &format!("/v1/products/{id}"));
            let put = call.token(&self.token).json(&json!({ "id": id, "title": title })).send().await?;
            ensure!(put.status == 200, "{}", put.text());
            if put.header("x-accord-invalidation").is_none() {
                return Ok(());
            }
        }
    }

    async fn read(&self, id: &str) -> Result<HttpResponse> {
        let call = HttpCall::new(self.gateway.listen, Method::GET, &format!("/v1/products/{id}"));
        let answer = call.token(&self.token).header("request-timeout", "20").send().await?;
        ensure!(answer.status == 200, "{}", answer.text());
        Ok(answer)
    }

    /// Reads a product that nobody has loaded, and waits until it is in the second level.
    async fn load(&mut self, id: &str) -> Result<()> {
        let written = self.cache.metric(WRITES, &[("outcome", "written")]).await?;
        self.read(id).await?;
        self.cache.await_metric(WRITES, &[("outcome", "written")], |now| now > written + 0.5).await?;
        Ok(())
    }

    /// So many looks of the replica ended so.
    async fn looked(&self, outcome: &str) -> Result<u64> {
        self.count(LOOKUPS, &[("outcome", outcome)]).await
    }

    /// How its looks ended, for whoever has to find out why one did not as it should.
    async fn looks(&self) -> Result<Vec<String>> {
        let metrics = self.cache.metrics().await?;
        Ok(metrics.lines().filter(|line| line.starts_with(LOOKUPS)).map(str::to_owned).collect())
    }

    async fn count(&self, metric: &str, labels: &[(&str, &str)]) -> Result<u64> {
        Ok(format!("{:.0}", self.cache.metric(metric, labels).await?).parse()?)
    }
}

fn title(answer: &HttpResponse) -> Result<String> {
    Ok(answer.json()?["title"].as_str().unwrap_or_default().to_owned())
}

fn is_shared(answer: &HttpResponse) -> bool {
    let told = answer.header("cache-status").unwrap_or_default();
    told.starts_with("accord; hit; ttl=") && told.contains("detail=second-level")
}

#[tokio::test]
async fn newcomer_answers_from_the_second_level_without_a_call_of_the_origin() -> Result<()> {
    let redis = Redis::plain().await?;
    let mut mesh = Mesh::start("second_level", redis.url()).await?;
    let mut first = mesh.newcomer().await?;
    first.create("oak-desk").await?;
    first.load("oak-desk").await?;
    let newcomer = mesh.newcomer().await?;
    let loads = newcomer.count(LOADS, &[]).await?;
    let answer = newcomer.read("oak-desk").await?;
    ensure!(is_shared(&answer), "{:?}, and of its looks {:?}", answer.header("cache-status"), newcomer.looks().await?);
    ensure!(title(&answer)? == "New", "{}", answer.text());
    ensure!(newcomer.count(LOADS, &[]).await? == loads, "the origin was asked");
    let again = newcomer.read("oak-desk").await?;
    ensure!(!is_shared(&again), "from memory, the second time: {:?}", again.header("cache-status"));
    ensure!(newcomer.looked("hit").await? == 1, "memory was not enough");
    mesh.end().await
}

#[tokio::test]
async fn value_that_was_invalidated_is_not_used_even_from_a_dump_that_is_put_back() -> Result<()> {
    let mut redis = Redis::plain().await?;
    let mut mesh = Mesh::start("second_level_dump", redis.url()).await?;
    let mut first = mesh.newcomer().await?;
    first.create("oak-desk").await?;
    first.load("oak-desk").await?;
    redis.ask(&["SAVE"]).await?;
    let (dump, older) = (redis.directory.path().join("dump.rdb"), redis.directory.path().join("older.rdb"));
    fs::copy(&dump, &older)?;
    first.write("oak-desk", "Newer").await?;
    first.load("oak-desk").await?;

    redis.process.kill()?;
    fs::copy(&older, &dump)?;
    redis.process.restart()?;
    redis.wait_listening().await?;
    ensure!(redis.ask(&["DBSIZE"]).await?.trim() != "0", "nothing was put back");
    let newcomer = mesh.newcomer().await?;
    let answer = newcomer.read("oak-desk").await?;
    ensure!(title(&answer)? == "Newer", "{}", answer.text());
    ensure!(newcomer.looked("invalidated").await? == 1, "it was not judged by the log");
    mesh.end().await
}

#[tokio::test]
async fn bytes_that_others_wrote_into_the_second_level_are_no_answers() -> Result<()> {
    let redis = Redis::plain().await?;
    let mut mesh = Mesh::start("second_level_poison", redis.url()).await?;
    let mut first = mesh.newcomer().await?;
    for id in ["oak-desk", "elm-desk"] {
        first.create(id).await?;
        first.load(id).await?;
    }
    let keys = redis.ask(&["KEYS", "accord:answer:*"]).await?;
    let keys: Vec<_> = keys.lines().filter(|key| !key.ends_with(":hello")).collect();
    ensure!(keys.len() == 2, "{keys:?}");
    // One gets what is the other's, which gets something else.
    redis.ask(&["RENAME", keys[0], keys[1]]).await?;
    redis.ask(&["SET", keys[0], "poison"]).await?;
    let newcomer = mesh.newcomer().await?;
    for id in ["oak-desk", "elm-desk"] {
        let answer = newcomer.read(id).await?;
        ensure!(answer.json()?["id"] == id && !is_shared(&answer), "{}", answer.text());
    }
    ensure!(newcomer.looked("unreadable").await? == 2, "they were not looked at");
    mesh.end().await
}

#[tokio::test]
async fn answers_go_on_within_their_bound_while_the_second_level_hangs_and_after_it_was_killed() -> Result<()> {
    let mut redis = Redis::plain().await?;
    let mut mesh = Mesh::start_with("second_level_down", redis.url(), "500ms").await?;
    let mut first = mesh.newcomer().await?;
    for id in ["a", "b", "c", "d", "e"] {
        first.create(id).await?;
    }
    first.load("a").await?;
    redis.process.pause()?;
    for id in ["b", "c", "d"] {
        let begun = Instant::now();
        first.read(id).await?;
        ensure!(begun.elapsed() < BOUND, "{id} took {:?}", begun.elapsed());
    }
    first.cache.await_metric(UP, &[], |up| up < 0.5).await?;
    let late = first.looked("late").await?;
    first.read("e").await?;
    ensure!(first.looked("late").await? == late, "somebody waits for a server that is left alone");

    redis.process.kill()?;
    first.write("a", "Newer").await?;
    ensure!(title(&first.read("a").await?)? == "Newer");
    redis.process.restart()?;
    first.cache.await_metric(UP, &[], |up| up > 0.5).await?;
    first.write("a", "Newest").await?;
    first.load("a").await?;
    mesh.end().await
}

#[tokio::test]
async fn second_level_on_a_cluster_goes_on_after_a_primary_was_killed() -> Result<()> {
    let mut cluster = Cluster::start("accord").await?;
    let mut mesh = Mesh::start("second_level_cluster", cluster.url()).await?;
    let mut first = mesh.newcomer().await?;
    let ids: Vec<_> = (0..12).map(|number| format!("desk-{number}")).collect();
    for id in &ids {
        first.create(id).await?;
        first.load(id).await?;
    }
    let mut newcomer = mesh.newcomer().await?;
    for id in &ids {
        let answer = newcomer.read(id).await?;
        ensure!(is_shared(&answer), "{id}: {:?}", answer.header("cache-status"));
    }

    cluster.fail_over().await?;
    newcomer.cache.await_metric(UP, &[], |up| up > 0.5).await?;
    let mut later = mesh.newcomer().await?;
    for id in &ids {
        first.write(id, "Newer").await?;
        let answer = later.read(id).await?;
        ensure!(title(&answer)? == "Newer", "{id}: {}", answer.text());
    }
    later.cache.await_metric(WRITES, &[("outcome", "written")], |written| written > 11.5).await?;
    mesh.end().await
}

#[tokio::test]
async fn second_level_follows_its_password_file_and_the_file_of_its_key() -> Result<()> {
    let redis = Redis::plain().await?;
    let mut mesh = Mesh::start("second_level_secrets", redis.url()).await?;
    let [password, key] = ["password", "key"].map(|name| redis.directory.path().join(name));
    fs::write(&password, "secret\n")?;
    fs::write(&key, "k".repeat(32))?;
    let (url, password_file, key_file) = (redis.url(), password.display().to_string(), key.display().to_string());
    let own = toml::toml! {
        consistency = { token_key_file = key_file }
        second_level = { url = url, password_file = password_file, timeout = "5s" }
    };
    let mut first = mesh.newcomer_with(own.clone()).await?;
    for id in ["a", "b"] {
        first.create(id).await?;
    }
    first.load("a").await?;

    redis.ask(&["CONFIG", "SET", "requirepass", "x7-changed"]).await?;
    fs::write(&password, "x7-changed\n")?;
    redis.ask_as("x7-changed", &["CLIENT", "KILL", "TYPE", "normal"]).await?;
    let connections = |log: &str| log.matches("loaded answers are shared in the second level").count();
    first.cache.process.await_log(SOON, |log| connections(log) == 2).await?;
    first.cache.await_metric(UP, &[], |up| up > 0.5).await?;
    let log = first.cache.process.log();
    ensure!(!log.contains("WRONGPASS") && !log.contains("x7-changed"), "{log}");

    fs::write(&key, "n".repeat(32))?;
    let labels = [("kind", "second_level_key"), ("outcome", "replaced")];
    first.cache.await_metric("accord_files_reloads_total", &labels, |count| count > 0.5).await?;
    first.load("b").await?;
    let newcomer = mesh.newcomer_with(own).await?;
    let (under_the_earlier, under_the_new) = (newcomer.read("a").await?, newcomer.read("b").await?);
    ensure!(!is_shared(&under_the_earlier), "{:?}", under_the_earlier.header("cache-status"));
    ensure!(is_shared(&under_the_new), "{:?}, {:?}", under_the_new.header("cache-status"), newcomer.looks().await?);
    mesh.end().await
}
