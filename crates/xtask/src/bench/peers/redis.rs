//! Redis, in memory alone.

use anyhow::Result;

use super::{Peer, debian};
use crate::bench::stage::Stage;

pub(super) async fn start(stage: &Stage) -> Result<Peer> {
    let program = debian("redis-server", "redis-server")?;
    debian("redis-benchmark", "redis-tools")?;
    let address = stage.reserve()?;
    let (port, directory) = (address.port().to_string(), stage.directory().display().to_string());
    let arguments = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", &directory];
    let process = stage.start_tested("redis", &program, &arguments, address).await?;
    Ok(Peer { process, listeners: [].into(), checks_nothing: true })
}
