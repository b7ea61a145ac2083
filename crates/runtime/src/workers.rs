//! Workers: threads that serve connections, each on a runtime of its own.
//!
//! All of a connection stays on the thread that it was given to: its handshake, its calls, and the connections to upstreams
//! that they use ([`shard`]). So nothing is handed from core to core, and what the calls of one moment have to say goes out
//! in one write: such a runtime runs its tasks in the order in which they were woken, so a connection's turn comes after those
//! of its calls.

use std::{
    cell::Cell,
    convert::Infallible,
    future::Future,
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
use tokio_util::{sync::CancellationToken, task::TaskTracker};

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

    /// Serves a connection at the worker that has the fewest. `number` says who is first among equals.
    pub(crate) fn spawn(&self, number: usize, tasks: &TaskTracker, serving: impl Future<Output = ()> + Send + 'static) {
        let count = self.0.len();
        let in_turn = (number..number + count).map(|index| index % count);
        let open = |index: &usize| self.0[*index].connections.load(Ordering::Relaxed);
        let Some(index) = in_turn.min_by_key(open) else { return };
        let runtime = &self.0[index].runtime;
        let place = Place::take(Self(Arc::clone(&self.0)), index);
        tasks.spawn_on(
            async move {
                let _place = place;
                serving.await;
            },
            runtime,
        );
    }
}

/// A connection that counts at its worker for as long as it lives, whatever ends it.
struct Place {
    places: Places,
    index: usize,
}

impl Place {
    fn take(places: Places, index: usize) -> Self {
        places.0[index].connections.fetch_add(1, Ordering::Relaxed);
        Self { places, index }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.0[self.index].connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use tokio::sync::Notify;

    use super::*;

    /// Serves connections until they are told to end, and tells at which worker each is.
    async fn shards_of(workers: &Workers, connections: usize, release: &Arc<Notify>) -> Vec<usize> {
        let (told, mut shards) = mpsc::channel(connections);
        for number in 0..connections {
            let (told, release) = (told.clone(), Arc::clone(release));
            workers.places().spawn(number, &TaskTracker::new(), async move {
                told.send(shard()).await.unwrap();
                release.notified().await;
            });
        }
        let mut found = Vec::new();
        shards.recv_many(&mut found, 1).await;
        while found.len() < connections {
            found.push(shards.recv().await.unwrap());
        }
        found.sort_unstable();
        found
    }

    #[tokio::test]
    async fn connections_are_spread_evenly_over_workers() {
        let workers = Workers::start(3).unwrap();
        assert_eq!(shards_of(&workers, 6, &Arc::default()).await, [1, 1, 2, 2, 3, 3]);
        assert!(shards() > 3);
        workers.stop().await;
    }

    #[tokio::test]
    async fn connection_goes_to_the_worker_that_has_the_fewest() {
        let workers = Workers::start(2).unwrap();
        let (places, tasks) = (workers.places(), TaskTracker::new());
        // Two that begin at the same worker: the second finds it taken.
        let busy = shards_of(&workers, 1, &Arc::default()).await;
        let (told, mut found) = mpsc::channel(1);
        places.spawn(0, &tasks, async move { told.send(shard()).await.unwrap() });
        assert_ne!(found.recv().await.unwrap(), busy[0]);
        workers.stop().await;
    }

    #[tokio::test]
    async fn panic_of_a_connection_ends_no_worker() {
        let workers = Workers::start(1).unwrap();
        let tasks = TaskTracker::new();
        workers.places().spawn(0, &tasks, async { panic!("boom") });
        tasks.close();
        tasks.wait().await;
        assert_eq!(shards_of(&workers, 1, &Arc::default()).await, [1]);
        workers.stop().await;
    }

    #[tokio::test]
    async fn stop_ends_what_still_runs_on_workers() {
        struct Gone(Arc<Mutex<bool>>);
        impl Drop for Gone {
            fn drop(&mut self) {
                *self.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
            }
        }
        let workers = Workers::start(1).unwrap();
        let is_gone = Arc::new(Mutex::new(false));
        let gone = Gone(Arc::clone(&is_gone));
        workers.places().spawn(0, &TaskTracker::new(), async move {
            let _gone = gone;
            std::future::pending::<()>().await;
        });
        workers.stop().await;
        assert!(*is_gone.lock().unwrap());
    }

    #[tokio::test]
    async fn thread_that_is_no_worker_has_the_first_shard() {
        assert_eq!(shard(), 0);
    }
}
