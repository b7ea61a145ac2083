//! The invalidation log in PostgreSQL, or in what speaks its protocol.
//!
//! Each operation is one transaction that begins with the lock of the head row. So numbers commit in their order; and of a replica
//! that registers and a batch that is appended, one sees the other. The lock is what limits all replicas together, so an operation
//! holds it for as few round trips as it can: none for a verification, one for an append. What the database has committed it may not lose: with
//! asynchronous replication, a failover voids what was acknowledged shortly before it.
//!
//! The head row also holds what the gap detector knows of senders: each append reads and writes it.
//!
//! NOTIFY is sent after the commit, and only wakes replicas sooner than they would look by themselves.

mod key_change;
mod schema;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use accord_readthrough::{
    Appended, GapDetector, Invalidation, InvalidationLog, LeaseHolder, LogError, Member, Moment, Record, Tag,
    Verification, Verified, number,
};
use accord_store::{Batches, Connections, Pool, StoreUrl, retry, within};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Histogram;
use sqlx::any::AnyRow;
use sqlx::postgres::PgListener;
use sqlx::{Error as SqlError, Row};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::LiveReplica;
use schema::{APPENDED, BEGIN, CONFIRMED, FIND_HEAD, FIND_MEMBERS, FIND_OLDEST, MAKE_HEAD, MIGRATIONS};

use crate::declared_metrics::LOG_OPERATION_DURATION;

/// One operation at a time, a notification, and one in reserve for where a connection hangs.
const CONNECTIONS: Connections = Connections { sqlite: 1, postgres: 3 };

/// Records that are kept: whoever has missed more begins anew.
const KEPT: u64 = 10_000;

/// Records that are read at once.
const READ: u64 = 1_000;

/// Between two attempts to listen.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// A connection by which nothing was heard for so long is made anew.
const SILENCE: Duration = Duration::from_secs(30);

/// The log.
#[derive(Debug)]
pub struct PostgresLog {
    pool: Pool,
    /// How many senders the gap detector remembers.
    senders: usize,
    /// How long an operation may take.
    bound: Duration,
    /// What was confirmed last.
    confirmed: AtomicU64,
    durations: Histogram<f64>,
}

/// The head row.
struct Head {
    incarnation: u128,
    number: u64,
    mark: u64,
    gap_detector: GapDetector,
    now: Moment,
}

impl PostgresLog {
    /// Opens the log for a replica with this lease, and makes its tables. Half of the lease is the longest that an operation
    /// takes: so one that hangs leaves time for another one.
    pub async fn open(url: &StoreUrl, lease: Duration, senders: usize) -> Result<Self, accord_store::Error> {
        let pool = Pool::open(url.location(), CONNECTIONS, &MIGRATIONS).await?;
        let incarnation = Uuid::new_v4().as_bytes().to_vec();
        let making = sqlx::query(MAKE_HEAD).bind(incarnation).execute(pool.connections());
        within(accord_store::ANSWER, async { making.await.map(drop) }).await?;
        let durations = LOG_OPERATION_DURATION.histogram(&accord_runtime::telemetry::meter());
        Ok(Self { pool, senders: senders.max(1), bound: lease / 2, confirmed: AtomicU64::new(0), durations })
    }

    async fn append_once(&self, batches: &[Invalidation]) -> Result<Appended, SqlError> {
        let mut log = Batches::begin(&self.pool).await?;
        let found = log.run(format!("{BEGIN}; {FIND_HEAD}")).await?;
        let [.., head] = &found[..] else { return Err(incomplete()) };
        let Head { incarnation, number: head, mark, mut gap_detector, now } = self.head(head)?;
        let new_mark = random_mark();
        let (noted, records) = number(batches, head, new_mark, |batch| gap_detector.note(batch, now));
        let mark = if records.is_empty() { mark } else { new_mark };
        let head = head + records.len() as u64;
        let mut statements: Vec<_> = records.iter().map(add).collect();
        if !records.is_empty() {
            statements.push(schema::trim(head.saturating_sub(KEPT)));
        }
        statements.push(schema::set_head(head, mark, &gap_detector.encode()));
        let found = log.run(format!("{}; {FIND_MEMBERS}; COMMIT", statements.join("; "))).await?;
        log.finish();
        let [.., registered, _] = &found[..] else { return Err(incomplete()) };
        if !records.is_empty() {
            self.notify(APPENDED);
        }
        Ok(Appended { incarnation, noted, head, members: members(registered)? })
    }

