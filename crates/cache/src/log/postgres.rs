//! The invalidation log in PostgreSQL, or in what speaks its protocol.
//!
//! Each operation is one transaction that begins with the lock of the head row. So numbers commit in their order; and of a replica
//! that registers and a batch that is appended, one sees the other. What the database has committed it may not lose: with
//! asynchronous replication, a failover voids what was acknowledged shortly before it.
//!
//! The head row also holds what the gap detector knows of senders: each append reads and writes it.
//!
//! NOTIFY is sent after the commit, and only wakes replicas sooner than they would look by themselves.

mod key_change;
mod schema;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use accord_readthrough::{
    Appended, GapDetector, Invalidation, InvalidationLog, LeaseHolder, LogError, Member, Moment, Record, Tag,
    Verification, Verified, number,
};
use accord_store::{Connections, Pool, StoreUrl, Transaction, within};
use sqlx::any::AnyRow;
use sqlx::postgres::PgListener;
use sqlx::{Error as SqlError, Row};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::LiveReplica;
use schema::{
    ADD, APPENDED, CONFIRMED, DELETE_MEMBER, FIND_HEAD, FIND_MEMBERS, FIND_OLDEST, FIND_RECORDS, LOCK, MAKE_HEAD,
    MIGRATIONS, SET_HEAD, SET_MEMBER, SHORT_IDLE, STRIKE, TRIM,
};

/// One operation at a time, a notification, and one in reserve for where a connection hangs.
const CONNECTIONS: Connections = Connections { sqlite: 1, postgres: 3 };

/// Records that are kept: whoever has missed more begins anew.
const KEPT: u64 = 10_000;

/// Records that are read at once.
const READ: i64 = 1_000;

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
        Ok(Self { pool, senders: senders.max(1), bound: lease / 2, confirmed: AtomicU64::new(0) })
    }

    /// A transaction that has the head row.
    async fn begin(&self) -> Result<Transaction, accord_store::Error> {
        let mut transaction = self.pool.begin(LOCK).await?;
        sqlx::query(SHORT_IDLE).execute(&mut *transaction).await?;
        Ok(transaction)
    }

    async fn append_once(&self, batches: &[Invalidation]) -> Result<Appended, accord_store::Error> {
        let mut transaction = self.begin().await?;
        let Head { incarnation, number: head, mark, mut gap_detector, now } = self.head(&mut transaction).await?;
        let new_mark = random_mark();
        let (noted, records) = number(batches, head, new_mark, |batch| gap_detector.note(batch, now));
        let mark = if records.is_empty() { mark } else { new_mark };
        let head = head + records.len() as u64;
        for record in &records {
            add(&mut transaction, record).await?;
        }
        if !records.is_empty() {
            sqlx::query(TRIM).bind(signed(head.saturating_sub(KEPT))).execute(&mut *transaction).await?;
        }
        let set = sqlx::query(SET_HEAD).bind(signed(head)).bind(signed(mark)).bind(gap_detector.encode());
        set.execute(&mut *transaction).await?;
        let members = members(&mut transaction).await?;
        transaction.commit().await?;
        if !records.is_empty() {
            self.notify(APPENDED);
        }
        Ok(Appended { incarnation, noted, head, members })
    }

    async fn verify_once(&self, verification: &Verification) -> Result<Verified, accord_store::Error> {
        let Verification { member, seen, seen_mark, silent, is_last } = verification;
        let mut transaction = self.begin().await?;
        let Head { incarnation, number: head, mark: head_mark, .. } = self.head(&mut transaction).await?;
        let (has_seen, records) = read(&mut transaction, *seen, *seen_mark).await?;
        // Of what the database has lost, nothing counts.
        let confirmed = if has_seen { member.confirmed } else { 0 };
        for (replica, counter) in silent {
            sqlx::query(STRIKE).bind(bytes(*replica)).bind(signed(*counter)).execute(&mut *transaction).await?;
        }
        let name = bytes(member.replica);
        if *is_last {
            sqlx::query(DELETE_MEMBER).bind(name).execute(&mut *transaction).await?;
        } else {
            let set = sqlx::query(SET_MEMBER).bind(name).bind(signed(member.counter)).bind(signed(confirmed));
            set.execute(&mut *transaction).await?;
        }
        let oldest: Option<i64> = sqlx::query(FIND_OLDEST).fetch_one(&mut *transaction).await?.try_get(0)?;
        let members = members(&mut transaction).await?;
        transaction.commit().await?;
        if self.confirmed.swap(confirmed, Ordering::Relaxed) != confirmed {
            self.notify(CONFIRMED);
        }
        let oldest = oldest.map_or(head + 1, unsigned);
        Ok(Verified { incarnation, oldest, head, head_mark, has_seen, records, members })
    }

    /// The head row, and the time by the database's clock.
    async fn head(&self, transaction: &mut Transaction) -> Result<Head, SqlError> {
        let row = sqlx::query(FIND_HEAD).fetch_one(&mut **transaction).await?;
        let (mark, now) = (unsigned(row.try_get(2)?), Moment(unsigned(row.try_get(4)?) * 1_000_000));
        let stored: Vec<u8> = row.try_get(3)?;
        // What can't be read is as unknown as the senders of a new log.
        let gap_detector = GapDetector::decode(self.senders, &stored);
        let gap_detector = gap_detector.unwrap_or_else(|| GapDetector::new(self.senders, now));
        Ok(Head { incarnation: name(&row, 0)?, number: unsigned(row.try_get(1)?), mark, gap_detector, now })
    }

    /// Wakes the replicas. Nobody waits for it.
    fn notify(&self, notification: &'static str) {
        let pool = self.pool.clone();
        tokio::spawn(async move {
            let waking = sqlx::query(notification).execute(pool.connections());
            let _ = within(accord_store::ANSWER, async { waking.await.map(drop) }).await.is_ok();
        });
    }

    /// An operation within its time.
    async fn bounded<T>(&self, operation: impl Future<Output = Result<T, accord_store::Error>>) -> Result<T, LogError> {
        within(self.bound, operation).await.map_err(|error| LogError(error.to_string()))
    }
}

