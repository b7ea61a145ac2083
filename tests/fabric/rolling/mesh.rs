//! The processes of a rolling restart: two of auth, three of the cache, three of the gateway, with what they share.

use std::{
    fmt, fs,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tokio::task::block_in_place;
use toml::{Table, toml};

use super::{
    connect::Connector,
    names::{Discovery, Name},
    rotation::{Rotation, Step},
};
use crate::{Builder, Fabric, Part, Server, binaries, postgres, redis::Redis, settings};

/// Leases of near answers are granted, so that a restart meets some.
const OVERLAY: &str = "tests/journeys/near.toml";
/// How long a process may take to end in order: more than any call of the load takes.
const DRAIN: Duration = Duration::from_secs(30);
/// How old the knowledge about revocations may be.
pub(super) const STALENESS_BOUND: Duration = Duration::from_secs(3);

/// One of the processes that are restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instance {
    pub(super) part: Part,
    pub(super) at: usize,
}

impl Instance {
    /// All of them, in the order of an upgrade: who is asked comes before who asks.
    pub(super) const ALL: [Self; 8] = [
        Self { part: Part::Auth, at: 0 },
        Self { part: Part::Auth, at: 1 },
        Self { part: Part::Cache, at: 0 },
        Self { part: Part::Cache, at: 1 },
        Self { part: Part::Cache, at: 2 },
        Self { part: Part::Gateway, at: 0 },
        Self { part: Part::Gateway, at: 1 },
        Self { part: Part::Gateway, at: 2 },
    ];
}

impl Instance {
    /// All of them in the order of an upgrade, or the other way round, in that of the way back.
    pub(super) fn in_order(is_back: bool) -> Vec<Self> {
        let mut all = Self::ALL.to_vec();
        if is_back {
            all.reverse();
        }
        all
    }

    pub(super) fn is_gateway(self) -> bool {
        self.part == Part::Gateway
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.part.name(), self.at + 1)
    }
}

/// How a process is ended before it is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As by Kubernetes: its name leads to it no more, then it is asked to end, and drains.
    InOrder,
    /// The same, but those who call it are not told before.
    Unannounced,
    /// As by a power failure; nobody is told.
    Killed,
}

pub(super) struct Mesh {
    /// The first process of each part.
    fabric: Fabric,
    /// The others.
    others: Vec<(Instance, Server)>,
    auths: Name,
    caches: Name,
    gateways: Name,
    discovery: Discovery,
    /// Of certificates, where all speak TLS.
    rotation: Option<Rotation>,
    // Dropped last: everything else calls them.
    _stores: (Redis, postgres::Server),
}

impl Mesh {
    /// Starts everything, with binaries of this directory where there is one.
    pub(super) async fn start(
        programs: &Path,
        redis: Redis,
        (discovery, tls): (Discovery, bool),
        (from, kept_in): (Option<&Path>, Option<&Path>),
    ) -> Result<Self> {
        let database = block_in_place(|| postgres::Server::start(programs))?;
        let mut builder = Fabric::builder()?.overlay(OVERLAY).staleness_bound(STALENESS_BOUND);
        if let Some(directory) = kept_in {
            builder = builder.kept_in(directory);
        }
        if let Some(directory) = from {
            builder = builder.binaries(directory);
        }
        let rotation = if tls { Some(Rotation::begin()?) } else { None };
        if let Some(rotation) = &rotation {
            builder = rotation.encrypt(builder);
        }
        let scheme = if tls { "https" } else { "http" };
        let [auths, caches, gateways] = [Part::Auth, Part::Cache, Part::Gateway].map(|it| (it, builder.address(it)));
        let dns = discovery.server().await;
        let auths = Name::new(auths, scheme, dns.clone()).await?;
        let caches = Name::new(caches, scheme, dns.clone()).await?;
        let gateways = Name::new(gateways, scheme, dns.clone()).await?;
        let servers: Vec<_> = dns.iter().map(|dns| dns.socket()).collect();
        let fabric = joined(builder, &servers, (&auths, &caches), &database, &redis)?.start().await?;
        let others = Vec::new();
        let stores = (redis, database);
        let mut mesh = Self { fabric, others, auths, caches, gateways, discovery, rotation, _stores: stores };
        for instance in Instance::ALL.into_iter().filter(|instance| instance.at > 0) {
            let own = mesh.own(instance)?;
            let mut server = mesh.fabric.another_with(instance.part, own)?;
            server.wait_serving().await?;
            mesh.name(instance.part).add(server.listen);
            mesh.others.push((instance, server));
        }
        Ok(mesh)
    }

    /// What a process has of its own. By balancers, the second and third gateway see the replicas of the cache one by one; by DNS, all do.
    fn own(&self, instance: Instance) -> Result<Table> {
        Ok(match instance.part {
            _ if instance.at == 0 => Table::new(),
            Part::Cache => {
                let directory = self.fabric.directory().join(format!("data-of-cache-{}", instance.at));
                fs::create_dir_all(&directory)?;
                let directory = directory.display().to_string();
                toml! { data_dir = directory }
            }
            Part::Gateway if self.discovery == Discovery::Balancer => {
                let mut urls = self.caches.urls().into_iter();
                let url = urls.next().context("there is a cache")?;
                let replicas: Vec<_> = urls.collect();
                toml! { cache = { url = url, replicas = replicas } }
            }
            _ => Table::new(),
        })
    }

    fn name(&mut self, part: Part) -> &mut Name {
        match part {
            Part::Auth => &mut self.auths,
            Part::Cache => &mut self.caches,
            _ => &mut self.gateways,
        }
    }