    async fn verify_once(&self, verification: &Verification) -> Result<Verified, SqlError> {
        let Verification { member, seen, seen_mark, silent, is_last } = verification;
        let mut statements = vec![FIND_HEAD.to_owned(), schema::find_records(*seen, READ)];
        statements.extend(silent.iter().map(|(replica, counter)| schema::strike(*replica, *counter)));
        statements.push(if *is_last {
            schema::delete_member(member.replica)
        } else {
            schema::set_member(member, *seen, *seen_mark)
        });
        let mut log = Batches::begin(&self.pool).await?;
        let found =
            log.run(format!("{BEGIN}; {}; {FIND_OLDEST}; {FIND_MEMBERS}; COMMIT", statements.join("; "))).await?;
        log.finish();
        let [_, _, _, head, records, .., oldest, registered, _] = &found[..] else { return Err(incomplete()) };
        let Head { incarnation, number: head, mark: head_mark, .. } = self.head(head)?;
        let (has_seen, records) = read(records, *seen, *seen_mark)?;
        let confirmed = if has_seen { member.confirmed } else { 0 };
        if self.confirmed.swap(confirmed, Ordering::Relaxed) != confirmed {
            self.notify(CONFIRMED);
        }
        let oldest: Option<i64> = oldest.first().ok_or_else(incomplete)?.try_get(0)?;
        let (oldest, members) = (oldest.map_or(head + 1, unsigned), members(registered)?);
        Ok(Verified { incarnation, oldest, head, head_mark, has_seen, records, members })
    }

    /// The head row, and the time by the database's clock.
    fn head(&self, found: &[AnyRow]) -> Result<Head, SqlError> {
        let row = found.first().ok_or_else(incomplete)?;
        let (mark, now) = (unsigned(row.try_get(2)?), Moment(unsigned(row.try_get(4)?) * 1_000_000));
        let stored: Vec<u8> = row.try_get(3)?;
        // What can't be read is as unknown as the senders of a new log.
        let gap_detector = GapDetector::decode(self.senders, &stored);
        let gap_detector = gap_detector.unwrap_or_else(|| GapDetector::new(self.senders, now));
        Ok(Head { incarnation: name(row, 0)?, number: unsigned(row.try_get(1)?), mark, gap_detector, now })
    }

    /// Wakes the replicas. Nobody waits for it.
    fn notify(&self, notification: &'static str) {
        let pool = self.pool.clone();
        tokio::spawn(async move {
            let waking = sqlx::query(notification).execute(pool.connections());
            let _ = within(accord_store::ANSWER, async { waking.await.map(drop) }).await.is_ok();
        });
    }

    /// An operation within its time. Where the database undid it for another one, it is tried again.
    async fn bounded<T, F>(&self, name: &'static str, operation: impl FnMut() -> F) -> Result<T, LogError>
    where
        F: Future<Output = Result<T, SqlError>>,
    {
        let begun = Instant::now();
        let done = within(self.bound, retry(operation)).await;
        self.durations.record(begun.elapsed().as_secs_f64(), &[KeyValue::new("operation", name)]);
        done.map_err(|error: accord_store::Error| LogError(error.to_string()))
    }
}

impl InvalidationLog for PostgresLog {
    async fn append(&self, batches: &[Invalidation]) -> Result<Appended, LogError> {
        self.bounded("append", || self.append_once(batches)).await
    }

