//! Stores that go from one engine to the other, by a backup.

use std::{collections::BTreeMap, io::Cursor};

use accord_auth::store::{Store, schema};
use serde_json::Value;
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Row};

use crate::{
    database,
    suite::{Database, backup},
};

/// Texts that an engine could take for something else, and a number that floating point can't hold.
const TEXTS: [&str; 2] = ["0042", "ü '\"\\\n\t{}"];
const NUMBER: i64 = (1 << 53) + 1;

fn sqlite() -> Database {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("auth.db").display());
    Database { url, directory }
}

/// Puts rows into every table but those that have some of their own. All texts are the same, so that each refers to the others.
async fn fill(database: &Database) {
    let mut connection = AnyConnection::connect(&database.url).await.unwrap();
    for table in schema::TABLES.iter().filter(|table| !["meta", "audit"].contains(table)) {
        let columns = AssertSqlSafe(format!("SELECT name, type FROM pragma_table_info('{table}')"));
        let columns = sqlx::query(columns).fetch_all(&mut connection).await.unwrap();
        let columns: Vec<(String, String)> = columns.iter().map(|row| (row.get(0), row.get(1))).collect();
        let names: Vec<_> = columns.iter().map(|(name, _)| name.as_str()).collect();
        let places: Vec<_> = (1..=columns.len()).map(|place| format!("${place}")).collect();
        let insert = format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), places.join(", "));
        for text in TEXTS {
            let mut query = sqlx::query(AssertSqlSafe(insert.clone()));
            for (_, column_type) in &columns {
                query = if column_type == "TEXT" { query.bind(text) } else { query.bind(NUMBER) };
            }
            query.execute(&mut connection).await.unwrap();
        }
    }
}

/// The rows of each table of a backup, in an order of their own.
fn rows(backup: &[u8]) -> BTreeMap<String, Vec<String>> {
    let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in backup.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line: Value = serde_json::from_slice(line).unwrap();
        if let Some(row) = line.get("row") {
            let table = row["table"].as_str().unwrap().to_owned();
            tables.entry(table).or_default().push(row["values"].to_string());
        }
    }
    for rows in tables.values_mut() {
        rows.sort_unstable();
    }
    tables
}

async fn restored(backup: &[u8], database: &Database) -> Vec<u8> {
    let store = Store::open(&database.url).await.unwrap();
    store.restore(Cursor::new(backup), backup::opens).await.unwrap();
    assert_eq!(store.audit_log().await.unwrap().1, None, "the chain holds");
    backup::written(&store).await
}

/// All of the first is in the second, beside what a restore itself writes.
fn holds_all(before: &[u8], after: &[u8]) {
    let (before, mut after) = (rows(before), rows(after));
    for (table, rows) in before {
        let found = after.remove(&table).unwrap_or_default();
        match &*table {
            "meta" => assert_eq!(found.len(), rows.len()),
            "audit" => assert!(found.len() == rows.len() + 1 && rows.iter().all(|row| found.contains(row))),
            "keys" => assert!(found.is_empty(), "they are withdrawn"),
            _ => assert_eq!(found, rows, "{table}"),
        }
    }
}

#[tokio::test]
async fn every_value_of_a_sqlite_store_is_in_postgresql_after_restore_and_back_again() {
    let (first, second, third) = (sqlite(), database().await, sqlite());
    let store = Store::open(&first.url).await.unwrap();
    crate::suite::admin(&store).revoke_everything().await.unwrap();
    fill(&first).await;
    let before = backup::written(&store).await;
    assert_eq!(rows(&before).len(), schema::TABLES.len(), "each table has a row");
    let there = restored(&before, &second).await;
    holds_all(&before, &there);
    let back = restored(&there, &third).await;
    holds_all(&there, &back);
}

#[tokio::test]
async fn sqlite_store_that_is_restored_into_postgresql_lets_in_whom_it_knows() {
    backup::restored_store_lets_in_whom_the_backup_has_and_accepts_no_earlier_token(sqlite(), database().await).await;
}

#[tokio::test]
async fn postgresql_store_that_is_restored_into_sqlite_lets_in_whom_it_knows() {
    backup::restored_store_lets_in_whom_the_backup_has_and_accepts_no_earlier_token(database().await, sqlite()).await;
}
