//! What is measured, and what stands behind it: the real binaries on one core, upstream and floors where they belong.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use accord_fabric::{Builder, EDITOR, Fabric, Launch, Part, Port, Process};
use anyhow::{Context, Result};
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep},
};
use toml::toml;

use super::{
    binaries::{self, Binaries},
    certificate::Certificate,
    load::{Protocol, Request, Tool},
    machine::Cores,
    rounds::Subject,
    varied::{Session, Varied},
};
use crate::workspace;

/// Where the protos and the overlay of what is called stand.
const PROTOS: &str = "crates/bench/proto";
/// How long a program may take until it listens.
const START: Duration = Duration::from_secs(30);

/// A fabric that is measured: what it is called in tables, itself, and the token of who asks.
pub(super) type Measured = (&'static str, Fabric, String);

/// Everything but the peers.
pub(super) struct Stage {
    /// Which core is whose.
    pub cores: Cores,
    /// The binaries, by what they are called in tables; the first is what is measured.
    pub fabrics: Vec<Measured>,
    /// The upstream.
    pub upstream: SocketAddr,
    /// Floors, by what they are called in tables.
    pub floors: BTreeMap<&'static str, Started>,
    /// A file with the descriptors of what is called.
    pub descriptors: PathBuf,
    /// What servers show over TLS.
    pub certificate: Certificate,
    /// What is measured, for further fabrics.
    binaries: PathBuf,
    /// The program of upstream and floors.
    beside: PathBuf,
    directory: TempDir,
    /// Where peers serve.
    ports: Mutex<Vec<Port>>,
    _upstream: Started,
}

/// A server of ours or somebody else's.
pub(super) struct Started {
    /// Where it serves.
    pub address: SocketAddr,
    /// The process.
    pub process: Process,
    _port: Option<Port>,
}

impl Stage {
    /// Starts all of it, and waits until it serves.
    pub(super) async fn start(
        cores: Cores,
        binaries: &Binaries,
        against: Option<&Path>,
        environment: &[(Part, &str, String)],
    ) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("accord-bench-").tempdir()?;
        let descriptors = directory.path().join("bench.binpb");
        write_descriptors(&descriptors, None)?;
        let certificate = Certificate::make(directory.path())?;
        Cores::pin(&[cores.load])?;
        let beside = |name: &'static str| beside(&binaries.beside, name, &[], directory.path());
        let upstream = beside("upstream").await?;
        Cores::pin(&[cores.tested])?;
        let floors = BTreeMap::from([("floor: epoll", beside("epoll").await?), ("floor: hyper", beside("hit").await?)]);
        let mut states = vec![("Accord", binaries.measured.clone())];
        if let Some(against) = against {
            states.push(("Accord before", binaries::given(against)?));
        }
        let mut fabrics = Vec::new();
        for (name, binaries) in states {
            let mut builder = builder(upstream.address, &descriptors)?.binaries(binaries);
            // As many calls come as are answered, and more: an overload, which the adaptive limit would end by refusals, where what an
            // answer takes is measured. It goes on measuring, but never cuts.
            builder = builder.upstream_settings("bench", toml! { adaptive = { min_in_flight = 1_000_000 } });
            for (part, key, value) in environment {
                builder = builder.environment(*part, key, value);
            }
            let fabric = builder.start().await?;
            let token = fabric.token(EDITOR).await?;
            fabrics.push((name, fabric, token));
        }
        Cores::pin(&[cores.load])?;
        let (address, binaries, program) = (upstream.address, binaries.measured.clone(), binaries.beside.clone());
        Ok(Self {
            cores,
            fabrics,
            upstream: address,
            floors,
            descriptors,
            certificate,
            binaries,
            beside: program,
            directory,
            ports: Mutex::default(),
            _upstream: upstream,
        })
    }

    /// One more fabric of what is measured, which somebody wants otherwise, on these cores.
    pub(super) async fn another(
        &self,
        descriptors: &Path,
        cores: &[usize],
        otherwise: impl FnOnce(Builder) -> Builder,
    ) -> Result<Fabric> {
        let builder = otherwise(builder(self.upstream, descriptors)?).binaries(&self.binaries);
        Cores::pin(cores)?;
        let started = builder.start().await;
        Cores::pin(&[self.cores.load])?;
        started
    }

    /// A collector that takes everything.
    pub(super) async fn sink(&self) -> Result<Started> {
        beside(&self.beside, "sink", &[], self.directory.path()).await
    }

    /// Who asks: everywhere the same token.
    pub(super) fn token(&self) -> &str {
        self.fabrics.first().map(|(_, _, token)| token.as_str()).unwrap_or_default()
    }

    /// Does what starts a process, which stays on the core of what is measured.
    pub(super) async fn on_tested_core<T>(&self, start: impl Future<Output = Result<T>>) -> Result<T> {
        Cores::pin(&[self.cores.tested])?;
        let started = start.await;
        Cores::pin(&[self.cores.load])?;
        started
    }

    /// A floor that makes or verifies one signature after another.
    pub(super) fn floor_of_signatures(&self, work: &str, varied: &Varied) -> Result<Session> {
        Cores::pin(&[self.cores.tested])?;
        let started = varied.turns(&["signatures", work]);
        Cores::pin(&[self.cores.load])?;
        started
    }

    /// Starts a program on the core of what is measured, and waits until it listens.
    pub(super) async fn start_tested(
        &self,
        name: &str,
        program: &Path,
        arguments: &[&str],
        address: SocketAddr,
    ) -> Result<Started> {
        self.on_tested_core(start(name, program, arguments, address, self.directory.path())).await
    }

    /// A floor as one that takes turns.
    pub(super) fn floor_subject<'a>(&self, name: &str, load: &'a Tool) -> Option<Subject<'a>> {
        let floor = self.floors.get(name)?;
        let (address, path) = (floor.address, "/".to_owned());
        let request = Request {
            protocol: Protocol::Http1,
            path,
            token: Some(self.token().to_owned()),
            body: None,
            trusted: None,
        };
        let send = Box::new(move |count| load.send(address, &request, count));
        Some(Subject { name: name.to_owned(), processes: vec![floor.process.id()], per_request: 1, send })
    }

    /// Writes a file that a peer needs, and returns where it is.
    pub(super) fn write(&self, name: &str, content: &str) -> Result<String> {
        let path = self.directory.path().join(name);
        fs::write(&path, content).with_context(|| format!("{} can't be written", path.display()))?;
        Ok(path.display().to_string())
    }

    /// A directory for what a peer writes.
    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where one more server may serve, for as long as the stage stands.
    pub(super) fn reserve(&self) -> Result<SocketAddr> {
        let port = Port::reserve()?;
        let address = port.address();
        self.ports.lock().unwrap_or_else(PoisonError::into_inner).push(port);
        Ok(address)
    }

    /// Drains and ends the binaries.
    pub(super) async fn stop(self) -> Result<()> {
        for (_, fabric, _) in self.fabrics {
            fabric.stop().await?;
        }
        Ok(())
    }
}