    async fn verify(&self, verification: &Verification) -> Result<Verified, LogError> {
        self.bounded("verify", || self.verify_once(verification)).await
    }
}

/// Wakes a replica when the log has news for it.
pub(super) async fn listen(url: &StoreUrl, replica: &LiveReplica, news: &Notify) {
    loop {
        let listening = async {
            let mut listener = PgListener::connect(&url.connect_url()?).await?;
            listener.listen(schema::CHANNEL).await?;
            Ok::<_, SqlError>(listener)
        };
        if let Ok(Ok(mut listener)) = timeout(accord_store::ANSWER, listening).await {
            // One that is silent for long may be cut off without a word: another one is made.
            while let Ok(Ok(notification)) = timeout(SILENCE, listener.recv()).await {
                if notification.payload().is_empty() {
                    news.notify_one();
                } else {
                    replica.others_confirmed();
                }
            }
        }
        sleep(LISTEN_AGAIN).await;
    }
}

fn add(record: &Record) -> String {
    let tags: Vec<u8> = record.tags.iter().flat_map(|tag| tag.to_bits().to_be_bytes()).collect();
    // Where everything is dropped, nobody drops his own copies by himself.
    let writer = record.writer.filter(|_| !record.is_flush);
    let writer = writer.map_or_else(Vec::new, |LeaseHolder(writer)| writer.to_be_bytes().to_vec());
    let change = record.change.as_ref().map(|change| key_change::encode(change));
    schema::add(record, &tags, &writer, change)
}

/// Whether the record that was seen last is there, and what comes after it.
fn read(rows: &[AnyRow], seen: u64, mark: u64) -> Result<(bool, Vec<Record>), SqlError> {
    let mut records = rows.iter().map(record).collect::<Result<Vec<_>, _>>()?;
    let last = records.first().filter(|record| record.number == seen).map(|record| record.mark);
    records.retain(|record| record.number > seen);
    Ok((seen == 0 || last == Some(mark), records))
}

fn members(rows: &[AnyRow]) -> Result<Vec<Member>, SqlError> {
    let member = |row: &AnyRow| {
        let (counter, confirmed) = (unsigned(row.try_get(1)?), unsigned(row.try_get(2)?));
        Ok(Member { replica: name(row, 0)?, counter, confirmed })
    };
    rows.iter().map(member).collect()
}

fn record(row: &AnyRow) -> Result<Record, SqlError> {
    let (tags, writer): (Vec<u8>, Vec<u8>) = (row.try_get(2)?, row.try_get(3)?);
    let change = row.try_get::<Option<Vec<u8>>, _>(5)?.map(|change| key_change::decode(&change)).transpose();
    let (tags, _) = tags.as_chunks();
    Ok(Record {
        number: unsigned(row.try_get(0)?),
        is_flush: row.try_get::<i64, _>(1)? != 0,
        tags: tags.iter().map(|tag| Tag::from_bits(u64::from_be_bytes(*tag))).collect::<Arc<_>>(),
        writer: writer.try_into().ok().map(|writer| LeaseHolder(u128::from_be_bytes(writer))),
        mark: unsigned(row.try_get(4)?),
        change: change.map_err(|error| SqlError::Decode(error.into()))?.map(Arc::new),
    })
}

fn name(row: &AnyRow, column: usize) -> Result<u128, SqlError> {
    let bytes: Vec<u8> = row.try_get(column)?;
    let bytes = bytes.try_into().map_err(|_| SqlError::Decode("a name has 16 bytes".into()))?;
    Ok(u128::from_be_bytes(bytes))
}

fn random_mark() -> u64 {
    Uuid::new_v4().as_u64_pair().1 >> 1
}

fn incomplete() -> SqlError {
    SqlError::Protocol("the database did not answer each statement".to_owned())
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
