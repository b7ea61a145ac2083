//! Several statements in one round trip to PostgreSQL: a lock that one of them takes is not held while answers travel.

use std::{fmt, future::Future};

use futures_util::TryStreamExt;
use sqlx::{Any, AssertSqlSafe, Either, any::AnyRow, pool::PoolConnection};

use crate::Pool;

/// A connection to PostgreSQL whose statements are sent together. Closed unless it is `finish`ed, and with it whatever
/// transaction it was in.
pub struct Batches {
    connection: PoolConnection<Any>,
    is_over: bool,
}

impl Batches {
    /// Takes a connection.
    pub async fn begin(pool: &Pool) -> Result<Self, sqlx::Error> {
        Ok(Self { connection: pool.connections().acquire().await?, is_over: false })
    }

    /// Runs statements that semicolons part, one after the other until one fails; the rows of each. They have no parameters: what
    /// is written into them are numbers, and bytes as by [`literal`].
    pub fn run(&mut self, statements: String) -> impl Future<Output = Result<Vec<Vec<AnyRow>>, sqlx::Error>> + Send {
        let connection = &mut *self.connection;
        async move {
            let mut answers = sqlx::raw_sql(AssertSqlSafe(statements)).fetch_many(connection);
            let (mut all, mut rows) = (Vec::new(), Vec::new());
            while let Some(answer) = answers.try_next().await? {
                match answer {
                    Either::Left(_) => all.push(std::mem::take(&mut rows)),
                    Either::Right(row) => rows.push(row),
                }
            }
            Ok(all)
        }
    }

    /// Gives the connection back. The last of its statements ended its transaction.
    pub fn finish(mut self) {
        self.is_over = true;
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        if !self.is_over {
            self.connection.close_on_drop();
        }
    }
}

impl fmt::Debug for Batches {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Batches").field("is_over", &self.is_over).finish_non_exhaustive()
    }
}

/// Bytes, as a statement has them.
pub fn literal(bytes: impl AsRef<[u8]>) -> impl fmt::Display {
    fmt::from_fn(move |formatter| {
        formatter.write_str("'\\x")?;
        bytes.as_ref().iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))?;
        formatter.write_str("'")
    })
}

#[cfg(test)]
mod tests {
    use super::literal;

    #[test]
    fn literal_of_bytes_is_hexadecimal() {
        assert_eq!(literal([]).to_string(), r"'\x'");
        assert_eq!(literal(b"\'\0\xff;").to_string(), r"'\x2700ff3b'");
    }
}
