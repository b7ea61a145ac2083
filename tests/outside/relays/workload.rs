//! A service that calls its neighbours: a client of auth, which is told by flags where the mesh is.

use accord_fabric::{Fabric, Launch, Port, Process, Script, binaries::workspace};
use anyhow::{Context, Result};
use std::{fs, net::SocketAddr, path::Path};
use tempfile::TempDir;

/// A service that is to be.
pub(super) struct Workload {
    /// What it is called, at the gateway and at auth.
    name: &'static str,
    /// Where it is to serve.
    pub(super) listen: SocketAddr,
    _port: Port,
    /// Its files.
    directory: TempDir,
}

impl Workload {
    /// A service on a free port.
    pub(super) fn new(name: &'static str) -> Result<Self> {
        let port = Port::reserve()?;
        Ok(Self { name, listen: port.address(), _port: port, directory: tempfile::tempdir()? })
    }

    /// Where it serves, as a URL.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// Where its files are.
    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What it is, as a file that the gateway reads: its proto, below a directory of the workspace.
    pub(super) fn descriptors(&self, root: &str, proto: &str) -> Result<String> {
        let mut compiler = protox::Compiler::new([workspace().join(root)])?;
        let set = compiler.include_imports(true).open_file(proto)?.encode_file_descriptor_set();
        let file = self.directory().join("descriptors.binpb");
        fs::write(&file, set)?;
        Ok(file.display().to_string())
    }

    /// Makes it a client of auth, and returns the file with its secret.
    pub(super) async fn register(&self, fabric: &Fabric) -> Result<String> {
        let secret = self.directory().join("secret").display().to_string();
        fabric.manage(&["client", "add", self.name, "--secret-file", &secret]).await?;
        Ok(secret)
    }

    /// Starts it by a command, and waits until it listens.
    pub(super) async fn start(
        &self,
        command: Vec<String>,
        gateway: SocketAddr,
        auth: SocketAddr,
        secret: &str,
    ) -> Result<Script> {
        let mut command = command.into_iter();
        let program = command.next().context("a command has a program")?;
        let flags = [
            ("--port", self.listen.port().to_string()),
            ("--gateway", gateway.to_string()),
            ("--auth", auth.to_string()),
            ("--client-id", self.name.to_owned()),
            ("--client-secret-file", secret.to_owned()),
        ];
        let flags = flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
        let launch = Launch {
            name: self.name.to_owned(),
            program: program.into(),
            arguments: command.chain(flags).map(Into::into).collect(),
            environment: Vec::new(),
            log: self.directory().join("log"),
        };
        let mut script = Script { process: Process::start(launch)?, listen: self.listen };
        script.wait_listening().await?;
        Ok(script)
    }
}
