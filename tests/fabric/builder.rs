//! What a fabric is to be like, and the steps in which it comes up.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;
use toml::{Table, toml};

use crate::{
    Fabric, binaries,
    home::{self, Home},
    identities::Identities,
    ports::Ports,
    process::{Launch, Process},
    script::Script,
    server::Server,
    settings::{self, Part},
};

/// Where the binaries serve.
pub struct Addresses {
    parts: BTreeMap<Part, (SocketAddr, SocketAddr)>,
    internal: SocketAddr,
}

/// The port of the gateway's internal listener, as the documentation names it.
const INTERNAL_PORT: u16 = 8082;

/// Above the settings of each binary, for whoever would change them there.
const WRITTEN_ANEW: &str = "# Written anew at each start, such as by `cargo xtask up`: what is changed here is lost.\n";

impl Addresses {
    /// The ports that the documentation names, on loopback.
    pub fn documented() -> Self {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let both = |part: Part| (loopback(part.default_port()), loopback(part.default_port() + 1));
        Self { parts: Part::ALL.map(|part| (part, both(part))).into(), internal: loopback(INTERNAL_PORT) }
    }

    /// The same ports, moved so that the gateway has this one; none where there is no room for all of them.
    pub fn from(base: u16) -> Option<Self> {
        let moved = |address: SocketAddr| {
            let port = base.checked_add(address.port() - Part::Gateway.default_port())?;
            Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        };
        let Self { parts, internal } = Self::documented();
        let both = |(part, (listen, admin))| Some((part, (moved(listen)?, moved(admin)?)));
        Some(Self { parts: parts.into_iter().map(both).collect::<Option<_>>()?, internal: moved(internal)? })
    }

    fn free(ports: &mut Ports) -> Result<Self> {
        let both = |part| Ok((part, (ports.reserve()?, ports.reserve()?)));
        Ok(Self { parts: Part::ALL.into_iter().map(both).collect::<Result<_>>()?, internal: ports.reserve()? })
    }

    /// Where a binary serves, and where its admin port is.
    pub fn of(&self, part: Part) -> (SocketAddr, SocketAddr) {
        self.parts[&part]
    }

    /// Where the gateway's internal listener is.
    pub fn internal(&self) -> SocketAddr {
        self.internal
    }

    /// Every address, and whose it is.
    pub fn all(&self) -> impl Iterator<Item = (Part, SocketAddr)> {
        let parts = self.parts.iter().flat_map(|(part, (listen, admin))| [(*part, *listen), (*part, *admin)]);
        parts.chain([(Part::Gateway, self.internal)])
    }
}

/// A fabric to be.
#[must_use]
pub struct Builder {
    pub(crate) addresses: Addresses,
    pub(crate) overlays: Vec<PathBuf>,
    pub(crate) policies: Vec<PathBuf>,
    pub(crate) upstreams: Vec<(String, String)>,
    pub(crate) upstream_settings: BTreeMap<String, Table>,
    pub(crate) is_cache_fronted: bool,
    pub(crate) has_orders: bool,
    pub(crate) staleness_bound: Option<Duration>,
    pub(crate) otlp: Option<String>,
    pub(crate) settings: BTreeMap<Part, Table>,
    configs: Vec<(Part, PathBuf)>,
    environment: Vec<(Part, String, String)>,
    scripts: Vec<(String, String, SocketAddr)>,
    calling_scripts: BTreeSet<String>,
    kept: Option<PathBuf>,
    binaries: Option<PathBuf>,
    ports: Ports,
}

impl Builder {
    pub(crate) fn new() -> Result<Self> {
        let mut ports = Ports::default();
        Ok(Self {
            addresses: Addresses::free(&mut ports)?,
            overlays: Vec::new(),
            policies: Vec::new(),
            upstreams: Vec::new(),
            upstream_settings: BTreeMap::new(),
            is_cache_fronted: false,
            has_orders: false,
            staleness_bound: None,
            otlp: None,
            settings: BTreeMap::new(),
            configs: Vec::new(),
            environment: Vec::new(),
            scripts: Vec::new(),
            calling_scripts: BTreeSet::new(),
            kept: None,
            binaries: None,
            ports,
        })
    }

    /// Keeps its files in this directory, and goes on with what an earlier fabric left there.
    pub fn kept_in(mut self, directory: impl Into<PathBuf>) -> Self {
        self.kept = Some(directory.into());
        self
    }

    /// Starts the binaries of this directory, instead of those that fit the caller.
    pub fn binaries(mut self, directory: impl Into<PathBuf>) -> Self {
        self.binaries = Some(directory.into());
        self
    }