impl InvalidationLog for PostgresLog {
    async fn append(&self, batches: &[Invalidation]) -> Result<Appended, LogError> {
        self.bounded(self.append_once(batches)).await
    }

    async fn verify(&self, verification: &Verification) -> Result<Verified, LogError> {
        self.bounded(self.verify_once(verification)).await
    }
}

/// Wakes a replica when the log has news for it.
pub(super) async fn listen(url: &StoreUrl, replica: &LiveReplica, news: &Notify) {
    loop {
        let listening = async {
            let mut listener = PgListener::connect(url.expose()).await?;
            listener.listen(schema::CHANNEL).await?;
            Ok::<_, SqlError>(listener)
        };
        if let Ok(Ok(mut listener)) = timeout(accord_store::ANSWER, listening).await {
            // One that is silent for long may be cut off without a word: another one is made.
            while let Ok(Ok(notification)) = timeout(SILENCE, listener.recv()).await {
                if notification.payload().is_empty() || replica.is_awaited() {
                    news.notify_one();
                }
            }
        }
        sleep(LISTEN_AGAIN).await;
    }
}

async fn add(transaction: &mut Transaction, record: &Record) -> Result<(), SqlError> {
    let tags: Vec<u8> = record.tags.iter().flat_map(|tag| tag.to_bits().to_be_bytes()).collect();
    // Where everything is dropped, nobody drops his own copies by himself.
    let writer = record.writer.filter(|_| !record.is_flush);
    let writer = writer.map_or_else(Vec::new, |LeaseHolder(writer)| bytes(writer));
    let add = sqlx::query(ADD).bind(signed(record.number)).bind(i64::from(record.is_flush)).bind(tags).bind(writer);
    let change = record.change.as_ref().map(|change| key_change::encode(change));
    add.bind(signed(record.mark)).bind(change).execute(&mut **transaction).await.map(drop)
}

/// Whether the record that was seen last is there, and what comes after it.
async fn read(transaction: &mut Transaction, seen: u64, mark: u64) -> Result<(bool, Vec<Record>), SqlError> {
    let rows = sqlx::query(FIND_RECORDS).bind(signed(seen)).bind(READ).fetch_all(&mut **transaction).await?;
    let mut records = rows.iter().map(record).collect::<Result<Vec<_>, _>>()?;
    let last = records.first().filter(|record| record.number == seen).map(|record| record.mark);
    records.retain(|record| record.number > seen);
    Ok((seen == 0 || last == Some(mark), records))
}

async fn members(transaction: &mut Transaction) -> Result<Vec<Member>, SqlError> {
    let rows = sqlx::query(FIND_MEMBERS).fetch_all(&mut **transaction).await?;
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

fn bytes(name: u128) -> Vec<u8> {
    name.to_be_bytes().to_vec()
}

fn random_mark() -> u64 {
    Uuid::new_v4().as_u64_pair().1 >> 1
}

/// Numbers and marks of a log stay below 2^63.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
