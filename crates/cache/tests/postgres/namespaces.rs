//! Origins of namespaces on PostgreSQL.

use std::time::{Duration, Instant};

use accord_cache::namespace_origin::query::{QueryConfig, QueryOrigin};
use accord_cache::namespace_origin::records::{KeyRecords, NotWritten, RecordsConfig, RecordsOrigin, Required};
use accord_cache::namespace_origin::{KeyCaller, KeyOrigin};
use accord_readthrough::Loaded;
use accord_runtime::{current_call::CurrentCall, fair_share::Holder, request::RequestId};
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Executor};
use uuid::Uuid;

use crate::url;

const TIME: Duration = Duration::from_secs(5);

fn caller(tenant: &str) -> KeyCaller {
    KeyCaller {
        tenant: tenant.into(),
        passport: None,
        holder: Holder::principal("ada", None),
        is_retried_outside: false,
        id: RequestId::new(),
        read: CurrentCall::none(),
    }
}

/// A table of its own with some products; its name.
async fn products() -> String {
    sqlx::any::install_default_drivers();
    let mut operator = AnyConnection::connect(&url()).await.unwrap();
    let table = format!("products_{}", Uuid::new_v4().simple());
    let columns = "id TEXT PRIMARY KEY, body BYTEA, revision BIGINT, owner TEXT";
    let rows = "('ada', 'milk', 7, 'north'), ('bob', 'bread', 8, 'south'), ('eve', NULL, 9, 'north')";
    for statement in [format!("CREATE TABLE {table} ({columns})"), format!("INSERT INTO {table} VALUES {rows}")] {
        operator.execute(AssertSqlSafe(statement)).await.unwrap();
    }
    table
}

fn origin(sql: String) -> QueryOrigin {
    let config = QueryConfig { url: Some(url().parse().unwrap()), sql, ..QueryConfig::default() };
    QueryOrigin::new(&config, "carts", 100).unwrap()
}

/// The values with their versions, and the codes of failures.
fn told(loaded: Vec<Loaded>) -> Vec<Result<(String, Option<u64>), i32>> {
    let value = |loaded: Loaded| match loaded.load {
        Ok(value) => Ok((String::from_utf8(value.to_vec()).unwrap(), loaded.version)),
        Err(failure) => Err(failure.code),
    };
    loaded.into_iter().map(value).collect()
}

#[tokio::test]
async fn query_answers_for_all_keys_with_their_versions() {
    let sql =
        format!("SELECT id AS key, body AS value, revision AS version FROM {} WHERE id = ANY($1)", products().await);
    let query = origin(sql);
    query.check().await.unwrap();
    let loaded = query.load(&["bob", "carl", "ada", "eve"], &caller("north"), TIME).await;
    let (bread, milk) = (("bread".to_owned(), Some(8)), ("milk".to_owned(), Some(7)));
    assert_eq!(told(loaded), [Ok(bread), Err(5), Ok(milk), Err(5)], "NULL is absent");
}

#[tokio::test]
async fn query_that_names_the_tenant_answers_each_its_own() {
    let table = products().await;
    let query = origin(format!("SELECT id AS key, body AS value FROM {table} WHERE id = ANY($1) AND owner = $2"));
    query.check().await.unwrap();
    let milk = Ok(("milk".to_owned(), None));
    for (tenant, expected) in [("north", milk), ("south", Err(5))] {
        assert_eq!(told(query.load(&["ada"], &caller(tenant), TIME).await), [expected]);
    }
}

#[tokio::test]
async fn value_that_is_too_large_stays_at_the_server_and_fails_alone() {
    for large in ["repeat('m', 101)", "repeat('m', 101)::bytea", "json_build_object('m', repeat('m', 101))"] {
        let query = origin(format!(
            "SELECT k AS key, CASE k WHEN 'ada' THEN {large} END AS value, 7 AS version FROM unnest($1::text[]) AS k;"
        ));
        query.check().await.unwrap();
        assert_eq!(told(query.load(&["ada", "bob"], &caller("north"), TIME).await), [Err(8), Err(5)], "{large}");
    }
}