    /// Serves there instead of on free ports.
    pub fn on(mut self, addresses: Addresses) -> Self {
        self.addresses = addresses;
        self
    }

    /// Where a binary will serve.
    pub fn address(&self, part: Part) -> SocketAddr {
        self.addresses.of(part).0
    }

    /// Gives the gateway an overlay, by its path, which may begin in the workspace; a later one is stronger.
    pub fn overlay(mut self, path: impl AsRef<Path>) -> Self {
        self.overlays.push(binaries::workspace().join(path));
        self
    }

    /// Gives auth a file with Cedar policies beside the sample's, by its path, which may begin in the workspace.
    pub fn policy(mut self, path: impl AsRef<Path>) -> Self {
        self.policies.push(binaries::workspace().join(path));
        self
    }

    /// Puts one more service behind the gateway and the cache, or one more endpoint of a service.
    pub fn upstream(mut self, name: &str, url: &str) -> Self {
        self.upstreams.push((name.to_owned(), url.to_owned()));
        self
    }

    /// Puts the cache's own services behind the gateway, as the upstream `cache`.
    pub fn cache_fronted(mut self) -> Self {
        self.is_cache_fronted = true;
        self
    }

    /// Starts the sample's second service as well, behind the gateway as the upstream `orders`. It keeps baskets in a namespace of
    /// the cache, which the gateway fronts for that; another namespace, `carts`, is the one of the guide's lines.
    pub fn orders(mut self) -> Self {
        self.has_orders = true;
        self.cache_fronted()
    }

    /// Lays settings over those of an upstream, such as `descriptors` or `connections`.
    pub fn upstream_settings(mut self, name: &str, stronger: Table) -> Self {
        settings::merge(self.upstream_settings.entry(name.to_owned()).or_default(), stronger);
        self
    }

    /// Starts a Python script, by its path in the workspace, and puts it behind the gateway under this name.
    pub fn script(mut self, name: &str, path: &str) -> Result<Self> {
        let address = self.ports.reserve()?;
        self.scripts.push((name.to_owned(), path.to_owned(), address));
        Ok(self.upstream(name, &format!("http://{address}")))
    }

    /// The same for a script that calls its neighbours: it is a client of auth by this name, and flags tell it where the mesh is.
    pub fn calling_script(mut self, name: &str, path: &str) -> Result<Self> {
        self.calling_scripts.insert(name.to_owned());
        self.script(name, path)
    }

    /// How old the knowledge about revocations may be, at every binary.
    pub fn staleness_bound(mut self, bound: Duration) -> Self {
        self.staleness_bound = Some(bound);
        self
    }

    /// Where every binary sends its traces and metrics.
    pub fn otlp(mut self, endpoint: &str) -> Self {
        self.otlp = Some(endpoint.to_owned());
        self
    }

    /// Auth's metadata name the address where it really is, and this command line may ask for device codes.
    pub fn devices(self, client: &str) -> Self {
        let url = format!("http://{}", self.address(Part::Auth));
        let settings = toml! {
            [oauth]
            url = url
            [oauth.device]
            clients = [client]
        };
        self.settings(Part::Auth, settings)
    }

    /// Lays settings over those that the fabric makes for a binary.
    pub fn settings(mut self, part: Part, stronger: Table) -> Self {
        settings::merge(self.settings.entry(part).or_default(), stronger);
        self
    }

    /// Gives a binary one more configuration file, by its path, which may begin in the workspace; a later one is stronger.
    pub fn config(mut self, part: Part, path: impl AsRef<Path>) -> Self {
        self.configs.push((part, binaries::workspace().join(path)));
        self
    }

    /// Sets a variable in a binary's environment.
    pub fn environment(mut self, part: Part, key: &str, value: &str) -> Self {
        self.environment.push((part, key.to_owned(), value.to_owned()));
        self
    }

    /// Starts everything, and waits until all serve.
    pub async fn start(self) -> Result<Fabric> {
        let home = match &self.kept {
            Some(directory) => Home::kept(directory)?,
            None => Home::temporary()?,
        };
        for part in self.parts() {
            let settings = settings::of(part, &self, &home);
            home::write(&home.config(part.name()), format!("{WRITTEN_ANEW}{settings}"))?;
        }
        let configs = self.config_flags(Part::Auth, &home);
        let (program, is_plain) = (self.program(Part::Auth)?, self.is_plain(Part::Auth));
        let identities = Identities::prepare(&home, program, configs, self.parts(), is_plain).await?;
        let scripts = self.start_scripts(&home, &identities).await?;
        // Each starts when those it calls serve: what it does not find, it looks for again only after a while.
        let auth = self.serving(Part::Auth, &home).await?;
        let (cache, catalog, orders) = tokio::try_join!(
            self.serving(Part::Cache, &home),
            self.serving(Part::Catalog, &home),
            self.serving_orders(&home)
        )?;
        let gateway = self.serving(Part::Gateway, &home).await?;
        let (internal, binaries, ports) = (self.addresses.internal(), self.binaries, self.ports);
        Ok(Fabric { gateway, internal, orders, catalog, cache, auth, scripts, identities, binaries, home, ports })
    }

