//! Three cache processes that share their invalidations in the PostgreSQL at `ACCORD_TEST_POSTGRES_URL`, and two gateways: a read that
//! starts after an acknowledged write sees it, at both. The first gateway sees the replicas one by one, the second one a name that
//! shares connections out among them.

mod auth_steps;
mod auths;
mod namespaces;
mod near;
mod owners;
mod second_level;
mod soak;
mod two_logs;

use accord_fabric::{EDITOR, Fabric, Part, Server, http::HttpCall, http::HttpResponse};
use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::json;
use std::{fs, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use toml::{Table, toml};

const PRODUCT: &str = "/v1/products/oak-desk";
/// Within it so many writes are acknowledged, whatever fails.
const SOON: Duration = Duration::from_mins(2);
const ACKNOWLEDGED: usize = 10;
const READS: usize = 4;

struct Mesh {
    /// Its cache and its gateway stand beside the replicas, and nobody asks them.
    fabric: Fabric,
    caches: Vec<Server>,
    gateways: Vec<Server>,
    token: String,
    writes: usize,
    database: Database,
}

impl Mesh {
    async fn start(test: &str) -> Result<Self> {
        Self::start_under(test, "tests/journeys/near.toml").await
    }

    async fn start_under(test: &str, overlay: &str) -> Result<Self> {
        let database = Database::create(test).await?;
        let mut fabric = Fabric::builder()?.overlay(overlay).start().await?;
        let token = fabric.token(EDITOR).await?;
        let mut caches = Vec::new();
        for number in 0..3 {
            let mut cache = fabric.another_with(Part::Cache, sharing(&fabric, &database.url, number)?)?;
            cache.wait_serving().await?;
            caches.push(cache);
        }
        let mut gateways = Vec::new();
        for cache in [one_by_one(&caches), by_name(&caches).await?] {
            let mut gateway = fabric.another_with(Part::Gateway, cache)?;
            gateway.wait_serving().await?;
            gateways.push(gateway);
        }
        let mut mesh = Self { fabric, caches, gateways, token, writes: 0, database };
        mesh.stock().await?;
        Ok(mesh)
    }

    async fn stock(&mut self) -> Result<()> {
        let call = HttpCall::new(self.gateways[0].listen, Method::POST, "/v1/products").token(&self.token);
        let call = call.header("idempotency-key", "stock").json(&json!({ "id": "oak-desk", "title": "Oak desk" }));
        let answer = call.send().await?;
        ensure!(answer.status == 200, "{}", answer.text());
        Ok(())
    }

    /// Writes by one gateway, and reads by both; whether the write was acknowledged.
    async fn write_and_read(&mut self) -> Result<bool> {
        self.writes += 1;
        let (title, writer) = (format!("Oak desk {}", self.writes), self.writes % 2);
        let call = HttpCall::new(self.gateways[writer].listen, Method::PUT, PRODUCT).token(&self.token);
        let put = call.json(&json!({ "id": "oak-desk", "title": title })).send().await?;
        ensure!(put.status == 200, "{}", put.text());
        let is_acknowledged = put.header("x-accord-invalidation").is_none();
        for answer in self.reads().await?.into_iter().filter(|_| is_acknowledged) {
            let seen = answer.json()?;
            ensure!(seen["title"] == *title, "after {title}: {:?} {}", answer.header("cache-status"), answer.text());
        }
        Ok(is_acknowledged)
    }

    /// Writes by one gateway, and reads by both what the token of the write, and then that of each read, allows. A read that would
    /// have to wait for longer than its caller does is told so.
    async fn write_and_read_with_token(&mut self) -> Result<()> {
        self.writes += 1;
        let (title, writer) = (format!("Oak desk {}", self.writes), self.writes % 2);
        let call = HttpCall::new(self.gateways[writer].listen, Method::PUT, PRODUCT).token(&self.token);
        let put = call.json(&json!({ "id": "oak-desk", "title": title })).send().await?;
        let mut token = put.header("x-accord-consistency-token").context("no token")?.to_owned();
        let mut answered = 0;
        for gateway in self.gateways.iter().cycle().take(READS * self.gateways.len()) {
            let call = HttpCall::new(gateway.listen, Method::GET, PRODUCT).token(&self.token);
            let answer = call.header("x-accord-at-least-as-fresh", &token).send().await?;
            if answer.status == 504 {
                continue;
            }
            answered += 1;
            ensure!(answer.status == 200, "{}", answer.text());
            ensure!(answer.json()?["title"] == *title, "after {title}: {:?}", answer.header("cache-status"));
            answer.header("x-accord-consistency-token").context("no token")?.clone_into(&mut token);
        }
        ensure!(answered > 0, "nothing was answered after {title}");
        Ok(())
    }

    /// So many by each gateway, so that some are answered from its memory.
    async fn reads(&self) -> Result<Vec<HttpResponse>> {
        let mut answers = Vec::new();
        for gateway in self.gateways.iter().cycle().take(READS * self.gateways.len()) {
            let answer = HttpCall::new(gateway.listen, Method::GET, PRODUCT).token(&self.token).send().await?;
            ensure!(answer.status == 200, "{}", answer.text());
            answers.push(answer);
        }
        Ok(answers)
    }

    /// Takes the database back.
    async fn end(self) -> Result<()> {
        let Self { caches, gateways, database, .. } = self;
        drop((gateways, caches));
        database.drop().await
    }

    async fn acknowledge_some(&mut self) -> Result<()> {
        let some = async {
            let mut acknowledged = 0;
            while acknowledged < ACKNOWLEDGED {
                acknowledged += usize::from(self.write_and_read().await?);
            }
            anyhow::Ok(())
        };
        timeout(SOON, some).await.context("too few writes are acknowledged")?
    }
}

/// A database of a test's own.
struct Database {
    server: String,
    name: String,
    url: String,
}

impl Database {
    async fn create(test: &str) -> Result<Self> {
        let server = std::env::var("ACCORD_TEST_POSTGRES_URL").context("ACCORD_TEST_POSTGRES_URL names the server")?;
        let (base, _) = server.split_once('?').unwrap_or((&server, ""));
        let (host, _) = base.rsplit_once('/').context("the URL of a database")?;
        let name = format!("replicas_{test}_{}", std::process::id());
        let database = Self { url: format!("{host}/{name}"), server, name };
        database.run(&format!("CREATE DATABASE {}", database.name)).await?;
        Ok(database)
    }

    async fn drop(self) -> Result<()> {
        self.run(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).await
    }

    async fn run(&self, statement: &str) -> Result<()> {
        use sqlx::{Connection, Executor};
        let mut operator = sqlx::PgConnection::connect(&self.server).await?;
        operator.execute(sqlx::AssertSqlSafe(statement.to_owned())).await?;
        Ok(())
    }
}

/// A gateway's section `cache` that names each replica.
fn one_by_one(caches: &[Server]) -> Table {
    let mut urls: Vec<_> = caches.iter().map(|cache| format!("http://{}", cache.listen)).collect();
    let url = urls.remove(0);
    toml! { cache = { url = url, replicas = urls } }
}

/// One that names all of them at once.
async fn by_name(caches: &[Server]) -> Result<Table> {
    let url = format!("http://{}", name(caches.iter().map(|cache| cache.listen).collect()).await?);
    Ok(toml! { cache = { url = url } })
}

/// What a replica has of its own, and what it shares.
fn sharing(fabric: &Fabric, shared: &str, number: usize) -> Result<Table> {
    let directory = fabric.directory().join(format!("data-of-replica-{number}"));
    fs::create_dir(&directory)?;
    let secret = fabric.directory().join("consistency");
    fs::write(&secret, "s".repeat(32))?;
    let secret = secret.display().to_string();
    let (directory, log, records) = (directory.display().to_string(), shared.to_owned(), shared.to_owned());
    Ok(toml! {
        data_dir = directory
        [log]
        url = log
        [records]
        url = records
        [consistency]
        token_key_file = secret
    })
}

/// A name: it shares connections out among the addresses behind it, and leaves out those that refuse them.
async fn name(behind: Vec<SocketAddr>) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let behind: Arc<[SocketAddr]> = behind.into();
    tokio::spawn(async move {
        for turn in 0.. {
            let Ok((mut near, _)) = listener.accept().await else { return };
            let address = behind[turn % behind.len()];
            tokio::spawn(async move {
                let mut far = TcpStream::connect(address).await?;
                tokio::io::copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
    Ok(address)
}

#[tokio::test]
async fn read_after_acknowledged_write_sees_it_at_every_gateway_with_three_replicas() -> Result<()> {
    let mut mesh = Mesh::start("three").await?;
    mesh.acknowledge_some().await?;
    for gateway in &mesh.gateways {
        let seen = gateway.metric("accord_gateway_near_two_caches_total", &[]).await.unwrap_or_default();
        ensure!(seen == 0.0, "replicas that share a log were taken for two caches");
    }
    mesh.end().await
}

#[tokio::test]
async fn writes_are_acknowledged_again_after_a_replica_was_killed() -> Result<()> {
    let mut mesh = Mesh::start("killed").await?;
    mesh.acknowledge_some().await?;
    mesh.caches[0].process.kill()?;
    mesh.acknowledge_some().await?;
    mesh.end().await
}

#[tokio::test]
async fn writes_are_acknowledged_while_a_replica_is_paused_and_after_it_goes_on() -> Result<()> {
    let mut mesh = Mesh::start("paused").await?;
    mesh.acknowledge_some().await?;
    mesh.caches[0].process.pause()?;
    mesh.acknowledge_some().await?;
    mesh.caches[0].process.resume()?;
    mesh.acknowledge_some().await?;
    mesh.end().await
}

#[tokio::test]
async fn read_with_the_token_of_a_write_sees_it_at_every_replica_whatever_the_write_said() -> Result<()> {
    let mut mesh = Mesh::start("replicas_tokens").await?;
    mesh.acknowledge_some().await?;
    // Deferred, as long as the others wait for it.
    mesh.caches[0].process.pause()?;
    for _ in 0..ACKNOWLEDGED {
        mesh.write_and_read_with_token().await?;
    }
    mesh.caches[0].process.resume()?;
    mesh.write_and_read_with_token().await
}

#[tokio::test]
async fn write_that_is_acknowledged_locally_waits_for_no_paused_replica_and_its_token_is_met_at_each() -> Result<()> {
    let mut mesh = Mesh::start_under("replicas_local", "tests/journeys/near_local.toml").await?;
    mesh.write_and_read_with_token().await?;
    mesh.caches[0].process.pause()?;
    // One that waited would be deferred: the paused replica's lease is longer than writes wait. At first the gateway may ask the
    // replica that hangs.
    let said = async {
        loop {
            let call = HttpCall::new(mesh.gateways[0].listen, Method::PUT, PRODUCT).token(&mesh.token);
            let put = call.json(&json!({ "id": "oak-desk", "title": "Oak desk" })).send().await?;
            match put.header("x-accord-invalidation") {
                Some("DEFERRED") => {}
                said => return anyhow::Ok(said.map(str::to_owned)),
            }
        }
    };
    ensure!(timeout(SOON, said).await.context("every write was deferred")??.as_deref() == Some("LOCAL"));
    mesh.write_and_read_with_token().await?;
    mesh.caches[0].process.resume()?;
    mesh.write_and_read_with_token().await?;
    mesh.end().await
}
