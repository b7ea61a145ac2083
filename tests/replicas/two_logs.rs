//! Caches behind one name that do not share one invalidation log: a mistake that none of them can know of. Gateways notice it as they
//! notice two caches without a log.

use crate::{Database, SOON, one_by_one, sharing};
use accord_fabric::{EDITOR, Fabric, Part, Server, http::HttpCall, http::HttpResponse};
use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::json;
use tokio::time::timeout;

const KEYS: usize = 8;
const ROUNDS: usize = 4;

/// A gateway before caches that share nothing.
struct Mistaken {
    _caches: Vec<Server>,
    gateway: Server,
    token: String,
    databases: Vec<Database>,
    _fabric: Fabric,
}

impl Mistaken {
    /// `logs`: one for each of the caches, or none.
    async fn start(logs: &[Option<&str>]) -> Result<Self> {
        let mut fabric = Fabric::builder()?.overlay("tests/journeys/near.toml").start().await?;
        let token = fabric.token(EDITOR).await?;
        let (mut caches, mut databases) = (Vec::new(), Vec::new());
        for (number, log) in logs.iter().enumerate() {
            let mut settings = sharing(&fabric, "postgres://nobody@127.0.0.1/none", number)?;
            if let Some(log) = log {
                let database = Database::create(log).await?;
                settings = sharing(&fabric, &database.url, number + logs.len())?;
                databases.push(database);
            } else {
                settings.retain(|key, _| key == "data_dir");
            }
            let mut cache = fabric.another_with(Part::Cache, settings)?;
            cache.wait_serving().await?;
            caches.push(cache);
        }
        let mut gateway = fabric.another_with(Part::Gateway, one_by_one(&caches))?;
        gateway.wait_serving().await?;
        let mistaken = Self { _caches: caches, gateway, token, databases, _fabric: fabric };
        for key in 0..KEYS {
            mistaken.create(key).await?;
        }
        Ok(mistaken)
    }

    async fn create(&self, key: usize) -> Result<()> {
        let call = HttpCall::new(self.gateway.listen, Method::POST, "/v1/products").token(&self.token);
        let call = call.header("idempotency-key", &format!("desk-{key}"));
        let answer = call.json(&json!({ "id": format!("desk-{key}"), "title": "Desk" })).send().await?;
        ensure!(answer.status == 200, "{}", answer.text());
        Ok(())
    }

    async fn write(&self, title: &str) -> Result<()> {
        let call = HttpCall::new(self.gateway.listen, Method::PUT, "/v1/products/desk-0").token(&self.token);
        let answer = call.json(&json!({ "id": "desk-0", "title": title })).send().await?;
        ensure!(answer.status == 200, "{}", answer.text());
        Ok(())
    }

    /// Of every key one, so that all caches are asked.
    async fn reads(&self) -> Result<Vec<HttpResponse>> {
        let mut answers = Vec::new();
        for key in 0..KEYS {
            let call = HttpCall::new(self.gateway.listen, Method::GET, &format!("/v1/products/desk-{key}"));
            answers.push(call.token(&self.token).send().await?);
        }
        Ok(answers)
    }

    /// Reads until the mistake is noticed; afterwards a read sees every write, and is a load.
    async fn until_noticed(self) -> Result<()> {
        let noticing = async {
            while !self.reads().await?.iter().all(is_loaded) {}
            anyhow::Ok(())
        };
        timeout(SOON, noticing).await.context("nothing is noticed")??;
        for round in 0..ROUNDS {
            let title = format!("Desk {round}");
            self.write(&title).await?;
            for answer in self.reads().await? {
                ensure!(answer.status == 200, "{}", answer.text());
                ensure!(is_loaded(&answer), "{:?}", answer.header("cache-status"));
                let seen = answer.json()?;
                ensure!(seen["id"] != "desk-0" || seen["title"] == *title, "after {title}: {}", answer.text());
            }
        }
        let log = self.gateway.process.log();
        let said: Vec<_> = log.lines().filter(|line| line.contains("share neither")).collect();
        ensure!(said.len() == 1 && said[0].contains("ERROR"), "{said:?}");
        let Self { databases, .. } = self;
        for database in databases {
            database.drop().await?;
        }
        Ok(())
    }
}

fn is_loaded(answer: &HttpResponse) -> bool {
    answer.header("cache-status").is_some_and(|source| source.starts_with("accord; fwd=request"))
}

#[tokio::test]
async fn replicas_on_two_logs_are_noticed_and_reads_are_loaded() -> Result<()> {
    Mistaken::start(&[Some("log_one"), Some("log_two")]).await?.until_noticed().await
}

#[tokio::test]
async fn replica_with_a_log_beside_a_cache_without_is_noticed_and_reads_are_loaded() -> Result<()> {
    Mistaken::start(&[Some("log_alone"), None]).await?.until_noticed().await
}
