//! memcached, with one thread.

use anyhow::Result;

use super::{Peer, debian};
use crate::bench::stage::Stage;

pub(super) async fn start(stage: &Stage) -> Result<Peer> {
    let program = debian("memcached", "memcached")?;
    let address = stage.reserve()?;
    let port = address.port().to_string();
    // Where root starts it, it has to be told as whom it runs.
    let arguments = ["-p", &port, "-l", "127.0.0.1", "-t", "1", "-u", "nobody"];
    let process = stage.start_tested("memcached", &program, &arguments, address).await?;
    Ok(Peer { process, listeners: [].into(), checks_nothing: true })
}