    async fn start_scripts(&self, home: &Home, identities: &Identities) -> Result<Vec<Script>> {
        let mut started = Vec::new();
        for (name, path, address) in &self.scripts {
            let calls = self.calling_scripts.contains(name);
            let flags = if calls { self.mesh_flags(name, home, identities).await? } else { Vec::new() };
            started.push(Script::start(name, path, flags, *address, home.log(name)).await?);
        }
        Ok(started)
    }

    /// Makes a script a client of auth, and returns the flags that tell it so.
    async fn mesh_flags(&self, name: &str, home: &Home, identities: &Identities) -> Result<Vec<String>> {
        let secret = home.secret(name).display().to_string();
        identities.manage(&["client", "add", name, "--secret-file", &secret, "--if-absent"]).await?;
        let (gateway, auth) = (self.addresses.internal().to_string(), self.addresses.of(Part::Auth).0.to_string());
        let flags =
            [("--gateway", &*gateway), ("--auth", &auth), ("--client-id", name), ("--client-secret-file", &secret)];
        Ok(flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value.to_owned()]).collect())
    }

    /// Whether nobody configures a binary otherwise than in any other fabric.
    fn is_plain(&self, part: Part) -> bool {
        !self.settings.contains_key(&part) && self.configs.iter().all(|(whose, _)| *whose != part)
    }

    /// What is started, in that order.
    fn parts(&self) -> impl Iterator<Item = Part> {
        Part::ALL.into_iter().filter(|part| *part != Part::Orders || self.has_orders)
    }

    /// What of it is behind the gateway.
    pub(crate) fn own_upstreams(&self) -> impl Iterator<Item = Part> {
        let is_upstream = |part: &Part| match part {
            Part::Catalog | Part::Orders => true,
            Part::Cache => self.is_cache_fronted,
            Part::Auth | Part::Gateway => false,
        };
        self.parts().filter(is_upstream)
    }

    async fn serving_orders(&self, home: &Home) -> Result<Option<Server>> {
        if self.has_orders { self.serving(Part::Orders, home).await.map(Some) } else { Ok(None) }
    }

    async fn serving(&self, part: Part, home: &Home) -> Result<Server> {
        let mut server = self.launch(part, home)?;
        server.wait_serving().await?;
        Ok(server)
    }

    fn launch(&self, part: Part, home: &Home) -> Result<Server> {
        let (listen, admin) = self.addresses.of(part);
        let environment = self.environment.iter().filter(|(whose, ..)| *whose == part);
        let launch = Launch {
            name: part.name().to_owned(),
            program: self.program(part)?,
            arguments: [OsString::from("serve")].into_iter().chain(self.config_flags(part, home)).collect(),
            environment: environment.map(|(_, key, value)| (key.clone(), value.clone())).collect(),
            log: home.log(part.name()),
        };
        let is_encrypted = self.settings.get(&part).is_some_and(settings::is_encrypted);
        Ok(Server { process: Process::start(launch)?, listen, admin, is_encrypted, services: self.services(part) })
    }

    /// The files that a binary reads, as its command line names them.
    fn config_flags(&self, part: Part, home: &Home) -> Vec<OsString> {
        let own = [home.config(part.name())];
        let given = self.configs.iter().filter(|(whose, _)| *whose == part).map(|(_, file)| file.clone());
        own.into_iter().chain(given).flat_map(|file| ["--config".into(), file.into()]).collect()
    }

    fn program(&self, part: Part) -> Result<PathBuf> {
        let name = format!("accord-{}", part.name());
        binaries::among(self.binaries.as_deref(), &name)
    }

    /// The gateway tells for each upstream, under its name, whether it can be called.
    fn services(&self, part: Part) -> Vec<String> {
        let scripts = self.scripts.iter().map(|(name, ..)| name.as_str());
        let fronted = self.own_upstreams().map(|part| -> &str { part.name() }).chain(scripts);
        let fronted = fronted.filter(|_| part == Part::Gateway);
        [""].into_iter().chain(fronted).map(str::to_owned).collect()
    }
}