/// A fabric before this upstream.
pub(super) fn builder(upstream: SocketAddr, descriptors: &Path) -> Result<Builder> {
    let descriptors = descriptors.display().to_string();
    let mut builder = Fabric::builder()?.upstream("bench", &format!("http://{upstream}"));
    builder = builder.upstream_settings("bench", toml! { descriptors = descriptors });
    builder = builder.overlay(Path::new(PROTOS).join("bench/v1/overlay.toml"));
    for part in [Part::Auth, Part::Cache, Part::Catalog, Part::Gateway] {
        // As they come, but for what tests switch on.
        builder = builder.settings(
            part,
            toml! {
                [telemetry.access_log]
                enabled = false
            },
        );
    }
    Ok(builder.settings(Part::Cache, namespace()))
}

/// A namespace that the fabric's editor may use.
fn namespace() -> toml::Table {
    toml! {
        [[namespace]]
        name = "carts"
        read_permission = "carts.read"
        write_permission = "carts.write"
    }
}

/// Of what is called, and of more where somebody has written it: a directory, and a file in it.
pub(super) fn write_descriptors(file: &Path, more: Option<(&Path, &str)>) -> Result<()> {
    let own = [PROTOS, "proto"].map(|root| workspace::root().join(root));
    let roots = own.iter().map(PathBuf::as_path).chain(more.map(|(root, _)| root));
    let mut compiler = protox::Compiler::new(roots)?;
    compiler.include_imports(true).open_file("bench/v1/bench_service.proto")?;
    if let Some((_, more)) = more {
        compiler.open_file(more)?;
    }
    // Encoded by the compiler itself: bindings are extensions of the descriptors.
    fs::write(file, compiler.encode_file_descriptor_set()).context("the descriptors can't be written")
}

/// Starts a server of the program of upstream and floors.
pub(super) async fn beside(program: &Path, server: &str, flags: &[&str], directory: &Path) -> Result<Started> {
    let port = Port::reserve()?;
    let listen = port.address().to_string();
    let arguments = [&[server, "--listen", &listen], flags].concat();
    let started = start(server, program, &arguments, port.address(), directory).await?;
    Ok(Started { _port: Some(port), ..started })
}

async fn start(
    name: &str,
    program: &Path,
    arguments: &[&str],
    address: SocketAddr,
    directory: &Path,
) -> Result<Started> {
    let log = directory.join(name).with_extension("log");
    let arguments = arguments.iter().map(Into::into).collect();
    let launch = Launch { name: name.to_owned(), program: program.to_owned(), arguments, environment: Vec::new(), log };
    let mut process = Process::start(launch)?;
    let end = Instant::now() + START;
    while TcpStream::connect(address).await.is_err() {
        process.check()?;
        if Instant::now() >= end {
            return Err(process.trouble(format!("does not listen after {START:?}")).into());
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(Started { address, process, _port: None })
}
