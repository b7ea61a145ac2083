//! The products, in one SQLite file.
//!
//! The message is stored whole; next to it stand only the columns that queries need. `version` and `update_time`
//! belong to the store: every write is one statement that counts the version itself, so no write is ever lost to a
//! concurrent one.

use std::{path::Path, time::SystemTime};

use accord_api::catalog::v1::Product;
use prost::Message;
use sqlx::{
    QueryBuilder, Row, Sqlite, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous},
};

/// Why a product could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No product has this id.
    #[error("no product has the id `{0}`")]
    Unknown(String),
    /// A product has this id already.
    #[error("a product with the id `{0}` exists already")]
    Taken(String),
    /// The caller saw an older version.
    #[error("product `{id}` is at another version than {expected}: read it again")]
    Outdated {
        /// Which product.
        id: String,
        /// What the caller saw.
        expected: i64,
    },
    /// The file can't be used.
    #[error("the product store failed")]
    Database(#[from] sqlx::Error),
    /// The file holds something else than products.
    #[error("a stored product can't be read")]
    Corrupt(#[from] prost::DecodeError),
}

/// Products by id.
#[derive(Clone)]
pub struct Store {
    pool: SqlitePool,
}

impl Store {
    /// Opens the file, and makes it where there is none.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let pool = SqlitePoolOptions::new().connect_with(options).await?;
        sqlx::query(
            "CREATE TABLE IF NOT EXISTS products (
                 id           TEXT PRIMARY KEY,
                 availability INTEGER NOT NULL,
                 version      INTEGER NOT NULL,
                 updated_ms   INTEGER NOT NULL,
                 message      BLOB NOT NULL
             ) WITHOUT ROWID",
        )
        .execute(&pool)
        .await?;
        Ok(Self { pool })
    }

    /// One product.
    pub async fn get(&self, id: &str) -> Result<Product, StoreError> {
        sqlx::query("SELECT version, updated_ms, message FROM products WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.pool)
            .await?
            .map_or_else(|| Err(StoreError::Unknown(id.to_owned())), |row| product(&row))
    }

    /// Up to `limit` products whose id comes after `after`, in the order of their ids. An empty `availability` means any.
    pub async fn list(&self, after: &str, availability: &[i32], limit: usize) -> Result<Vec<Product>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT version, updated_ms, message FROM products WHERE id > ");
        query.push_bind(after);
        if !availability.is_empty() {
            query.push(" AND availability IN (");
            let mut list = query.separated(", ");
            for value in availability {
                list.push_bind(*value);
            }
            query.push(")");
        }
        query.push(" ORDER BY id LIMIT ").push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
        query.build().fetch_all(&self.pool).await?.iter().map(product).collect()
    }

    /// Stores a product whose id is free, as version 1.
    pub async fn create(&self, new: Product) -> Result<Product, StoreError> {
        sqlx::query(
            "INSERT INTO products (id, availability, version, updated_ms, message) VALUES ($1, $2, 1, $3, $4)
             ON CONFLICT DO NOTHING RETURNING version, updated_ms, message",
        )
        .bind(&new.id)
        .bind(new.availability)
        .bind(now_ms())
        .bind(new.encode_to_vec())
        .fetch_optional(&self.pool)
        .await?
        .map_or_else(|| Err(StoreError::Taken(new.id)), |row| product(&row))
    }

    /// Replaces a product. Where `next.version` is not 0, only that version is replaced.
    pub async fn replace(&self, next: Product) -> Result<Product, StoreError> {
        let replaced = sqlx::query(
            "UPDATE products SET availability = $2, version = version + 1, updated_ms = $3, message = $4
             WHERE id = $1 AND ($5 = 0 OR version = $5) RETURNING version, updated_ms, message",
        )
        .bind(&next.id)
        .bind(next.availability)
        .bind(now_ms())
        .bind(next.encode_to_vec())
        .bind(next.version)
        .fetch_optional(&self.pool)
        .await?;
        match replaced {
            Some(row) => product(&row),
            // Nothing matched: `get` tells a product that is not there from one at another version.
            None => self.get(&next.id).await.and_then(|_| Err(outdated(next))),
        }
    }

    /// Ends all connections, so that the write-ahead log is folded into the file.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

fn outdated(next: Product) -> StoreError {
    StoreError::Outdated { id: next.id, expected: next.version }
}

fn product(row: &SqliteRow) -> Result<Product, StoreError> {
    let mut product = Product::decode(row.try_get::<&[u8], _>("message")?)?;
    let updated_ms: i64 = row.try_get("updated_ms")?;
    product.version = row.try_get("version")?;
    product.update_time = Some(prost_types::Timestamp {
        seconds: updated_ms.div_euclid(1000),
        nanos: i32::try_from(updated_ms.rem_euclid(1000)).unwrap_or_default() * 1_000_000,
    });
    Ok(product)
}

fn now_ms() -> i64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn empty() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(&directory.path().join("catalog.db")).await.expect("a store");
        (directory, store)
    }

    fn named(id: &str) -> Product {
        Product { id: id.to_owned(), title: "A thing".to_owned(), ..Product::default() }
    }

    #[tokio::test]
    async fn the_store_counts_versions_and_tells_who_is_late() {
        let (_directory, store) = empty().await;
        let created = store.create(named("a")).await.expect("created");
        assert_eq!(created.version, 1);
        assert!(created.update_time.is_some());

        let second = store.replace(Product { version: 1, ..named("a") }).await.expect("replaced");
        assert_eq!(second.version, 2);
        let late = store.replace(Product { version: 1, ..named("a") }).await;
        assert!(matches!(late, Err(StoreError::Outdated { expected: 1, .. })), "{late:?}");
        assert_eq!(store.replace(named("a")).await.expect("version 0 replaces any").version, 3);
    }

    #[tokio::test]
    async fn an_id_is_taken_once_and_unknown_before() {
        let (_directory, store) = empty().await;
        assert!(matches!(store.get("a").await, Err(StoreError::Unknown(_))));
        assert!(matches!(store.replace(named("a")).await, Err(StoreError::Unknown(_))));
        store.create(named("a")).await.expect("created");
        assert!(matches!(store.create(named("a")).await, Err(StoreError::Taken(_))));
    }

    #[tokio::test]
    async fn concurrent_writers_lose_no_write() {
        let (_directory, store) = empty().await;
        store.create(named("a")).await.expect("created");
        let writers: Vec<_> = (0..20)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move { store.replace(named("a")).await })
            })
            .collect();
        for writer in writers {
            writer.await.expect("no panic").expect("replaced");
        }
        assert_eq!(store.get("a").await.expect("there").version, 21);
    }

    #[tokio::test]
    async fn what_was_acknowledged_is_there_after_a_restart() {
        let (directory, store) = empty().await;
        store.create(named("a")).await.expect("created");
        store.close().await;
        let again = Store::open(&directory.path().join("catalog.db")).await.expect("a store");
        assert_eq!(again.get("a").await.expect("there").title, "A thing");
    }
}
