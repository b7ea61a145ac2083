//! A service of another language, started from its source.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Result;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep},
};

use crate::{
    binaries,
    process::{Launch, Process},
};

/// How long an interpreter may take to load its libraries and listen.
const BOUND: Duration = Duration::from_secs(30);

/// A Python script that serves on `--port`.
pub struct Script {
    /// The process.
    pub process: Process,
    /// Where it serves.
    pub listen: SocketAddr,
}

impl Script {
    /// Starts a script, given by its path in the workspace, and waits until it listens.
    pub(crate) async fn start(
        name: &str,
        path: &str,
        flags: Vec<String>,
        listen: SocketAddr,
        log: PathBuf,
    ) -> Result<Self> {
        let script = binaries::workspace().join(path);
        let launch = Launch {
            name: name.to_owned(),
            program: "python3".into(),
            arguments: [script.into(), "--port".into(), listen.port().to_string().into()]
                .into_iter()
                .chain(flags.into_iter().map(Into::into))
                .collect(),
            environment: Vec::new(),
            log,
        };
        let mut script = Self { process: Process::start(launch)?, listen };
        script.wait_listening().await?;
        Ok(script)
    }

    /// Where it serves, as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// Waits until it listens.
    pub async fn wait_listening(&mut self) -> Result<()> {
        let end = Instant::now() + BOUND;
        while TcpStream::connect(self.listen).await.is_err() {
            self.process.check()?;
            if Instant::now() >= end {
                return Err(self.process.trouble(format!("does not listen after {BOUND:?}")).into());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}
