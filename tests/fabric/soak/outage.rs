//! What happens to one process, until it serves again.

use std::time::Duration;

use anyhow::Result;

use crate::Server;

/// How long a cache may take to end in order.
pub(super) const DRAIN: Duration = Duration::from_secs(15);

pub(super) async fn killed(server: &mut Server) -> Result<()> {
    server.process.restart()?;
    server.wait_serving().await
}

pub(super) async fn paused(server: &mut Server, pause: Duration) -> Result<()> {
    server.process.pause()?;
    tokio::time::sleep(pause).await;
    server.process.resume()?;
    server.wait_serving().await
}