    fn server(&mut self, instance: Instance) -> Result<&mut Server> {
        match (instance.part, instance.at) {
            (Part::Auth, 0) => Ok(&mut self.fabric.auth),
            (Part::Cache, 0) => Ok(&mut self.fabric.cache),
            (Part::Gateway, 0) => Ok(&mut self.fabric.gateway),
            _ => {
                let found = self.others.iter_mut().find(|(other, _)| *other == instance);
                found.map(|(_, server)| server).with_context(|| format!("there is no {instance}"))
            }
        }
    }

    /// How callers reach a gateway.
    pub(super) fn gateway(&self) -> Connector {
        self.connector(&self.gateways)
    }

    /// How auth is reached.
    pub(super) fn auth(&self) -> Connector {
        self.connector(&self.auths)
    }

    fn connector(&self, name: &Name) -> Connector {
        Connector { address: name.balancer(), trust: self.rotation.as_ref().map(Rotation::trust) }
    }

    /// Replaces files with certificates, where there are some, and waits until every process has taken that over; what was replaced.
    pub(super) async fn rotate(&mut self) -> Result<Option<Step>> {
        let Some(rotation) = &mut self.rotation else { return Ok(None) };
        let fabric = &mut self.fabric;
        let first = [
            (Part::Auth, &mut fabric.auth),
            (Part::Cache, &mut fabric.cache),
            (Part::Catalog, &mut fabric.catalog),
            (Part::Gateway, &mut fabric.gateway),
        ];
        let others = self.others.iter_mut().map(|(instance, server)| (instance.part, server));
        rotation.advance(first.into_iter().chain(others).collect()).await.map(Some)
    }

    /// How often certificates or authorities were replaced.
    pub(super) fn rotations(&self) -> Option<usize> {
        self.rotation.as_ref().map(Rotation::count)
    }

    pub(super) fn fabric(&self) -> &Fabric {
        &self.fabric
    }

    /// Ends a process and starts it again, of the binaries in this directory where there is one; how long it was away.
    pub(super) async fn restart(&mut self, instance: Instance, end: End, program: Option<&Path>) -> Result<Duration> {
        let address = self.server(instance)?.listen;
        if end == End::InOrder {
            self.name(instance.part).remove(address);
        }
        let begun = Instant::now();
        let server = self.server(instance)?;
        match end {
            End::InOrder | End::Unannounced => {
                let status = server.process.terminate(DRAIN).await?;
                ensure!(status.success(), "{instance} did not end in order: {status}\n{}", server.process.last_words());
            }
            End::Killed => drop(server.process.kill()?),
        }
        // A balancer that was not told looks after it itself, and takes it in again when it is ready.
        self.name(instance.part).remove(address);
        let address = self.start_again(instance, program).await?;
        self.name(instance.part).add(address);
        Ok(begun.elapsed())
    }

    /// Starts it again; where it serves then.
    async fn start_again(&mut self, instance: Instance, program: Option<&Path>) -> Result<SocketAddr> {
        match self.discovery {
            Discovery::Balancer => {
                let program = binaries::among(program, &format!("accord-{}", instance.part.name()))?;
                let process = &mut self.server(instance)?.process;
                process.set_program(program);
                process.restart()?;
            }
            Discovery::Dns => {
                let own = self.own(instance)?;
                let elsewhere = self.fabric.another_of(instance.part, program, own)?;
                *self.server(instance)? = elsewhere;
            }
        }
        let server = self.server(instance)?;
        server.wait_serving().await?;
        Ok(server.listen)
    }

    /// Ends the sample service, which has written all lines of its access log then; its log. It was not restarted, so all is in it.
    pub(super) async fn end_service(&mut self) -> Result<String> {
        let catalog = &mut self.fabric.catalog;
        let dropped = catalog.metric("accord_access_log_dropped_total", &[]).await?;
        ensure!(dropped < 0.5, "the sample service has left {dropped} lines out of its access log");
        catalog.process.terminate(DRAIN).await?;
        Ok(catalog.process.log())
    }

    /// Fails where a process has ended that should not have.
    pub(super) fn check(&mut self) -> Result<()> {
        self.fabric.check()?;
        self.others.iter_mut().try_for_each(|(_, server)| server.process.check())
    }
}

/// Everybody finds auth by its name, the first gateway the cache by its; all share a database and a server of limits and answers. These
/// are asked for names, where there are any.
fn joined(
    builder: Builder,
    servers: &[SocketAddr],
    (auths, caches): (&Name, &Name),
    database: &postgres::Server,
    redis: &Redis,
) -> Result<Builder> {
    let (store, log, records) = (database.url(), database.url(), database.url());
    let (limits, answers, cache) = (redis.url(), redis.url(), caches.url());
    let key = settings::token_key(redis.directory.path())?;
    let servers: Vec<_> = servers.iter().map(SocketAddr::to_string).collect();
    let of_both = || {
        let (auth, servers) = (auths.url(), servers.clone());
        toml! {
            auth = { url = auth }
            discovery = { dns = { servers = servers } }
        }
    };
    let auth = auths.balancer_url();
    let of_catalog = toml! { auth = { url = auth } };
    let mut of_cache = toml! {
        log = { url = log }
        records = { url = records }
        consistency = { token_key_file = key }
        second_level = { url = answers, password = "secret", timeout = "500ms" }
    };
    let mut of_gateway = toml! {
        cache = { url = cache }
        shared_limits = { url = limits, password = "secret" }
    };
    settings::merge(&mut of_cache, of_both());
    settings::merge(&mut of_gateway, of_both());
    let builder = builder.settings(Part::Auth, toml! { store = { url = store } });
    let builder = builder.settings(Part::Cache, of_cache).settings(Part::Gateway, of_gateway);
    Ok(builder.settings(Part::Catalog, of_catalog))
}
