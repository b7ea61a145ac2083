//! An outbox on PostgreSQL: writes by plain SQL are heard of, whatever becomes of readers, connections and transactions.

use std::time::Duration;

use accord_cache::outbox::{Installation, install_statements, uninstall_statements};
use sqlx::{Connection, Executor, PgConnection};

use shop::{SOON, Shop};

#[path = "outbox/shop.rs"]
mod shop;

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
async fn transaction_that_began_after_the_one_that_shows_its_number_missing_is_not_missed() {
    let mut shop = Shop::open("outbox_late_id").await;
    shop.run("INSERT INTO products VALUES ('ada', 'x', 1), ('bob', 'x', 1)").await;
    // It reads when it is notified, and between that no transaction of its own begins.
    let cache = shop
        .cache_with(|outbox| (outbox.poll_interval, outbox.lease) = (Duration::from_mins(1), Duration::from_mins(5)));
    shop.caught_up().await;
    for key in ["ada", "bob"] {
        cache.hold(key);
    }
    let (mut first, mut second) = (shop.session().await, shop.session().await);
    first.execute("BEGIN; SELECT pg_current_xact_id()").await.unwrap();
    second.execute("BEGIN; UPDATE products SET price = 2 WHERE id = 'ada'").await.unwrap();
    first.execute("UPDATE products SET price = 2 WHERE id = 'bob'; COMMIT").await.unwrap();
    cache.forgets("bob").await;
    cache.hold("bob");
    shop.run("UPDATE products SET price = 3 WHERE id = 'bob'").await;
    cache.forgets("bob").await;
    second.execute("COMMIT").await.unwrap();
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
async fn rows_that_found_no_room_while_the_reader_made_some_invalidate_everything() {
    let mut shop = Shop::open_with("outbox_full_meanwhile", |outbox| outbox.max_rows = 10).await;
    shop.run("INSERT INTO products SELECT n::text, 'x', 1 FROM generate_series(1, 20) AS n").await;
    drop(shop.cache().await);
    shop.run("DO $$ BEGIN FOR n IN 1..14 LOOP UPDATE products SET price = 2 WHERE id = n::text; END LOOP; END $$")
        .await;
    // A reader has read eight and made room, and ends.
    shop.run("DELETE FROM accord_outbox WHERE number <= 9; UPDATE accord_outbox_cursor SET number = 9, holder = ''")
        .await;
    shop.run("SELECT setval('accord_outbox_floor', 9)").await;
    let mut slow = shop.session().await;
    slow.execute("BEGIN; UPDATE products SET price = 3 WHERE id = '20'").await.unwrap();
    let _cache = shop.cache_with(|_| {});
    shop.read_where("flush_after IS NOT NULL").await;
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
