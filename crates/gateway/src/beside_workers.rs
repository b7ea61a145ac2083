//! Work that takes long enough to hold up whoever else a worker serves: it is done on threads of its own.

use crate::fault::Fault;
use std::{num::NonZero, sync::LazyLock, thread};
use tokio::{sync::Semaphore, task::spawn_blocking};

/// What is done at a time: it takes processor time, and workers have to get some. Whoever waits for a turn is in flight, and waits
/// until its deadline at most.
static TURNS: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(thread::available_parallelism().map_or(1, NonZero::get)));

/// Does the work once it has a turn. It is done to its end, also where the caller leaves meanwhile: so it owns whatever is held for it.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    let turn = TURNS.acquire().await.map_err(|_closed| Fault::defect())?;
    let work = move || {
        let _turn = turn;
        work()
    };
    spawn_blocking(work).await.map_err(|_panic| Fault::defect())
}