#[tokio::test]
async fn answer_with_far_more_rows_than_keys_is_refused_within_its_bound() {
    let many =
        origin("SELECT k AS key, 'milk' AS value FROM unnest($1::text[]) AS k, generate_series(1, 1000000)".to_owned());
    assert_eq!(told(many.load(&["ada"], &caller("north"), TIME).await), [Err(8)]);
    let of_others = origin(
        "SELECT n::text AS key, 'milk' AS value FROM generate_series(1, 1000000) AS n WHERE $1::text[] IS NOT NULL"
            .to_owned(),
    );
    let loaded = told(of_others.load(&["7", "ada"], &caller("north"), TIME).await);
    assert_eq!(loaded, [Ok(("milk".to_owned(), None)), Err(5)], "rows of other keys stay at the server");
}

#[tokio::test]
async fn query_that_would_write_is_refused_by_the_server() {
    let table = products().await;
    let query = origin(format!(
        "WITH gone AS (DELETE FROM {table} WHERE id = ANY($1) RETURNING *) SELECT id AS key, body AS value FROM gone"
    ));
    assert_eq!(told(query.load(&["ada"], &caller("north"), TIME).await), [Err(14)]);
    let after = origin(format!("SELECT id AS key, body AS value FROM {table} WHERE id = ANY($1)"));
    assert!(after.load(&["ada"], &caller("north"), TIME).await[0].load.is_ok());
}

#[tokio::test]
async fn query_ends_with_the_time_of_its_caller() {
    let query = origin("SELECT k AS key, k AS value FROM unnest($1::text[]) AS k, pg_sleep(60)".to_owned());
    let begun = Instant::now();
    assert_eq!(told(query.load(&["ada"], &caller("north"), Duration::from_millis(200)).await), [Err(4)]);
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn query_that_the_server_refuses_or_whose_columns_do_not_fit_is_refused_by_its_check() {
    let table = products().await;
    for (sql, problem) in [
        ("SELECT nothing FROM nowhere WHERE id = ANY($1)".to_owned(), "nowhere"),
        (format!("SELECT id, body AS value FROM {table} WHERE id = ANY($1)"), "\"key\""),
        (format!("SELECT id AS key, revision AS value FROM {table} WHERE id = ANY($1)"), "\"value\""),
    ] {
        let refused = origin(sql).check().await.unwrap_err();
        assert!(refused.contains(problem), "{refused}");
    }
}

#[tokio::test]
async fn server_that_is_not_there_is_unavailable_and_no_reason_not_to_start() {
    let config = QueryConfig {
        url: Some("postgres://nobody@127.0.0.1:1/nothing".parse().unwrap()),
        sql: "SELECT k AS key, k AS value FROM unnest($1::text[]) AS k".to_owned(),
        ..QueryConfig::default()
    };
    let query = QueryOrigin::new(&config, "carts", 100).unwrap();
    query.check().await.unwrap();
    assert_eq!(told(query.load(&["ada"], &caller("north"), TIME).await), [Err(14)]);
}

#[tokio::test]
async fn records_are_put_compared_loaded_and_deleted_on_postgres() {
    let records = KeyRecords::open(&url()).await.unwrap();
    let namespace = Uuid::new_v4().to_string();
    let origin = RecordsOrigin::new(&RecordsConfig { timeout: TIME }, records, &namespace, 100);
    let place = ("north", "ada");
    let first = origin.put(place, b"milk", Required::Nothing, TIME).await.unwrap();
    assert!(matches!(origin.put(place, b"tea", Required::Nothing, TIME).await, Err(NotWritten::Conflict)));
    let second = origin.put(place, b"bread", Required::Version(first), TIME).await.unwrap();
    assert!(matches!(origin.put(place, b"tea", Required::Version(first), TIME).await, Err(NotWritten::Conflict)));
    let third = origin.put(place, b"wine", Required::Anything, TIME).await.unwrap();
    assert!(first < second && second < third);
    let loaded = told(origin.load(&["bob", "ada"], &caller("north"), TIME).await);
    assert_eq!(loaded, [Err(5), Ok(("wine".to_owned(), u64::try_from(third).ok()))]);
    assert!(matches!(origin.delete(place, Required::Version(first), TIME).await, Err(NotWritten::Conflict)));
    assert_eq!(origin.delete(place, Required::Anything, TIME).await.unwrap(), Some(third));
    assert_eq!(told(origin.load(&["ada"], &caller("north"), TIME).await), [Err(5)]);
}
