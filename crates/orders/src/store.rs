//! The orders, in one SQLite file. An order never changes; the message is stored whole, beside whose it is.

use std::path::Path;

use accord_api::orders::v1::Order;
use accord_store::{Connections, Location, Migrations, Pool, retry};
use prost::Message;
use sqlx::Row;

const CONNECTIONS: Connections = Connections { sqlite: 10, postgres: 10 };

const MIGRATIONS: Migrations = Migrations {
    table: "order_schema_steps",
    lock: 6_204_993_170_415_120_651,
    steps: &[&["CREATE TABLE orders (
                    id      TEXT PRIMARY KEY,
                    tenant  TEXT NOT NULL,
                    owner   TEXT NOT NULL,
                    message BINARY_TYPE NOT NULL
                ) WITHOUT ROWID"]],
};

/// Why an order could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// No order of theirs has this id.
    #[error("you have no order with the id `{0}`")]
    Unknown(String),
    /// The file can't be used.
    #[error("the order store failed")]
    Database(#[from] accord_store::Error),
    /// The file holds something else than orders.
    #[error("a stored order can't be read")]
    Corrupt(#[from] prost::DecodeError),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// Whose an order is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner<'a> {
    /// The tenant; empty where there is only one.
    pub tenant: &'a str,
    /// The principal.
    pub principal: &'a str,
}

/// Orders by id.
#[derive(Clone)]
pub(crate) struct Store {
    pool: Pool,
}

impl Store {
    /// Opens the file, and makes it where there is none.
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { pool: Pool::open(&Location::sqlite(path), CONNECTIONS, &MIGRATIONS).await? })
    }

    /// One order of an owner's.
    pub(crate) async fn get(&self, owner: Owner<'_>, id: &str) -> Result<Order, StoreError> {
        let get = "SELECT message FROM orders WHERE id = $1 AND tenant = $2 AND owner = $3";
        let found = retry(|| {
            let query = sqlx::query(get).bind(id).bind(owner.tenant).bind(owner.principal);
            query.fetch_optional(self.pool.connections())
        });
        let row = found.await?.ok_or_else(|| StoreError::Unknown(id.to_owned()))?;
        Ok(Order::decode(row.try_get::<Vec<u8>, _>("message")?.as_slice())?)
    }

    /// Stores a new order.
    pub(crate) async fn insert(&self, owner: Owner<'_>, order: &Order) -> Result<(), StoreError> {
        let inserted = retry(|| {
            sqlx::query("INSERT INTO orders (id, tenant, owner, message) VALUES ($1, $2, $3, $4)")
                .bind(&order.id)
                .bind(owner.tenant)
                .bind(owner.principal)
                .bind(order.encode_to_vec())
                .execute(self.pool.connections())
        });
        inserted.await?;
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: Owner<'_> = Owner { tenant: "north", principal: "ada" };

    async fn empty() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(&directory.path().join("orders.db")).await.expect("a store");
        (directory, store)
    }

    fn order(id: &str) -> Order {
        Order { id: id.to_owned(), ..Order::default() }
    }

    #[tokio::test]
    async fn order_is_read_by_its_owner_alone() {
        let (_directory, store) = empty().await;
        store.insert(ADA, &order("a")).await.expect("stored");
        assert_eq!(store.get(ADA, "a").await.expect("there"), order("a"));
        for other in [Owner { principal: "bob", ..ADA }, Owner { tenant: "south", ..ADA }] {
            assert!(matches!(store.get(other, "a").await, Err(StoreError::Unknown(_))));
        }
        assert!(matches!(store.get(ADA, "b").await, Err(StoreError::Unknown(_))));
    }

    #[tokio::test]
    async fn stored_order_survives_a_restart() {
        let (directory, store) = empty().await;
        store.insert(ADA, &order("a")).await.expect("stored");
        store.close().await;
        assert!(!store.reachable().await);
        let again = Store::open(&directory.path().join("orders.db")).await.expect("a store");
        assert_eq!(again.get(ADA, "a").await.expect("there").id, "a");
    }
}
