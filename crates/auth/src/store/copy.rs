//! Backup and restore: everything in the store, as lines of JSON that either engine reads.
//!
//! The first line says what the file is, each further one is a row, and the last says how many there were and their digest, so that a
//! file that ends too early or was changed is not restored. Private keys are encrypted in it as they are in the store, and secrets
//! are hashes; it is as secret as the store all the same.

use std::io::{BufRead, Write};

use accord_token::verify;
use aws_lc_rs::digest::{Context, SHA256};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::{AssertSqlSafe, Column, Row, any::AnyRow};

use super::{Store, StoreError, Transaction, schema};

/// A file that can't be written or restored.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file can't be read or written.
    #[error("{0}")]
    File(#[from] std::io::Error),
    /// It is no backup.
    #[error("line {line}: {problem}; restore a file that `accord-auth backup` has written, as it wrote it")]
    Malformed {
        /// Where.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// It comes from another version.
    #[error(
        "the backup was made of a store after {theirs} steps of migration, and this binary has {ours}; restore it with the \
         version that made it, and start a newer one on the restored store"
    )]
    Version {
        /// Steps of the backup.
        theirs: usize,
        /// Steps of this binary.
        ours: usize,
    },
    /// What is sealed in it can't be opened.
    #[error(
        "the signing key `{0}` of the backup was encrypted with another encryption key: set `keys.encryption_key_file` to the one \
         that was used where the backup was made"
    )]
    EncryptionKey(String),
    /// There is something in the store that it would replace.
    #[error("the store is not empty; restore into a new one, and nothing is lost")]
    NotEmpty,
}

impl From<sqlx::Error> for CopyError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// A line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    /// The first: how many steps of migration the store had behind it.
    AccordAuthBackup { steps: usize },
    /// A row of a table.
    Row { table: String, values: Map<String, Value> },
    /// The last.
    End { rows: usize, sha256: String },
}

impl Store {
    /// How many lines a backup of this moment has, but for the first and the last.
    pub async fn count_rows(&self) -> Result<u64, StoreError> {
        let mut rows = 0;
        for table in schema::TABLES {
            let count = AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
            let count: i64 = sqlx::query(count).fetch_one(self.connections()).await?.try_get(0)?;
            rows += u64::try_from(count).unwrap_or_default();
        }
        Ok(rows)
    }

    /// Writes everything, as of one moment. Returns the number of rows.
    pub async fn backup(&self, output: &mut impl Write) -> Result<usize, CopyError> {
        let mut snapshot = self.pool.snapshot().await.map_err(StoreError::from)?;
        let mut written = Written { output, digest: Context::new(&SHA256) };
        written.line(&Line::AccordAuthBackup { steps: schema::MIGRATIONS.steps.len() })?;
        let mut rows = 0;
        for table in schema::TABLES {
            let all = AssertSqlSafe(format!("SELECT * FROM {table}"));
            let mut found = sqlx::query(all).fetch(&mut *snapshot);
            while let Some(row) = found.try_next().await? {
                written.line(&Line::Row { table: (*table).to_owned(), values: values(&row)? })?;
                rows += 1;
            }
        }
        let sha256 = URL_SAFE_NO_PAD.encode(written.digest.clone().finish());
        written.line(&Line::End { rows, sha256 })?;
        written.output.flush()?;
        Ok(rows)
    }

