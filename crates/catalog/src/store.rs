//! The products, in one SQLite file.
//!
//! The message is stored whole; next to it stand only the columns that queries need. `version` and `update_time`
//! belong to the store: every write is one statement that counts the version itself, so no write is ever lost to a
//! concurrent one.

use std::{path::Path, time::SystemTime};

use accord_api::catalog::v1::Product;
use accord_store::{Connections, Location, Migrations, Pool, retry};
use prost::Message;
use sqlx::{AssertSqlSafe, Row, any::AnyRow};

const CONNECTIONS: Connections = Connections { sqlite: 10, postgres: 10 };

const MIGRATIONS: Migrations = Migrations {
    table: "product_schema_steps",
    lock: 4_702_111_234_474_983_747,
    // The first step finds its table where a build made it that did not count steps.
    steps: &[&["CREATE TABLE IF NOT EXISTS products (
                    id           TEXT PRIMARY KEY,
                    availability INTEGER NOT NULL,
                    version      INTEGER NOT NULL,
                    updated_ms   INTEGER NOT NULL,
                    message      BINARY_TYPE NOT NULL
                ) WITHOUT ROWID"]],
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
    Database(#[from] accord_store::Error),
    /// The file holds something else than products.
    #[error("a stored product can't be read")]
    Corrupt(#[from] prost::DecodeError),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// Products by id.
#[derive(Clone)]
pub(crate) struct Store {
    pool: Pool,
}

impl Store {
    /// Opens the file, and makes it where there is none.
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { pool: Pool::open(&Location::sqlite(path), CONNECTIONS, &MIGRATIONS).await? })
    }

    /// One product.
    pub(crate) async fn get(&self, id: &str) -> Result<Product, StoreError> {
        let get = "SELECT version, updated_ms, message FROM products WHERE id = $1";
        let found = retry(|| sqlx::query(get).bind(id).fetch_optional(self.pool.connections())).await?;
        found.map_or_else(|| Err(StoreError::Unknown(id.to_owned())), |row| product(&row))
    }

    /// Up to `limit` products whose id comes after `after`, in the order of their ids. An empty `availability` means any.
    pub(crate) async fn list(
        &self,
        after: &str,
        availability: &[i32],
        limit: usize,
    ) -> Result<Vec<Product>, StoreError> {
        let places: Vec<_> = (3..).take(availability.len()).map(|place| format!("${place}")).collect();
        let wanted = if places.is_empty() { "TRUE" } else { &format!("availability IN ({})", places.join(", ")) };
        let list = format!(
            "SELECT version, updated_ms, message FROM products WHERE id > $1 AND {wanted} ORDER BY id LIMIT $2"
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let found = retry(|| {
            let query = sqlx::query(AssertSqlSafe(list.clone())).bind(after).bind(limit);
            availability.iter().fold(query, |query, value| query.bind(*value)).fetch_all(self.pool.connections())
        });
        found.await?.iter().map(product).collect()
    }

    /// Stores a product whose id is free, as version 1.
    pub(crate) async fn create(&self, new: Product) -> Result<Product, StoreError> {
        let created = retry(|| {
            sqlx::query(
                "INSERT INTO products (id, availability, version, updated_ms, message) VALUES ($1, $2, 1, $3, $4)
                 ON CONFLICT DO NOTHING RETURNING version, updated_ms, message",
            )
            .bind(&new.id)
            .bind(new.availability)
            .bind(now_ms())
            .bind(new.encode_to_vec())
            .fetch_optional(self.pool.connections())
        });
        created.await?.map_or_else(|| Err(StoreError::Taken(new.id)), |row| product(&row))
    }

    /// Replaces a product. Where `next.version` is not 0, only that version is replaced.
    pub(crate) async fn replace(&self, next: Product) -> Result<Product, StoreError> {
        let replaced = retry(|| {
            sqlx::query(
                "UPDATE products SET availability = $2, version = version + 1, updated_ms = $3, message = $4
                 WHERE id = $1 AND ($5 = 0 OR version = $5) RETURNING version, updated_ms, message",
            )
            .bind(&next.id)
            .bind(next.availability)
            .bind(now_ms())
            .bind(next.encode_to_vec())
            .bind(next.version)
            .fetch_optional(self.pool.connections())
        });
        match replaced.await? {
            Some(row) => product(&row),
            // Nothing matched: `get` tells a product that is not there from one at another version.
            None => self.get(&next.id).await.and_then(|_| Err(outdated(next))),
        }
    }

    /// Whether the store answers.
    pub(crate) async fn reachable(&self) -> bool {
        self.pool.probe().await.is_ok()
    }

    /// Closes all connections; whatever is asked afterwards fails.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}

fn outdated(next: Product) -> StoreError {
    StoreError::Outdated { id: next.id, expected: next.version }
}

fn product(row: &AnyRow) -> Result<Product, StoreError> {
    let mut product = Product::decode(row.try_get::<Vec<u8>, _>("message")?.as_slice())?;
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
    use sqlx::{Connection, Executor};

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
    async fn outdated_version_is_refused() {
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
    async fn product_id_is_unique() {
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
    async fn acknowledged_write_survives_a_restart() {
        let (directory, store) = empty().await;
        store.create(named("a")).await.expect("created");
        store.close().await;
        let again = Store::open(&directory.path().join("catalog.db")).await.expect("a store");
        assert_eq!(again.get("a").await.expect("there").title, "A thing");
    }

    /// The table as the build before made it that had a base of its own.
    const PREVIOUS_BUILD: &str = "
        CREATE TABLE IF NOT EXISTS products (
            id           TEXT PRIMARY KEY,
            availability INTEGER NOT NULL,
            version      INTEGER NOT NULL,
            updated_ms   INTEGER NOT NULL,
            message      BLOB NOT NULL
        ) WITHOUT ROWID";

    #[tokio::test]
    async fn products_of_the_previous_build_are_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("catalog.db");
        sqlx::any::install_default_drivers();
        let url = format!("sqlite://{}?mode=rwc", file.display());
        let mut connection = sqlx::AnyConnection::connect(&url).await.expect("a connection");
        connection.execute(PREVIOUS_BUILD).await.expect("a table");
        let insert = sqlx::query("INSERT INTO products VALUES ('a', 1, 4, 1500, $1)").bind(named("a").encode_to_vec());
        insert.execute(&mut connection).await.expect("a row");

        let store = Store::open(&file).await.expect("a store");
        let found = store.get("a").await.expect("there");
        assert_eq!((found.title.as_str(), found.version), ("A thing", 4));
        assert_eq!(found.update_time, Some(prost_types::Timestamp { seconds: 1, nanos: 500_000_000 }));
        assert_eq!(store.replace(named("a")).await.expect("replaced").version, 5);
    }

    #[tokio::test]
    async fn list_is_in_order_after_an_id_and_of_the_wanted_availabilities() {
        let (_directory, store) = empty().await;
        for (id, availability) in [("d", 1), ("a", 1), ("c", 2), ("b", 3)] {
            store.create(Product { availability, ..named(id) }).await.expect("created");
        }
        let ids = async |after: &str, availability: &[i32], limit| {
            let found = store.list(after, availability, limit).await.expect("a list");
            found.into_iter().map(|product| product.id).collect::<String>()
        };
        assert_eq!(ids("", &[], 9).await, "abcd");
        assert_eq!(ids("a", &[], 2).await, "bc");
        assert_eq!(ids("", &[1, 2], 9).await, "acd");
        assert_eq!(ids("a", &[1, 3], 1).await, "b");
    }

    #[tokio::test]
    async fn file_is_private_and_a_closed_store_is_unreachable() {
        use std::os::unix::fs::PermissionsExt;
        let (directory, store) = empty().await;
        let file = std::fs::metadata(directory.path().join("catalog.db")).expect("a file");
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
        assert!(store.reachable().await);
        store.close().await;
        assert!(!store.reachable().await);
    }
}
