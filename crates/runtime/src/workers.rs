//! Workers: threads that serve connections, each on a runtime of its own.
//!
//! All of a connection stays on the thread that it was given to: its handshake, its calls, and the connections to upstreams
//! that they use ([`shard`]). So nothing is handed from core to core, and what the calls of one moment have to say goes out
//! in one write: such a runtime runs its tasks in the order in which they were woken, so a connection's turn comes after those
//! of its calls.

use std::{
    cell::Cell,
    convert::Infallible,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::{
    runtime::{Builder, Handle},
    sync::mpsc,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// How long blocking work may still take when everything else is over.
pub(crate) const LAST_WORK: Duration = Duration::from_secs(2);

thread_local! {
    static SHARD: Cell<usize> = const { Cell::new(0) };
}

/// How many shards there are: the workers' and the one of all other threads.
static SHARDS: AtomicUsize = AtomicUsize::new(1);

/// The shard of this thread, under which it keeps what it shares with no other worker: its number from 1 on if it is a worker,
/// and 0 for all other threads.
pub fn shard() -> usize {
    SHARD.get()
}

/// How many shards there are; more once workers have been started.
pub fn shards() -> usize {
    SHARDS.load(Ordering::Relaxed)
}

/// The threads that serve connections.
pub struct Workers {
    places: Places,
    stop: CancellationToken,
    /// Ends when the last thread has.
    ended: mpsc::Receiver<Infallible>,
}

impl Workers {
    /// Starts so many; for 0 as many as the process has cores, of which a container's CPU limit counts.
    pub fn start(count: usize) -> io::Result<Self> {
        let count = if count == 0 { thread::available_parallelism().map_or(1, usize::from) } else { count };
        SHARDS.fetch_max(count + 1, Ordering::Relaxed);
        let stop = CancellationToken::new();
        let (running, ended) = mpsc::channel(1);
        let workers = (1..=count).map(|shard| start(shard, stop.clone(), running.clone()));
        let places = Places(workers.collect::<io::Result<_>>()?);
        Ok(Self { places, stop, ended })
    }

    /// Ends them, and what still runs there.
    pub async fn stop(mut self) {
        self.stop.cancel();
        // One that does not come to an end would end with the process.
        if timeout(LAST_WORK * 2, self.ended.recv()).await.is_err() {
            tracing::warn!("a worker was still busy at the end of the process");
        }
    }

    pub(crate) fn places(&self) -> Places {
        self.places.clone()
    }
}

fn start(shard: usize, stop: CancellationToken, running: mpsc::Sender<Infallible>) -> io::Result<Worker> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new().name(format!("worker-{shard}")).spawn(move || {
        SHARD.set(shard);
        runtime.block_on(stop.cancelled());
        runtime.shutdown_timeout(LAST_WORK);
        drop(running);
    })?;
    Ok(Worker { runtime: handle, connections: AtomicUsize::new(0) })
}

/// A runtime that serves connections, and how many.
struct Worker {
    runtime: Handle,
    connections: AtomicUsize,
}

/// Where the connections of a listener can be served.
#[derive(Clone)]
pub(crate) struct Places(Arc<[Worker]>);

impl Places {
    /// The runtime of whoever asks, alone.
    pub(crate) fn here() -> Self {
        Self(Arc::new([Worker { runtime: Handle::current(), connections: AtomicUsize::new(0) }]))
    }

    /// A place for a connection at the worker that has the fewest. `number` says who is first among equals.
    pub(crate) fn take(&self, number: usize) -> Place {
        let count = self.0.len();
        let in_turn = (number..number + count).map(|index| index % count);
        let open = |index: &usize| self.0[*index].connections.load(Ordering::Relaxed);
        // There is one worker at least.
        let index = in_turn.min_by_key(open).unwrap_or_default();
        self.0[index].connections.fetch_add(1, Ordering::Relaxed);
        Place { places: self.clone(), index }
    }
}

/// What counts as a connection of a worker, until it is dropped.
pub(crate) struct Place {
    places: Places,
    index: usize,
}

impl Place {
    /// Where it is.
    pub(crate) fn runtime(&self) -> Handle {
        self.places.0[self.index].runtime.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.0[self.index].connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shard_of(place: &Place) -> usize {
        place.runtime().spawn(async { shard() }).await.unwrap()
    }

    #[tokio::test]
    async fn connections_are_spread_evenly_over_workers() {
        let workers = Workers::start(3).unwrap();
        let (mut places, mut found) = (Vec::new(), Vec::new());
        for number in 0..6 {
            let place = workers.places().take(number);
            found.push(shard_of(&place).await);
            places.push(place);
        }
        assert_eq!(found, [1, 2, 3, 1, 2, 3]);
        assert!(shards() > 3);
        workers.stop().await;
    }

    #[tokio::test]
    async fn connection_goes_to_the_worker_that_has_the_fewest() {
        let workers = Workers::start(2).unwrap();
        // Both would begin at the same worker: the second finds it taken.
        let first = workers.places().take(0);
        let second = workers.places().take(0);
        assert_ne!(shard_of(&first).await, shard_of(&second).await);
        drop(first);
        assert_eq!(shard_of(&workers.places().take(1)).await, 1);
        workers.stop().await;
    }

    #[tokio::test]
    async fn panic_of_a_connection_ends_no_worker() {
        let workers = Workers::start(1).unwrap();
        let place = workers.places().take(0);
        assert!(place.runtime().spawn(async { panic!("boom") }).await.is_err());
        assert_eq!(shard_of(&place).await, 1);
        workers.stop().await;
    }

    #[tokio::test]
    async fn stop_ends_what_still_runs_on_workers() {
        let workers = Workers::start(1).unwrap();
        let running = workers.places().take(0).runtime().spawn(std::future::pending::<()>());
        workers.stop().await;
        assert!(running.await.unwrap_err().is_cancelled());
    }

    #[tokio::test]
    async fn thread_that_is_no_worker_has_the_first_shard() {
        assert_eq!(shard(), 0);
    }
}
