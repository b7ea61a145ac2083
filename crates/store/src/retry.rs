//! Database timeouts and retries: how long a database is waited for, and when it is asked again.

use std::{io, time::Duration};

use tokio::time::{sleep, timeout};

use crate::Error;

/// How long a database may take to answer before it counts as down: to give a connection, or to answer a probe.
pub const ANSWER: Duration = Duration::from_secs(2);
/// How long a connection may take to show that it is alive before another one is used. Several fit into [`ANSWER`].
pub(crate) const PING: Duration = Duration::from_millis(500);
/// How long a statement may take with all its attempts: as long as PostgreSQL lets one run.
pub(crate) const STATEMENT: Duration = Duration::from_secs(5);
/// How long a migration may take, waiting for another one included.
pub(crate) const MIGRATION: Duration = Duration::from_mins(5);

/// How often a statement is tried. With pauses that double, the last one comes about 0.3 s after the first.
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// Runs a statement, or the begin of a transaction, and runs it again where the database says that it lost against another
/// one and that nothing of it happened. Ends within 5 s.
pub async fn retry<T, F>(mut statement: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, sqlx::Error>>,
{
    let mut attempts = Attempts::default();
    within(STATEMENT, async {
        loop {
            match statement().await {
                Err(error) if attempts.again(Some(&error)).await => {}
                done => return Ok(done?),
            }
        }
    })
    .await
}

/// A database that hangs is a database that is down.
pub async fn within<T, E: From<sqlx::Error>>(
    bound: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let silent = || io::Error::new(io::ErrorKind::TimedOut, "it did not answer in time");
    timeout(bound, work).await.unwrap_or_else(|_| Err(sqlx::Error::Io(silent()).into()))
}

/// Counts the attempts at one thing.
#[derive(Default)]
pub(crate) struct Attempts {
    failed: u32,
}

impl Attempts {
    /// Whether there is another attempt after this failure; if so, its time has come.
    pub(crate) async fn again(&mut self, error: Option<&sqlx::Error>) -> bool {
        self.failed += 1;
        let again = self.failed < ATTEMPTS && error.is_some_and(is_conflict);
        if again {
            // Those who met once should not meet again.
            let pause = FIRST_PAUSE * 2_u32.pow(self.failed - 1);
            sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
        }
        again
    }
}

/// Whether the database undid the statement since another one came between. A lock that was waited for in vain is no
/// conflict: the wait was the retry.
fn is_conflict(error: &sqlx::Error) -> bool {
    // PostgreSQL: serialization_failure, deadlock_detected. SQLite: SQLITE_BUSY_RECOVERY, SQLITE_BUSY_SNAPSHOT.
    code(error).is_some_and(|code| ["40001", "40P01", "261", "517"].contains(&&*code))
}

/// Whether a first connection may succeed a moment later: the server starts, or SQLite's journal is being changed by
/// another process, which no `busy_timeout` waits for.
pub(crate) fn is_starting(error: &sqlx::Error) -> bool {
    if let sqlx::Error::Io(error) = error {
        return error.kind() == io::ErrorKind::ConnectionRefused;
    }
    // PostgreSQL: cannot_connect_now. SQLite: SQLITE_BUSY and its kinds.
    code(error).is_some_and(|code| code == "57P03" || ["5", "261", "517"].contains(&&*code))
}

fn code(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

#[cfg(test)]
mod tests {
    use std::{future::pending, io};

    use tokio::time::Instant;

    use super::{STATEMENT, retry};
    use crate::Error;

    #[tokio::test(start_paused = true)]
    async fn statement_without_an_answer_ends_at_its_bound() {
        let began = Instant::now();
        let silent = retry(pending::<Result<(), sqlx::Error>>).await.unwrap_err();
        assert!(
            matches!(&silent, Error::Database(sqlx::Error::Io(error)) if error.kind() == io::ErrorKind::TimedOut),
            "{silent}"
        );
        assert_eq!(began.elapsed(), STATEMENT);
    }
}