    /// Fills an empty store from a backup, and revokes everything: what was revoked after the backup is not in it. Its signing keys
    /// are withdrawn likewise, once `opens` has opened each of them by its name: a backup is worth nothing without its encryption key.
    pub async fn restore(&self, input: impl BufRead, opens: impl Fn(&str, &str) -> bool) -> Result<usize, CopyError> {
        let mut tx = self.begin().await?;
        tx.empty().await?;
        let (mut digest, mut rows, mut steps, mut ended) = (Context::new(&SHA256), 0, None, false);
        for (number, text) in (1..).zip(input.lines()) {
            let text = text?;
            let malformed = |problem: &str| CopyError::Malformed { line: number, problem: problem.to_owned() };
            let line: Line = serde_json::from_str(&text).map_err(|error| malformed(&error.to_string()))?;
            match line {
                Line::AccordAuthBackup { steps: theirs } if number == 1 => steps = Some(theirs),
                Line::Row { table, values } if steps.is_some() && !ended => {
                    tx.insert(&table, &values).await?.ok_or_else(|| malformed("is no row of a table of auth's"))?;
                    rows += 1;
                }
                Line::End { rows: all, sha256 } if !ended => {
                    let sum = URL_SAFE_NO_PAD.encode(digest.clone().finish());
                    if all != rows || sum != sha256 {
                        return Err(malformed("does not fit to the lines before it"));
                    }
                    ended = true;
                }
                _ => return Err(malformed("stands where it can't")),
            }
            if let Some(theirs) = steps.filter(|theirs| *theirs != schema::MIGRATIONS.steps.len()) {
                return Err(CopyError::Version { theirs, ours: schema::MIGRATIONS.steps.len() });
            }
            digest.update(text.as_bytes());
            digest.update(b"\n");
        }
        if !ended {
            return Err(CopyError::Malformed { line: rows + 2, problem: "the file ends too early".to_owned() });
        }
        if let Some((kid, _)) = tx.private_keys().await?.into_iter().find(|(kid, private)| !opens(kid, private)) {
            return Err(CopyError::EncryptionKey(kid));
        }
        tx.next_revision().await?;
        tx.raise_global_epoch().await?;
        tx.retire_all_keys().await?;
        tx.audit(verify::now(), "command line", "store.restore", &rows.to_string()).await?;
        tx.commit().await?;
        Ok(rows)
    }
}

impl Transaction {
    /// Takes out what a new store has by itself; an error where it has anything else.
    async fn empty(&mut self) -> Result<(), CopyError> {
        for table in schema::TABLES.iter().filter(|table| **table != "meta") {
            let any = AssertSqlSafe(format!("SELECT 1 FROM {table} LIMIT 1"));
            if sqlx::query(any).fetch_optional(&mut *self.inner).await?.is_some() {
                return Err(CopyError::NotEmpty);
            }
        }
        sqlx::query("DELETE FROM meta").execute(&mut *self.inner).await?;
        Ok(())
    }

    /// Inserts a row; None where that is no row of any table.
    async fn insert(&mut self, table: &str, values: &Map<String, Value>) -> Result<Option<()>, StoreError> {
        // Both go into the statement as they are.
        let is_word = |name: &String| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if !schema::TABLES.contains(&table) || values.is_empty() || !values.keys().all(is_word) {
            return Ok(None);
        }
        let columns: Vec<_> = values.keys().map(String::as_str).collect();
        let places: Vec<_> = (1..=columns.len()).map(|place| format!("${place}")).collect();
        let insert = format!("INSERT INTO {table} ({}) VALUES ({})", columns.join(", "), places.join(", "));
        let mut query = sqlx::query(AssertSqlSafe(insert));
        for value in values.values() {
            query = match (value, value.as_i64()) {
                (Value::String(text), _) => query.bind(text.clone()),
                (_, Some(number)) => query.bind(number),
                _ => return Ok(None),
            };
        }
        query.execute(&mut *self.inner).await?;
        Ok(Some(()))
    }
}

/// A row's columns: texts and whole numbers, of which there are no others.
fn values(row: &AnyRow) -> Result<Map<String, Value>, sqlx::Error> {
    let value = |column: usize| match row.try_get::<i64, _>(column) {
        Ok(number) => Ok(Value::from(number)),
        Err(_) => row.try_get::<String, _>(column).map(Value::from),
    };
    row.columns().iter().map(|column| Ok((column.name().to_owned(), value(column.ordinal())?))).collect()
}

/// Lines, and the digest of all that were written.
struct Written<'a, W> {
    output: &'a mut W,
    digest: Context,
}

impl<W: Write> Written<'_, W> {
    fn line(&mut self, line: &Line) -> Result<(), std::io::Error> {
        let mut text = serde_json::to_vec(line).map_err(std::io::Error::other)?;
        text.push(b'\n');
        self.digest.update(&text);
        self.output.write_all(&text)
    }
}
