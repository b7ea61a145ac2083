//! A Redis nobody here wrote, alone and as a Cluster.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep},
};

use crate::{
    Launch, Port, Process,
    tool::{output, tool},
};

/// How long a server may take to listen on a loaded machine.
pub const START: Duration = Duration::from_secs(30);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// A throw-away server whose password is `secret`.
pub struct Redis {
    /// The process.
    pub process: Process,
    program: PathBuf,
    /// Where it serves, on loopback.
    pub port: u16,
    /// What it writes to.
    pub directory: TempDir,
    ports: Vec<Port>,
}

impl Redis {
    /// Starts one that serves on `flag PORT`, `--port` or `--tls-port`.
    pub async fn start(flag: &str, more: impl Fn(&TempDir) -> Result<Vec<String>>) -> Result<Self> {
        Self::launch(tool("ACCORD_TEST_REDIS")?.into(), flag, more).await
    }

    /// One of this program, which serves without TLS.
    pub async fn of(program: &Path) -> Result<Self> {
        Self::launch(program.to_owned(), "--port", |_| Ok(Vec::new())).await
    }

    async fn launch(program: PathBuf, flag: &str, more: impl Fn(&TempDir) -> Result<Vec<String>>) -> Result<Self> {
        let (directory, reserved) = (tempfile::tempdir()?, Port::reserve()?);
        let port = reserved.address().port();
        let own = format!(
            "--bind 127.0.0.1 --appendonly no --requirepass secret {flag} {port} --dir {}",
            directory.path().display()
        );
        let own = own.split(' ').map(str::to_owned).chain(["--save".to_owned(), String::new()]);
        let launch = Launch {
            name: "redis".to_owned(),
            program: program.clone(),
            arguments: own.chain(more(&directory)?).map(Into::into).collect(),
            environment: Vec::new(),
            log: directory.path().join("log"),
        };
        let mut redis = Self { process: Process::start(launch)?, program, port, directory, ports: vec![reserved] };
        redis.wait_listening().await?;
        Ok(redis)
    }

    /// One that serves without TLS.
    pub async fn plain() -> Result<Self> {
        Self::start("--port", |_| Ok(Vec::new())).await
    }

    /// Waits until it takes connections.
    pub async fn wait_listening(&mut self) -> Result<()> {
        let end = Instant::now() + START;
        while TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))).await.is_err() {
            self.process.check()?;
            ensure!(Instant::now() < end, "Redis does not listen: {}", self.process.last_words());
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Where it serves.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What it answers to a command.
    pub async fn ask(&self, command: &[&str]) -> Result<String> {
        self.ask_as("secret", command).await
    }

    /// The same with another password.
    pub async fn ask_as(&self, password: &str, command: &[&str]) -> Result<String> {
        let cli = self.program.with_file_name("redis-cli").display().to_string();
        let port = self.port.to_string();
        output(&cli, &[&["-p", &port, "-a", password, "--no-auth-warning"], command].concat()).await
    }

    /// Asks until it answers so.
    async fn await_answer(&self, command: &[&str], wanted: impl Fn(&str) -> bool) -> Result<String> {
        let end = Instant::now() + START;
        loop {
            let answer = self.ask(command).await?;
            if wanted(&answer) {
                return Ok(answer);
            }
            ensure!(Instant::now() < end, "{command:?} is answered with {answer}");
            sleep(LOOK).await;
        }
    }
}

/// Three primaries, which have a third of the slots each, and a replica of one of them.
pub struct Cluster {
    /// Its nodes; the last one is the replica.
    pub nodes: Vec<Redis>,
    /// The one that has a replica.
    primary: usize,
}

/// The slots of the primaries.
const THIRDS: [[&str; 2]; 3] = [["0", "5460"], ["5461", "10922"], ["10923", "16383"]];

impl Cluster {
    /// With a replica of the primary that has this key.
    pub async fn start(key: &str) -> Result<Self> {
        let mut nodes = Vec::new();
        for _ in 0..4 {
            nodes.push(Self::node().await?);
        }
        for (node, slots) in nodes.iter().zip(THIRDS) {
            node.ask(&[&["CLUSTER", "ADDSLOTSRANGE"][..], &slots].concat()).await?;
        }
        for node in &nodes[1..] {
            let (port, bus) = (node.port.to_string(), node.ask(&["CONFIG", "GET", "cluster-port"]).await?);
            let bus = bus.lines().last().context("the port of its bus")?;
            nodes[0].ask(&["CLUSTER", "MEET", "127.0.0.1", &port, bus]).await?;
        }
        let slot: u32 = nodes[0].ask(&["CLUSTER", "KEYSLOT", key]).await?.trim().parse()?;
        let primary = usize::from(slot > 5460) + usize::from(slot > 10_922);
        let name = nodes[primary].ask(&["CLUSTER", "MYID"]).await?;
        let replica = &nodes[3];
        replica.await_answer(&["CLUSTER", "NODES"], |nodes| nodes.contains(name.trim())).await?;
        replica.ask(&["CLUSTER", "REPLICATE", name.trim()]).await?;
        replica.await_answer(&["INFO", "replication"], |told| told.contains("master_link_status:up")).await?;
        for node in &nodes {
            node.await_answer(&["CLUSTER", "INFO"], |told| told.contains("cluster_state:ok")).await?;
        }
        Ok(Self { nodes, primary })
    }

    /// A short timeout lets the replica take over soon.
    async fn node() -> Result<Redis> {
        let own = "--cluster-enabled yes --cluster-node-timeout 1000 --masterauth secret --repl-diskless-sync-delay 0";
        let bus = Port::reserve()?;
        let flags = format!("{own} --cluster-port {}", bus.address().port());
        let mut node = Redis::start("--port", |_| Ok(flags.split(' ').map(str::to_owned).collect())).await?;
        node.ports.push(bus);
        Ok(node)
    }

    /// Its nodes but for the last one, as a URL.
    pub fn url(&self) -> String {
        self.nodes[..3].iter().map(Redis::url).collect::<Vec<_>>().join(",")
    }

    /// The primary that has a replica dies, and that one takes over.
    pub async fn fail_over(&mut self) -> Result<()> {
        self.nodes[self.primary].process.kill()?;
        self.nodes[3].await_answer(&["INFO", "replication"], |told| told.contains("role:master")).await?;
        self.nodes[3].await_answer(&["CLUSTER", "INFO"], |told| told.contains("cluster_state:ok")).await?;
        Ok(())
    }
}
