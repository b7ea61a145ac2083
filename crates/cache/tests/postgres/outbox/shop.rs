//! A shop whose database has an outbox, and a cache that reads it.

use std::time::Duration;

use accord_cache::config::Config;
use accord_cache::log::LiveReplica;
use accord_cache::outbox::{Installation, KeyConfig, OutboxConfig, TableConfig, follow, install_statements, readers};
use accord_cache::serve;
use accord_readthrough::{Expected, Limits, Namespace, NamespaceLimits, Write};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use tokio::task::JoinHandle;

use crate::url;

/// Within it, what was committed is seen, on a busy machine.
pub(super) const SOON: Duration = Duration::from_secs(30);

/// A database of its own with a table of products, and an outbox on it.
pub(super) struct Shop {
    pub(super) operator: PgConnection,
    pub(super) outbox: OutboxConfig,
}

/// A cache that reads the outbox.
pub(super) struct Cache {
    pub(super) replica: LiveReplica,
    pub(super) prices: Namespace,
    pub(super) reading: JoinHandle<()>,
}

impl Shop {
    pub(super) async fn open(database: &str) -> Self {
        Self::open_with(database, |_| {}).await
    }

    pub(super) async fn open_with(database: &str, change: impl FnOnce(&mut OutboxConfig)) -> Self {
        let mut server = PgConnection::connect(&url()).await.unwrap();
        server.execute(AssertSqlSafe(format!("CREATE DATABASE {database}"))).await.unwrap();
        let (host, _) = url().rsplit_once('/').map(|(host, rest)| (host.to_owned(), rest.to_owned())).unwrap();
        let own = format!("{host}/{database}");
        let mut operator = PgConnection::connect(&own).await.unwrap();
        operator.execute("CREATE TABLE products (id text PRIMARY KEY, owner text, price int)").await.unwrap();
        let key = KeyConfig { namespace: "prices".to_owned(), key: "{id}".to_owned(), tenant: None };
        let tags = vec!["product/{id}".to_owned()];
        let products = TableConfig { name: "public.products".to_owned(), tags, key: vec![key] };
        let mut outbox = OutboxConfig {
            name: "shop".to_owned(),
            url: Some(own.parse().unwrap()),
            lease: Duration::from_secs(1),
            poll_interval: Duration::from_millis(200),
            table: vec![products],
            ..OutboxConfig::default()
        };
        change(&mut outbox);
        let mut shop = Self { operator, outbox };
        shop.install().await;
        shop
    }

    pub(super) async fn install(&mut self) {
        let mut transaction = self.operator.begin().await.unwrap();
        for statement in install_statements(Installation { outbox: &self.outbox, reader: None }) {
            transaction.execute(AssertSqlSafe(statement)).await.unwrap();
        }
        transaction.commit().await.unwrap();
    }

    pub(super) async fn run(&mut self, sql: &str) {
        self.operator.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
    }

    /// Another session.
    pub(super) async fn session(&self) -> PgConnection {
        PgConnection::connect(self.outbox.url.as_ref().unwrap().expose()).await.unwrap()
    }

    pub(super) async fn count(&mut self, sql: &str) -> i64 {
        sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_one(&mut self.operator).await.unwrap().try_get(0).unwrap()
    }

    /// A cache whose outbox is configured so, which has read all that there is.
    pub(super) fn cache_with(&self, change: impl FnOnce(&mut OutboxConfig)) -> Cache {
        let mut outbox = self.outbox.clone();
        change(&mut outbox);
        let config = Config { outbox: vec![outbox], ..Config::default() };
        let engine = serve::engine(Limits { first_lease_time: Duration::ZERO, ..config.limits() });
        let replica = serve::alone(&config, &engine);
        let limits = NamespaceLimits { bytes: 1 << 20, entries: 100, changes: 10 };
        let prices = engine.namespace_of_rows("prices", limits);
        let reader = readers(&config.outbox, "cache", &replica);
        let reading = tokio::spawn(async move { follow(&reader).await });
        Cache { replica, prices, reading }
    }

    pub(super) async fn cache(&mut self) -> Cache {
        let cache = self.cache_with(|_| {});
        self.caught_up().await;
        cache
    }

    /// Until a reader has read everything that is there now. It is woken for that: a flush waits for the transactions of all databases
    /// of the server, and a reader that polls once a minute would look again too late for any test.
    pub(super) async fn caught_up(&mut self) {
        self.read_where("flush_after IS NULL").await;
    }

    /// The same, where this holds of the cursor.
    pub(super) async fn read_where(&mut self, holds: &str) {
        let now: String = sqlx::query("SELECT clock_timestamp()::text")
            .fetch_one(&mut self.operator)
            .await
            .unwrap()
            .try_get(0)
            .unwrap();
        let sql = format!(
            "SELECT count(*) FROM accord_outbox_cursor WHERE read_at > '{now}'::timestamptz AND timeline <> '' AND {holds}"
        );
        let read = async {
            while self.count(&sql).await == 0 {
                self.run("NOTIFY accord_outbox").await;
            }
        };
        tokio::time::timeout(SOON, read).await.expect("the outbox is read");
    }
}

impl Cache {
    /// Holds a key, as if it had been loaded before what comes.
    pub(super) fn hold(&self, key: &str) {
        let (tags, expected, ttl) = (&[][..], Expected::Anything, Duration::from_hours(1));
        let write = Write { tenant: "north", key, value: "milk".into(), tags, ttl, expected };
        assert!(self.replica.engine().put(&self.prices, write).unwrap().stored);
    }

    pub(super) fn holds(&self, key: &str) -> bool {
        self.replica.engine().get(&self.prices, "north", key).is_some()
    }

    /// Until what a key holds is invalidated.
    pub(super) async fn forgets(&self, key: &str) {
        let forgotten = async {
            while self.holds(key) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(SOON, forgotten).await.unwrap_or_else(|_| panic!("{key} is held"));
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.reading.abort();
    }
}
