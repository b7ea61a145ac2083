//! Schemas, and who applies their steps.

use std::{pin::pin, time::Duration};

use accord_store::{Error, Migrations, Pool};
use sqlx::{AssertSqlSafe, Executor};
use tokio::{task::JoinSet, time::timeout};

use super::{CONNECTIONS, COUNTERS, COUNTERS_AND_MORE, Place, value};

async fn steps(pool: &Pool, table: &str) -> i64 {
    let count = AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
    sqlx::query_scalar(count).fetch_one(pool.connections()).await.unwrap()
}

pub(crate) async fn step_added_later_is_applied_once_and_rows_stay(place: Place) {
    let before = place.open().await;
    before.connections().execute("UPDATE counters SET value = 7").await.unwrap();
    before.close().await;
    for _ in 0..2 {
        let after = Pool::open(&place.location(), CONNECTIONS, &COUNTERS_AND_MORE).await.unwrap();
        assert_eq!((value(&after).await, steps(&after, "counter_steps").await), (1007, 2));
        sqlx::query("INSERT INTO blobs (bytes) VALUES ($1)")
            .bind(vec![0_u8, 255])
            .execute(after.connections())
            .await
            .unwrap();
    }
    // The build before goes on with the tables of the later one, as while replicas are replaced one by one.
    assert_eq!(value(&place.open().await).await, 1007);
}

pub(crate) async fn replicas_that_start_together_apply_each_step_once(place: Place) {
    let mut opening = JoinSet::new();
    for _ in 0..8 {
        let location = place.location();
        opening.spawn(async move { Pool::open(&location, CONNECTIONS, &COUNTERS_AND_MORE).await.unwrap() });
    }
    for pool in opening.join_all().await {
        assert_eq!((value(&pool).await, steps(&pool, "counter_steps").await), (1000, 2));
        pool.close().await;
    }
}

pub(crate) async fn step_that_fails_leaves_nothing_behind(place: Place) {
    const SHELVES: &str = "CREATE TABLE shelves (id BIGINT PRIMARY KEY)";
    static BROKEN: Migrations =
        Migrations { table: "shelf_steps", lock: 18, steps: &[&[], &[SHELVES, "INSERT INTO nowhere (id) VALUES (1)"]] };
    static MENDED: Migrations = Migrations { table: "shelf_steps", lock: 18, steps: &[&[], &[SHELVES]] };
    let refused = Pool::open(&place.location(), CONNECTIONS, &BROKEN).await.unwrap_err();
    assert!(matches!(refused, Error::Migration { step: 2, .. }), "{refused}");
    assert!(refused.to_string().starts_with("step 2 of `shelf_steps` can't be applied: "), "{refused}");
    let pool = Pool::open(&place.location(), CONNECTIONS, &MENDED).await.unwrap();
    assert_eq!(steps(&pool, "shelf_steps").await, 2);
}

pub(crate) async fn table_made_by_a_build_that_counted_no_steps_is_kept(place: Place) {
    static TAGS: Migrations = Migrations {
        table: "tag_steps",
        lock: 19,
        steps: &[&["CREATE TABLE IF NOT EXISTS tags (name TEXT PRIMARY KEY)"], &["INSERT INTO tags VALUES ('new')"]],
    };
    let before = place.open().await;
    before.connections().execute("CREATE TABLE tags (name TEXT PRIMARY KEY)").await.unwrap();
    before.connections().execute("INSERT INTO tags VALUES ('old')").await.unwrap();
    let pool = Pool::open(&place.location(), CONNECTIONS, &TAGS).await.unwrap();
    let tags = sqlx::query_scalar::<_, String>("SELECT name FROM tags ORDER BY name").fetch_all(pool.connections());
    assert_eq!(tags.await.unwrap(), ["new", "old"]);
}

pub(crate) async fn users_of_one_database_count_their_steps_apart(place: Place) {
    static OTHERS: Migrations = Migrations {
        table: "other_steps",
        lock: 20,
        steps: &[&["CREATE TABLE others (id BIGINT PRIMARY KEY)"], &["INSERT INTO others VALUES (1)"]],
    };
    let counters = place.open().await;
    let others = Pool::open(&place.location(), CONNECTIONS, &OTHERS).await.unwrap();
    assert_eq!((steps(&counters, "counter_steps").await, steps(&others, "other_steps").await), (1, 2));
}

pub(crate) async fn migration_is_waited_for_longer_than_a_statement(place: Place) {
    place.open().await.close().await;
    let mut holder = place.connection().await;
    holder.execute(if place.is_sqlite() { "BEGIN IMMEDIATE" } else { "BEGIN" }).await.unwrap();
    if !place.is_sqlite() {
        let lock = format!("SELECT pg_advisory_xact_lock({})", COUNTERS.lock);
        holder.execute(AssertSqlSafe(lock)).await.unwrap();
    }
    let mut opening = pin!(place.open());
    // Writers give up after 2 s.
    assert!(timeout(Duration::from_secs(3), &mut opening).await.is_err());
    holder.execute("COMMIT").await.unwrap();
    assert_eq!(value(&opening.await).await, 0);
}
