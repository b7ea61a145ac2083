//! Writes that go past Accord, into the database of the sample's products, as a script of its operator would do them.

use std::path::Path;

use accord_api::catalog::v1::Product;
use anyhow::{Context, Result};
use prost::Message;
use sqlx::{
    Row, SqlitePool,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};

/// In one statement, as the service's own writes: no write of the service is lost to it.
const UPDATE: &str = "UPDATE products SET version = version + 1, message = ?2 WHERE id = ?1 RETURNING version";

/// A connection to the products.
pub(super) struct SqlWriter(SqlitePool);

impl SqlWriter {
    pub(super) async fn open(products: &Path) -> Result<Self> {
        let options = SqliteConnectOptions::new().filename(products);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await;
        Ok(Self(pool.with_context(|| format!("can't open {}", products.display()))?))
    }

    /// Gives a product this title; its version.
    pub(super) async fn write(&self, id: &str, title: String) -> Result<u64> {
        let product = Product { id: id.to_owned(), title, ..Product::default() };
        let row = sqlx::query(UPDATE).bind(id).bind(product.encode_to_vec()).fetch_one(&self.0).await?;
        Ok(u64::try_from(row.try_get::<i64, _>(0)?)?)
    }
}
