//! The fabric: the real binaries on loopback, joined as in production, with everything that a test may do to them.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use accord_fabric::{EDITOR, Fabric};
//!
//! let mut fabric = Fabric::start().await?;
//! let token = fabric.token(EDITOR).await?;
//! fabric.cache.process.kill()?;
//! let answer = fabric.get("/v1/products/oak-desk").token(&token).send().await?;
//! # Ok(()) }
//! ```
//!
//! A fabric has its own directory, ports, keys and databases, so that no two tests meet. Its processes end with it.

pub mod binaries;
mod builder;
pub mod certificates;
mod declared_metrics;
mod home;
pub mod http;
mod identities;
pub mod memory;
pub mod metrics;
pub mod mutual_tls;
mod ports;
pub mod postgres;
mod process;
pub mod raw_http2;
pub mod redis;
pub mod rolling;
mod script;
mod second;
mod server;
mod settings;
pub mod soak;
mod tcp_proxy;
pub mod tool;
pub mod web;
pub mod websocket;
pub mod wire;
mod writers;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use ::http::Method;
use accord_api::catalog::v1::product_service_client::ProductServiceClient;
use anyhow::Result;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

pub use crate::{
    builder::{Addresses, Builder},
    identities::{EDITOR, READER, STRANGER},
    ports::Port,
    process::{Launch, Process, Trouble},
    script::Script,
    server::Server,
    settings::Part,
    tcp_proxy::TcpProxy,
};
use crate::{home::Home, http::HttpCall, identities::Identities, ports::Ports};

/// How long a binary may take to drain before the fabric calls it a failure.
const DRAIN: Duration = Duration::from_secs(15);

/// The running binaries. They are killed when this is dropped.
pub struct Fabric {
    /// The gateway.
    pub gateway: Server,
    /// Where services call each other: the gateway's internal listener.
    pub internal: SocketAddr,
    /// The sample's second service, where [`Builder::orders`] asked for it.
    pub orders: Option<Server>,
    /// The sample service.
    pub catalog: Server,
    /// The cache.
    pub cache: Server,
    /// Auth.
    pub auth: Server,
    scripts: Vec<Script>,
    identities: Identities,
    binaries: Option<PathBuf>,
    // Dropped last, so that no process writes into a directory that is gone.
    home: Home,
    ports: Ports,
}

impl Fabric {
    /// Starts everything as it comes, on free ports and in a directory of its own, and waits until all serve.
    pub async fn start() -> Result<Self> {
        Self::builder()?.start().await
    }

    /// A fabric that is to be otherwise.
    pub fn builder() -> Result<Builder> {
        Builder::new()
    }

    /// An access token of a person: [`EDITOR`], [`READER`], [`STRANGER`], or one that [`Fabric::manage`] added.
    pub async fn token(&self, subject: &str) -> Result<String> {
        self.identities.token(subject).await
    }

    /// Runs one of auth's subcommands on the fabric's store, such as `["token", "revoke", "--subject", EDITOR]`, and
    /// returns what it prints.
    pub async fn manage(&self, arguments: &[&str]) -> Result<String> {
        self.identities.manage(arguments).await
    }

    /// A GET of the gateway.
    pub fn get(&self, path: &str) -> HttpCall {
        self.call(Method::GET, path)
    }

    /// Any HTTP/1.1 call of the gateway.
    pub fn call(&self, method: Method, path: &str) -> HttpCall {
        HttpCall::new(self.gateway.listen, method, path)
    }

    /// The sample service through the gateway, as gRPC.
    pub fn products(&self, token: &str) -> Result<ProductServiceClient<InterceptedService<Channel, Bearer>>> {
        Ok(ProductServiceClient::with_interceptor(self.gateway.channel()?, Bearer::new(token)?))
    }

    /// The scripts, in the order in which the builder was given them.
    pub fn scripts(&mut self) -> &mut [Script] {
        &mut self.scripts
    }

    /// Where the fabric keeps its files.
    pub fn directory(&self) -> &Path {
        self.home.path()
    }

    /// Where its processes write their logs, `NAME.log` each.
    pub fn logs(&self) -> PathBuf {
        self.home.logs()
    }

    /// A configuration file of the fabric, for subcommands that want one.
    pub fn config(&self, part: Part) -> PathBuf {
        self.home.config(part.name())
    }

    /// The file with the secret of a binary, which it follows.
    pub fn secret(&self, part: Part) -> PathBuf {
        self.home.secret(part.name())
    }

    /// The file of policies that auth was given, which it follows.
    pub fn policies(&self) -> PathBuf {
        self.home.policies()
    }

    /// Fails with its last words if any process has ended.
    pub fn check(&mut self) -> Result<()> {
        self.processes().try_for_each(Process::check)
    }

    /// Drains and ends everything, the gateway first, so that nobody calls what is gone.
    pub async fn stop(mut self) -> Result<()> {
        for process in self.processes() {
            process.terminate(DRAIN).await?;
        }
        Ok(())
    }

    /// Every process, from the gateway inward.
    pub fn processes(&mut self) -> impl Iterator<Item = &mut Process> {
        let inward = [&mut self.catalog, &mut self.cache, &mut self.auth];
        let servers =
            [&mut self.gateway].into_iter().chain(&mut self.orders).chain(inward).map(|server| &mut server.process);
        servers.chain(self.scripts.iter_mut().map(|script| &mut script.process))
    }
}

/// Presents an access token with every call.
#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl Bearer {
    /// Presents this token.
    pub fn new(token: &str) -> Result<Self> {
        Ok(Self(format!("Bearer {token}").parse()?))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}
