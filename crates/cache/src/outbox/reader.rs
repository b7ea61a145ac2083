//! The reader of an outbox. Of several replicas one reads, for as long as it says so in time; another takes its place.

use std::sync::Arc;
use std::time::{Duration, Instant};

use accord_readthrough::{Invalidation, Refused, Tag};
use accord_runtime::backoff::Backoff;
use accord_store::{ANSWER, StoreUrl, within};
use futures_util::future::join_all;
use sqlx::postgres::PgListener;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::config::OutboxConfig;
use super::cursor::Cursor;
use super::database::{Batch, Database, READ};
use super::install::CHANNEL;
use super::metrics::Metrics;
use crate::log::LiveReplica;

/// Between two attempts to append.
const APPEND_AGAIN: Duration = Duration::from_millis(50);

/// Waits before the database is connected to once more, the first and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Why a reader has to begin anew.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the database of the outbox can't be read: {0}")]
    Database(#[from] sqlx::Error),
    #[error("the invalidation log takes nothing: {0}")]
    Log(#[from] Refused),
    #[error("another replica reads the outbox")]
    Lost,
}

/// The reader of one outbox in this process.
pub struct Reader {
    outbox: OutboxConfig,
    url: StoreUrl,
    replica: LiveReplica,
    /// What stands in the database while it reads.
    holder: String,
    /// What is invalidated beside all that was loaded where everything is: the keys of namespaces.
    rows: Vec<Tag>,
    metrics: Metrics,
}

/// The readers of these outboxes, which append to the log of this replica. One without a URL is refused at the start.
pub fn readers(outboxes: &[OutboxConfig], node: &str, replica: &LiveReplica) -> Vec<Reader> {
    let reader = |outbox: &OutboxConfig| {
        Some(Reader {
            url: outbox.url.clone()?,
            outbox: outbox.clone(),
            replica: replica.clone(),
            holder: format!("{node} {}", Uuid::new_v4()),
            rows: outbox.namespaces().map(Tag::rows).collect(),
            metrics: Metrics::new(&outbox.name),
        })
    };
    outboxes.iter().filter_map(reader).collect()
}

/// Reads for as long as this is polled.
pub async fn follow(readers: &[Reader]) {
    if readers.is_empty() {
        return std::future::pending().await;
    }
    join_all(readers.iter().map(Reader::follow)).await;
}

/// Lets other replicas read at once, where they can be told so.
pub(crate) async fn release(readers: &[Reader]) {
    for reader in readers {
        let released =
            async { Database::connect(&reader.url, &reader.outbox.schema).await?.release(&reader.holder).await };
        if let Err(error) = within(ANSWER, released).await {
            tracing::info!(%error, outbox = reader.outbox.name, "another reader of the outbox waits for the lease of this one");
        }
    }
}

/// What is known of the database in the life of a connection.
struct Reading {
    database: Database,
    cursor: Cursor,
    timeline: String,
    max_rows: i64,
    /// Behind which writers go on.
    floor: i64,
    /// The one before, as long as writers may have gone by it whose rows were not looked at.
    floor_before: i64,
}

impl Reader {
    async fn follow(&self) {
        let (first, last) = BACKOFF;
        let mut backoff = Backoff::new(first, last, 0.5);
        let mut has_failed = false;
        loop {
            let begun = Instant::now();
            let Err(ended) = Box::pin(self.run()).await;
            if begun.elapsed() > last {
                backoff.reset();
                has_failed = false;
            }
            if matches!(ended, Ended::Lost) || std::mem::replace(&mut has_failed, true) {
                tracing::debug!(%ended, outbox = self.outbox.name, "reading of the outbox begins anew");
            } else {
                tracing::warn!(%ended, outbox = self.outbox.name, "reading of the outbox is interrupted; it is tried again");
            }
            sleep(backoff.next_wait()).await;
        }
    }

    /// In the life of one connection.
    async fn run(&self) -> Result<std::convert::Infallible, Ended> {
        let database = Database::connect(&self.url, &self.outbox.schema).await?;
        let news = Notify::new();
        let listen = async {
            let mut listener = Box::pin(within(ANSWER, PgListener::connect(&self.url.connect_url()?))).await?;
            listener.listen(CHANNEL).await?;
            loop {
                listener.recv().await?;
                news.notify_one();
            }
        };
        tokio::select! {
            ended = listen => ended,
            ended = self.read_all(database, &news) => ended,
        }
    }

    async fn read_all(&self, database: Database, news: &Notify) -> Result<std::convert::Infallible, Ended> {
        let mut reading = self.begin(database).await?;
        loop {
            if self.turn(&mut reading).await? {
                // Whichever comes first.
                let _ = timeout(self.outbox.poll_interval, news.notified()).await.is_ok();
            }
        }
    }

    /// Waits until nobody else reads, and goes on where that one ended.
    async fn begin(&self, mut database: Database) -> Result<Reading, Ended> {
        let stored = loop {
            if let Some(stored) = database.hold(&self.holder, self.outbox.lease).await? {
                break stored;
            }
            let unread = database.unread_for().await?;
            self.metrics.read(Duration::try_from_secs_f64(unread).unwrap_or_default());
            // The right to read falls back by the clock of the database, which tells nobody.
            sleep(self.outbox.poll_interval.min(self.outbox.lease / 4)).await;
        };
        tracing::info!(outbox = self.outbox.name, number = stored.number, "reading the outbox");
        let (cursor, floor) = (Cursor::new(stored.number, stored.flush_after), stored.floor);
        let timeline = database.timeline().await?;
        let mut reading = Reading { database, cursor, timeline, max_rows: stored.max_rows, floor, floor_before: floor };
        if reading.timeline != stored.timeline {
            let cause = if stored.timeline.is_empty() { "installed" } else { "failover" };
            self.skip(&mut reading, cause).await?;
        }
        Ok(reading)
    }

    /// Reads once; whether that was all.
    async fn turn(&self, reading: &mut Reading) -> Result<bool, Ended> {
        let begun = Instant::now();
        let (above, missing) = reading.cursor.wanted();
        let Batch { snapshot, head, changes } = reading.database.read(above, missing).await?;
        if head - reading.floor_before > reading.max_rows {
            self.skip(reading, "full").await?;
            return Ok(false);
        }
        // Whoever takes a number above this head finds the floor of now.
        reading.floor_before = reading.floor;
        let numbers: Vec<_> = changes.iter().map(|change| change.number).collect();
        let of_missing = numbers.iter().filter(|number| **number <= above).count();
        let is_all = changes.len() - of_missing < READ && of_missing < READ;
        let causes = [
            ("written", changes.iter().any(|change| change.is_flush)),
            ("missing", reading.cursor.read(&numbers, snapshot, of_missing < READ)),
            ("late", reading.cursor.take_flush(snapshot)),
        ];
        let cause = causes.into_iter().find_map(|(cause, holds)| holds.then_some(cause));
        let tags = changes.iter().flat_map(|change| change.tags.iter().copied()).collect();
        if cause.is_some() || !changes.is_empty() {
            self.invalidate(tags, cause).await?;
        }
        for change in &changes {
            self.metrics.invalidated(change.age + begun.elapsed().as_secs_f64());
        }
        self.store(reading, is_all.then(|| begun.elapsed().as_secs_f64())).await?;
        self.metrics.rows(head - reading.cursor.stored().0);
        if is_all {
            self.metrics.read(begun.elapsed());
        }
        Ok(is_all)
    }

    /// Invalidates everything, and goes on with what is written from now on.
    async fn skip(&self, reading: &mut Reading, cause: &'static str) -> Result<(), Ended> {
        let head = reading.database.read(i64::MAX, Vec::new()).await?.head;
        // Before the snapshot: whoever has not seen this has begun before it.
        self.raise(reading, head).await?;
        reading.floor_before = head;
        let snapshot = reading.database.read(i64::MAX, Vec::new()).await?.snapshot;
        reading.cursor.skip(head, snapshot);
        self.invalidate(Arc::default(), Some(cause)).await?;
        self.store(reading, None).await?;
        // Not before it is stored: what another reader would begin with is there until then.
        reading.database.delete(head).await?;
        Ok(())
    }

    /// Stores how far it was read, and makes room. What is not stored is read once more.
    async fn store(&self, reading: &mut Reading, read_ago: Option<f64>) -> Result<(), Ended> {
        let stored = reading.cursor.stored();
        let (lease, known) = ((&*self.holder, self.outbox.lease), (&*reading.timeline, reading.floor_before));
        if !reading.database.store(lease, stored, known, read_ago).await? {
            return Err(Ended::Lost);
        }
        if stored.0 > reading.floor {
            self.raise(reading, stored.0).await?;
            reading.database.delete(stored.0).await?;
        }
        Ok(())
    }

    /// Lets writers go on behind this number.
    async fn raise(&self, reading: &mut Reading, floor: i64) -> Result<(), Ended> {
        if !reading.database.set_floor(&self.holder, floor).await? {
            return Err(Ended::Lost);
        }
        reading.floor = floor;
        Ok(())
    }

    async fn invalidate(&self, tags: Arc<[Tag]>, cause: Option<&'static str>) -> Result<(), Ended> {
        let is_flush = cause.is_some();
        let tags = if is_flush { tags.iter().chain(&self.rows).copied().collect() } else { tags };
        let batch = Invalidation::of_outbox(tags, is_flush);
        let begun = Instant::now();
        while let Err(refused) = self.replica.invalidate(batch.clone()).await {
            if begun.elapsed() > self.outbox.lease / 2 {
                return Err(refused.into());
            }
            sleep(APPEND_AGAIN).await;
        }
        if let Some(cause) = cause {
            self.metrics.flushed(cause);
            tracing::warn!(
                outbox = self.outbox.name,
                cause,
                "everything that was loaded is invalidated for the outbox"
            );
        }
        Ok(())
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Reader").field("outbox", &self.outbox.name).finish_non_exhaustive()
    }
}
