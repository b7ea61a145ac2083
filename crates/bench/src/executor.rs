//! Everything of a connection stays on its thread.

use hyper::rt::Executor;
use tokio::task;

/// Spawns on the thread's own set of tasks.
#[derive(Clone, Copy)]
pub(crate) struct LocalExecutor;

impl<F: Future<Output: 'static> + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        task::spawn_local(future);
    }
}
