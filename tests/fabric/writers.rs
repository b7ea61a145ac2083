//! Writers of a soak or of restarts, one for each product, so that it is well defined which of its writes came last.

use anyhow::{Context, Result};
use tokio::task::JoinSet;

/// Tasks that write until they are told that it is over.
pub(crate) struct Writers(JoinSet<()>);

impl Writers {
    /// Starts so many.
    pub(crate) fn start<W: Future<Output = ()> + Send + 'static>(count: usize, write_on: impl Fn(usize) -> W) -> Self {
        Self((0..count).map(write_on).collect())
    }

    /// Waits for what is under way.
    pub(crate) async fn end(mut self) -> Result<()> {
        while let Some(ended) = self.0.join_next().await {
            ended.context("a writer failed")?;
        }
        Ok(())
    }
}
