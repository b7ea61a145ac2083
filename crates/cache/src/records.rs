//! The durable records behind idempotency keys, in SQLite or PostgreSQL.
//!
//! Invariants:
//! - Of all concurrent claims of a key one succeeds: claiming is a single statement, so nothing can come between its
//!   question and its write.
//! - What a call acknowledged is durable.
//! - A key answers, or refuses another request, until its window ends, whatever becomes of its first claim.

mod schema;

use std::time::{Duration, SystemTime};

use accord_store::{Connections, Location, Pool, retry};
use sqlx::Row;
use sqlx::any::AnyRow;
use uuid::Uuid;

/// SQLite writes one thing at a time. Those who queue for its one connection come in order; those who wait for its lock
/// would sleep and look again, and seldom find it free while somebody sweeps.
const CONNECTIONS: Connections = Connections { sqlite: 1, postgres: 8 };

/// A record may vanish between a lost claim and the look at who won it. Then the claim is tried again, so often.
const ATTEMPTS: usize = 5;

/// The records can't be reached, or failed.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// The store can't be opened, or failed.
    #[error(transparent)]
    Store(#[from] accord_store::Error),
    /// The record changed on every attempt.
    #[error("the record changed on every attempt to claim it")]
    Contended,
}

/// What a key belongs to.
#[derive(Clone, Debug)]
pub struct Name {
    /// The method.
    pub method: String,
    /// Tenant and subject.
    pub owner: String,
    /// The client's key.
    pub key: String,
}

/// What to do with a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Run it, under this claim.
    Claimed(String),
    /// It ran, and this was the answer.
    Answered(RecordedAnswer),
    /// It runs, for up to this long.
    InFlight(Duration),
    /// The key was used with another request.
    Mismatch,
}

/// The stored answer of a call under an idempotency key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordedAnswer {
    /// The gRPC status code.
    pub code: i32,
    /// The status message.
    pub message: String,
    /// `grpc-status-details-bin`, decoded.
    pub details: Vec<u8>,
    /// The response message.
    pub response: Vec<u8>,
    /// The metadata, as those encode it who store it.
    pub metadata: Vec<u8>,
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// It is stored.
    Stored,
    /// Its claim is no more.
    ClaimLost,
}

/// The records. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Records {
    pool: Pool,
}

/// The claim of a key for a request.
#[derive(Clone, Debug)]
pub struct NewClaim<'a> {
    /// No other claim may have it.
    pub id: String,
    /// The key, and whose it is.
    pub name: &'a Name,
    /// Of the request.
    pub digest: &'a [u8],
    /// How long its answer is kept.
    pub window: Duration,
    /// How long it may take until it is answered.
    pub lease: Duration,
}

impl<'a> NewClaim<'a> {
    /// One with an id of its own.
    pub fn new(name: &'a Name, digest: &'a [u8], window: Duration, lease: Duration) -> Self {
        Self { id: Uuid::new_v4().to_string(), name, digest, window, lease }
    }
}

impl Records {
    /// Opens the records and makes their table. `sqlite://…` makes the file where it is missing.
    pub async fn open(url: &str) -> Result<Self, RecordsError> {
        let pool = Pool::open(&Location::parse(url)?, CONNECTIONS, &schema::MIGRATIONS).await?;
        Ok(Self { pool })
    }

    /// Claims a key, or tells what became of it. Who asks again for the same claim gets it again.
    pub async fn begin(&self, claim: &NewClaim<'_>, now: SystemTime) -> Result<Decision, RecordsError> {
        for _ in 0..ATTEMPTS {
            if self.claim(claim, now).await? {
                return Ok(Decision::Claimed(claim.id.clone()));
            }
            if let Some(row) = self.find(claim.name).await? {
                return decide(&row, claim, now).map_err(|error| accord_store::Error::from(error).into());
            }
        }
        Err(RecordsError::Contended)
    }

