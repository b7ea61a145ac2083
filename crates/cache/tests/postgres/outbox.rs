//! An outbox on PostgreSQL: writes by plain SQL are heard of, whatever becomes of readers, connections and transactions.

use std::time::Duration;

use accord_cache::config::Config;
use accord_cache::log::LiveReplica;
use accord_cache::outbox::{
    Installation, KeyConfig, OutboxConfig, TableConfig, follow, install_statements, readers, uninstall_statements,
};
use accord_cache::serve;
use accord_readthrough::{Expected, Limits, Namespace, NamespaceLimits, Write};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use tokio::task::JoinHandle;

use crate::url;

/// Within it, what was committed is seen, on a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// A database of its own with a table of products, and an outbox on it.
struct Shop {
    operator: PgConnection,
    outbox: OutboxConfig,
}

/// A cache that reads the outbox.
struct Cache {
    replica: LiveReplica,
    prices: Namespace,
    reading: JoinHandle<()>,
}

impl Shop {
    async fn open(database: &str) -> Self {
        Self::open_with(database, |_| {}).await
    }

    async fn open_with(database: &str, change: impl FnOnce(&mut OutboxConfig)) -> Self {
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

    async fn install(&mut self) {
        let mut transaction = self.operator.begin().await.unwrap();
        for statement in install_statements(Installation { outbox: &self.outbox, reader: None }) {
            transaction.execute(AssertSqlSafe(statement)).await.unwrap();
        }
        transaction.commit().await.unwrap();
    }

    async fn run(&mut self, sql: &str) {
        self.operator.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
    }

    /// Another session.
    async fn session(&self) -> PgConnection {
        PgConnection::connect(self.outbox.url.as_ref().unwrap().expose()).await.unwrap()
    }

    async fn count(&mut self, sql: &str) -> i64 {
        sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_one(&mut self.operator).await.unwrap().try_get(0).unwrap()
    }

    /// A cache whose outbox is configured so, which has read all that there is.
    fn cache_with(&self, change: impl FnOnce(&mut OutboxConfig)) -> Cache {
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

    async fn cache(&mut self) -> Cache {
        let cache = self.cache_with(|_| {});
        self.caught_up().await;
        cache
    }

    /// Until a reader has read everything that is there now.
    async fn caught_up(&mut self) {
        self.read_where("flush_after IS NULL").await;
    }

    /// The same, where this holds of the cursor.
    async fn read_where(&mut self, holds: &str) {
        let now: String = sqlx::query("SELECT clock_timestamp()::text")
            .fetch_one(&mut self.operator)
            .await
            .unwrap()
            .try_get(0)
            .unwrap();
        let sql = format!(
            "SELECT count(*) FROM accord_outbox_cursor WHERE read_at > '{now}'::timestamptz AND timeline <> '' AND {holds}"
        );
        let read = async { while self.count(&sql).await == 0 {} };
        tokio::time::timeout(SOON, read).await.expect("the outbox is read");
    }
}

impl Cache {
    /// Holds a key, as if it had been loaded before what comes.
    fn hold(&self, key: &str) {
        let (tags, expected, ttl) = (&[][..], Expected::Anything, Duration::from_hours(1));
        let write = Write { tenant: "north", key, value: "milk".into(), tags, ttl, expected };
        assert!(self.replica.engine().put(&self.prices, write).unwrap().stored);
    }

    fn holds(&self, key: &str) -> bool {
        self.replica.engine().get(&self.prices, "north", key).is_some()
    }

    /// Until what a key holds is invalidated.
    async fn forgets(&self, key: &str) {
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

#[tokio::test]
async fn plain_sql_invalidates_the_rows_that_it_changes_before_and_after_and_no_others() {
    let mut shop = Shop::open("outbox_plain").await;
    shop.run("INSERT INTO products VALUES ('ada', 'x', 1), ('bob', 'x', 1), ('eve', 'x', 1)").await;
    let cache = shop.cache().await;
    for (sql, changed) in [
        ("UPDATE products SET price = 2 WHERE id = 'ada'", &["ada"][..]),
        ("UPDATE products SET id = 'carl' WHERE id = 'bob'", &["bob", "carl"]),
        ("DELETE FROM products WHERE id = 'carl'", &["carl"]),
        ("INSERT INTO products VALUES ('bob', 'x', 1) ON CONFLICT (id) DO UPDATE SET price = 3", &["bob"]),
        ("TRUNCATE products", &["ada", "bob", "carl", "eve"]),
    ] {
        let all = ["ada", "bob", "carl", "eve"];
        for key in all {
            cache.hold(key);
        }
        shop.run(sql).await;
        for key in changed {
            cache.forgets(key).await;
        }
        let others = all.iter().filter(|key| !changed.contains(key));
        assert!(others.clone().all(|key| cache.holds(key)), "{sql}");
    }
}

#[tokio::test]
async fn transaction_that_commits_late_with_a_smaller_number_is_not_missed() {
    let mut shop = Shop::open("outbox_late").await;
    shop.run("INSERT INTO products VALUES ('ada', 'x', 1), ('bob', 'x', 1)").await;
    let cache = shop.cache().await;
    for key in ["ada", "bob"] {
        cache.hold(key);
    }
    let mut slow = shop.session().await;
    slow.execute("BEGIN; UPDATE products SET price = 2 WHERE id = 'ada'").await.unwrap();
    shop.run("UPDATE products SET price = 2 WHERE id = 'bob'").await;
    cache.forgets("bob").await;
    shop.caught_up().await;
    assert!(cache.holds("ada"), "nothing was committed of it");
    slow.execute("COMMIT").await.unwrap();
    cache.forgets("ada").await;
}

#[tokio::test]
async fn reader_that_takes_over_reads_what_commits_late_as_well() {
    let mut shop = Shop::open("outbox_late_take_over").await;
    shop.run("INSERT INTO products VALUES ('ada', 'x', 1), ('bob', 'x', 1)").await;
    let first = shop.cache().await;
    first.hold("bob");
    let mut slow = shop.session().await;
    slow.execute("BEGIN; UPDATE products SET price = 2 WHERE id = 'ada'").await.unwrap();
    shop.run("UPDATE products SET price = 2 WHERE id = 'bob'").await;
    first.forgets("bob").await;
    drop(first);
    let second = shop.cache().await;
    second.hold("ada");
    slow.execute("COMMIT").await.unwrap();
    second.forgets("ada").await;
}

#[tokio::test]
async fn rolled_back_transaction_leaves_nothing() {
    let mut shop = Shop::open("outbox_rolled_back").await;
    shop.run("INSERT INTO products VALUES ('ada', 'x', 1)").await;
    let cache = shop.cache().await;
    cache.hold("ada");
    shop.run("BEGIN; UPDATE products SET price = 2 WHERE id = 'ada'; ROLLBACK").await;
    shop.run("INSERT INTO products VALUES ('bob', 'x', 1)").await;
    shop.caught_up().await;
    assert!(cache.holds("ada"));
    assert_eq!(shop.count("SELECT count(*) FROM accord_outbox WHERE tags::text LIKE '%ada%'").await, 0);
}

#[tokio::test]
async fn change_without_a_notification_is_seen_after_the_poll_interval() {
    let mut shop = Shop::open_with("outbox_quiet", |outbox| outbox.notify = false).await;
    shop.run("INSERT INTO products VALUES ('ada', 'x', 1)").await;
    let cache = shop.cache().await;
    cache.hold("ada");
    shop.run("UPDATE products SET price = 2").await;
    cache.forgets("ada").await;
}

#[tokio::test]
async fn notification_wakes_the_reader_long_before_the_poll_interval() {
    let mut shop = Shop::open("outbox_woken").await;
    shop.run("INSERT INTO products VALUES ('ada', 'x', 1)").await;
    let cache = shop
        .cache_with(|outbox| (outbox.poll_interval, outbox.lease) = (Duration::from_mins(1), Duration::from_mins(5)));
    shop.caught_up().await;
    cache.hold("ada");
    shop.run("UPDATE products SET price = 2").await;
    cache.forgets("ada").await;
}

#[tokio::test]
async fn other_replica_reads_on_where_a_reader_has_died_or_hangs() {
    let mut shop = Shop::open("outbox_take_over").await;
    shop.run("INSERT INTO products VALUES ('ada', 'x', 1)").await;
    let first = shop.cache().await;
    let second = shop.cache_with(|_| {});
    first.reading.abort();
    second.hold("ada");
    shop.run("UPDATE products SET price = 2").await;
    second.forgets("ada").await;
}

#[tokio::test]
async fn reader_whose_connection_is_cut_connects_again_and_misses_nothing() {
    let mut shop = Shop::open("outbox_cut").await;
    shop.run("INSERT INTO products VALUES ('ada', 'x', 1)").await;
    let cache = shop.cache().await;
    for _ in 0..3 {
        cache.hold("ada");
        let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()";
        assert!(shop.count(cut).await > 0);
        shop.run("UPDATE products SET price = price + 1").await;
        cache.forgets("ada").await;
    }
}

#[tokio::test]
async fn outbox_that_nobody_read_is_bounded_and_invalidates_everything() {
    let mut shop = Shop::open_with("outbox_full", |outbox| outbox.max_rows = 1_000).await;
    shop.run("INSERT INTO products SELECT n::text, 'x', 1 FROM generate_series(1, 3000) AS n").await;
    shop.run("DO $$ BEGIN FOR n IN 1..3000 LOOP UPDATE products SET price = 2 WHERE id = n::text; END LOOP; END $$")
        .await;
    assert_eq!(shop.count("SELECT count(*) FROM accord_outbox").await, 1_000);
    // What is not committed when everything is invalidated is, once more, when it is.
    let mut slow = shop.session().await;
    slow.execute("BEGIN; UPDATE products SET price = 3 WHERE id = '7'").await.unwrap();
    let cache = shop.cache_with(|_| {});
    shop.read_where("flush_after IS NOT NULL").await;
    cache.hold("ada");
    slow.execute("COMMIT").await.unwrap();
    cache.forgets("ada").await;
    shop.caught_up().await;
    cache.hold("7");
    shop.run("UPDATE products SET price = 4 WHERE id = '7'").await;
    cache.forgets("7").await;
}

#[tokio::test]
async fn statement_that_changes_more_rows_than_are_named_invalidates_everything_by_one_row() {
    let mut shop = Shop::open("outbox_bulk").await;
    let cache = shop.cache().await;
    cache.hold("ada");
    shop.run("INSERT INTO products SELECT n::text, 'x', 1 FROM generate_series(1, 10000) AS n").await;
    cache.forgets("ada").await;
    shop.caught_up().await;
    assert!(shop.count("SELECT last_value FROM accord_outbox_numbers").await == 1);
}

#[tokio::test]
async fn writers_of_a_hot_table_wait_for_no_reader_and_not_for_each_other() {
    let mut shop = Shop::open("outbox_hot").await;
    shop.run("INSERT INTO products SELECT n::text, 'x', 1 FROM generate_series(1, 16) AS n").await;
    let cache = shop.cache().await;
    // A reader in the midst of its transaction, and a writer in the midst of his.
    let (mut reader, mut slow) = (shop.session().await, shop.session().await);
    reader
        .execute("BEGIN; UPDATE accord_outbox_cursor SET held_until = held_until; DELETE FROM accord_outbox")
        .await
        .unwrap();
    slow.execute("BEGIN; UPDATE products SET price = 2 WHERE id = '16'").await.unwrap();
    let write = async |id: i64| {
        let mut session = shop.session().await;
        for _ in 0..50 {
            let update = sqlx::query("UPDATE products SET price = price + 1 WHERE id = $1").bind(id.to_string());
            update.execute(&mut session).await.unwrap();
        }
    };
    let writers = futures_util::future::join_all((1..9).map(write));
    tokio::time::timeout(SOON, writers).await.expect("nobody waits");
    cache.hold("3");
    for mut session in [reader, slow] {
        session.execute("ROLLBACK").await.unwrap();
    }
    cache.forgets("3").await;
}

#[tokio::test]
async fn partition_that_is_written_directly_is_heard_of() {
    let mut shop = Shop::open("outbox_partitions").await;
    shop.run("CREATE TABLE parts (id text, price int) PARTITION BY HASH (id)").await;
    shop.run("CREATE TABLE parts_0 PARTITION OF parts FOR VALUES WITH (MODULUS 1, REMAINDER 0)").await;
    shop.outbox.table[0].name = "public.parts".to_owned();
    shop.install().await;
    let cache = shop.cache().await;
    for table in ["parts", "parts_0"] {
        cache.hold("ada");
        shop.run(&format!("INSERT INTO {table} VALUES ('ada', 1)")).await;
        cache.forgets("ada").await;
    }
    assert_eq!(shop.count("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'products'::regclass").await, 0);
}

#[tokio::test]
async fn reader_needs_no_right_on_the_tables_and_writers_none_on_the_outbox() {
    let mut shop = Shop::open("outbox_rights").await;
    shop.run(
        "CREATE ROLE outbox_reader LOGIN; CREATE ROLE outbox_writer LOGIN; GRANT INSERT ON products TO outbox_writer",
    )
    .await;
    for statement in install_statements(Installation { outbox: &shop.outbox, reader: Some("outbox_reader") }) {
        shop.run(&statement.replace("SET LOCAL", "SET")).await;
    }
    let reader = shop.outbox.url.as_ref().unwrap().expose().replace("accord@", "outbox_reader@");
    let cache = shop.cache_with(|outbox| outbox.url = Some(reader.parse().unwrap()));
    shop.caught_up().await;
    cache.hold("ada");
    shop.run("SET ROLE outbox_writer; INSERT INTO products VALUES ('ada', 'x', 1); RESET ROLE").await;
    cache.forgets("ada").await;
    let mut session = PgConnection::connect(&reader).await.unwrap();
    assert!(session.execute("SELECT * FROM products").await.is_err());
}

#[tokio::test]
async fn uninstalled_outbox_leaves_nothing_behind() {
    let mut shop = Shop::open("outbox_removed").await;
    for statement in uninstall_statements(&shop.outbox) {
        shop.run(&statement.replace("SET LOCAL", "SET")).await;
    }
    shop.run("INSERT INTO products VALUES ('ada', 'x', 1)").await;
    for catalog in ["pg_proc WHERE proname", "pg_class WHERE relname", "pg_trigger WHERE tgname"] {
        assert_eq!(
            shop.count(&format!("SELECT count(*) FROM {catalog} LIKE 'accord\\_outbox%'")).await,
            0,
            "{catalog}"
        );
    }
}