    /// Takes the key if it is free: never used, out of its window, or claimed for this request by somebody whose lease is
    /// over.
    async fn claim(&self, claim: &NewClaim<'_>, now: SystemTime) -> Result<bool, RecordsError> {
        let NewClaim { id, name, digest, window, lease } = claim;
        let now = millis(now);
        let row = retry(|| {
            sqlx::query(schema::CLAIM)
                .bind(&name.method)
                .bind(&name.owner)
                .bind(&name.key)
                .bind(digest.to_vec())
                .bind(id)
                .bind(now.saturating_add(length(*lease)))
                .bind(now.saturating_add(length(*window.max(lease))))
                .bind(length(*window))
                .bind(Vec::<u8>::new())
                .bind(now)
                .fetch_optional(self.pool.connections())
        })
        .await?;
        Ok(row.is_some())
    }

    async fn find(&self, name: &Name) -> Result<Option<AnyRow>, RecordsError> {
        let find = || {
            let query = sqlx::query(schema::FIND).bind(&name.method).bind(&name.owner).bind(&name.key);
            query.fetch_optional(self.pool.connections())
        };
        Ok(retry(find).await?)
    }

    /// Keeps the answer of a claimed call. Repeating it does nothing.
    pub async fn complete(
        &self,
        claim: &str,
        answer: &RecordedAnswer,
        now: SystemTime,
    ) -> Result<Completion, RecordsError> {
        let done = retry(|| {
            sqlx::query(schema::COMPLETE)
                .bind(i64::from(answer.code))
                // PostgreSQL takes any character but this one, and for its sake the answer would be lost.
                .bind(answer.message.replace('\0', "\u{fffd}"))
                .bind(answer.details.clone())
                .bind(answer.response.clone())
                .bind(answer.metadata.clone())
                .bind(millis(now))
                .bind(claim)
                .execute(self.pool.connections())
        })
        .await?;
        if done.rows_affected() > 0 {
            return Ok(Completion::Stored);
        }
        let known = retry(|| sqlx::query(schema::IS_CLAIM).bind(claim).fetch_optional(self.pool.connections())).await?;
        Ok(if known.is_some() { Completion::Stored } else { Completion::ClaimLost })
    }

    /// Gives a claim back. One that was completed stays.
    pub async fn abandon(&self, claim: &str) -> Result<(), RecordsError> {
        retry(|| sqlx::query(schema::ABANDON).bind(claim).execute(self.pool.connections())).await?;
        Ok(())
    }

    /// Removes up to a thousand records whose window is over; how many.
    pub async fn sweep(&self, now: SystemTime) -> Result<u64, RecordsError> {
        let swept = retry(|| sqlx::query(schema::SWEEP).bind(millis(now)).execute(self.pool.connections())).await?;
        Ok(swept.rows_affected())
    }

    /// Whether the records answer.
    pub async fn reachable(&self) -> bool {
        self.pool.probe().await.is_ok()
    }

    /// Closes all connections; whatever is asked afterwards fails.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// What a record that can't be claimed says.
fn decide(row: &AnyRow, claim: &NewClaim<'_>, now: SystemTime) -> Result<Decision, sqlx::Error> {
    if row.try_get::<Vec<u8>, _>("digest")? != claim.digest {
        return Ok(Decision::Mismatch);
    }
    if row.try_get::<i64, _>("answered")? == 0 {
        // Its own: the answer to an earlier question was lost.
        if row.try_get::<String, _>("claim")? == claim.id {
            return Ok(Decision::Claimed(claim.id.clone()));
        }
        let left = row.try_get::<i64, _>("lease_until")?.saturating_sub(millis(now));
        return Ok(Decision::InFlight(Duration::from_millis(u64::try_from(left).unwrap_or(0))));
    }
    Ok(Decision::Answered(RecordedAnswer {
        code: i32::try_from(row.try_get::<i64, _>("code")?).unwrap_or_default(),
        message: row.try_get("message")?,
        details: row.try_get("details")?,
        response: row.try_get("response")?,
        // None where the build before stored the answer, which kept no metadata.
        metadata: row.try_get::<Option<_>, _>("metadata")?.unwrap_or_default(),
    }))
}

/// Milliseconds since 1970: records outlive processes, so their time is the wall's.
fn millis(time: SystemTime) -> i64 {
    length(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

fn length(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
