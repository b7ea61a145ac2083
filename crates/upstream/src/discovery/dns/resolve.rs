//! One resolution: the hosts file, then the name servers that the system is configured with.

#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Once;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{Hosts, Resolver, TokioResolver, system_conf};

use crate::url::Host;

/// The most addresses that are kept, and the most SRV targets whose addresses are asked for: each address costs connections
/// and a place in the balancer. Services of more replicas are better balanced by a proxy of their own.
pub(super) const MAX_ADDRESSES: usize = 256;

/// The time that name servers have for one try, and how many tries follow the first. Both tries fit into the time of a
/// resolution, so that a family that nobody answers for does not take the other one with it.
const TRY_TIMEOUT: Duration = Duration::from_secs(2);
const FURTHER_TRIES: usize = 1;

/// SRV targets whose addresses are asked for at a time, with two questions each; a connection of the resolver carries 32.
const TARGETS_AT_A_TIME: usize = 8;

/// How long an answer of `getaddrinfo` is used, which tells no TTL: what Envoy takes (`dns_refresh_rate`).
const UNKNOWN_TTL: Duration = Duration::from_secs(5);

/// What a resolution found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolution {
    /// At least one address, in no order, perhaps repeatedly.
    pub(super) sockets: Vec<SocketAddr>,
    /// The smallest of all records that led to them.
    pub(super) ttl: Duration,
}

/// Why a resolution found nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Dns(#[from] NetError),
    #[error("getaddrinfo: {0}")]
    System(#[from] io::Error),
    #[error("it has no address")]
    Empty,
    #[error("its SRV record says that the service is not offered")]
    NotOffered,
    #[error("SRV records can't be asked for without a configuration of name servers: {0}")]
    NoNameServers(NetError),
    #[error("it took too long")]
    Timeout,
}

/// Resolves a host as the system is configured at this moment; where name servers are given, these are asked instead of its own.
pub(super) async fn by_servers(host: &Host, servers: &[SocketAddr]) -> Result<Resolution, Failure> {
    resolve(if servers.is_empty() { Names::system() } else { Names::of(servers) }, host).await
}

async fn resolve(names: Result<Names, NetError>, host: &Host) -> Result<Resolution, Failure> {
    match (names, host) {
        (_, Host::Address(socket)) => Ok(Resolution { sockets: vec![*socket], ttl: Duration::MAX }),
        (Ok(names), Host::Name(name, port)) => names.addresses(parse(name)?, *port).await,
        (Ok(names), Host::Service(name)) => names.service(parse(name)?).await,
        (Err(error), Host::Name(name, port)) => {
            static SAID: Once = Once::new();
            SAID.call_once(|| {
                tracing::warn!(%error, "the DNS configuration can't be read: names are resolved by getaddrinfo");
            });
            let sockets: Vec<_> = tokio::net::lookup_host((&**name, *port)).await?.collect();
            Resolution { sockets, ttl: UNKNOWN_TTL }.or_empty()
        }
        (Err(error), Host::Service(_)) => Err(Failure::NoNameServers(error)),
        // Its endpoints are no records of DNS.
        (_, Host::Kubernetes(_)) => Err(Failure::Empty),
    }
}

fn parse(name: &str) -> Result<Name, Failure> {
    // Underscores are common in the names of containers, and not allowed in host names.
    Name::from_str_relaxed(name).map_err(|error| NetError::from(error).into())
}

impl Resolution {
    fn or_empty(self) -> Result<Self, Failure> {
        if self.sockets.is_empty() { Err(Failure::Empty) } else { Ok(self) }
    }
}

/// Where names are looked up.
struct Names {
    hosts: Hosts,
    dns: TokioResolver,
}

impl Names {
    fn system() -> Result<Self, NetError> {
        let (mut config, options) = system_conf::read_system_conf()?;
        if !config.search().is_empty() {
            // The domain of the machine's own name counts only where no search list is configured, see resolv.conf(5).
            config.domain = None;
        }
        Self::new(config, options, Hosts::from_system().unwrap_or_default())
    }

    /// By these name servers. A machine without any of its own has no search domains either.
    fn of(servers: &[SocketAddr]) -> Result<Self, NetError> {
        let (system, options) = system_conf::read_system_conf().unwrap_or_default();
        let servers = servers.iter().map(|server| {
            // What does not fit into a datagram is asked for again by TCP.
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = server.port();
                connection
            });
            NameServerConfig::new(server.ip(), true, connections.into())
        });
        let config = ResolverConfig::from_parts(None, system.search().to_vec(), servers.collect());
        Self::new(config, options, Hosts::from_system().unwrap_or_default())
    }

    fn new(config: ResolverConfig, mut options: ResolverOpts, hosts: Hosts) -> Result<Self, NetError> {
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.timeout = TRY_TIMEOUT;
        options.attempts = FURTHER_TRIES;
        // A resolution asks each question once.
        options.cache_size = 0;
        // The resolver would ask for the whole search list, and for the other family, before a line of the hosts file.
        options.use_hosts_file = ResolveHosts::Never;
        let dns =
            Resolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options).build()?;
        Ok(Self { hosts, dns })
    }

    async fn addresses(&self, name: Name, port: u16) -> Result<Resolution, Failure> {
        let known = [RecordType::A, RecordType::AAAA]
            .into_iter()
            .filter_map(|family| self.hosts.lookup_static_host(&Query::query(name.clone(), family)))
            .flat_map(|lookup| lookup.answers().to_vec())
            .collect::<Vec<_>>();
        if !known.is_empty() {
            return answer(&known, port);
        }
        answer(self.dns.lookup_ip(name).await?.as_lookup().answers(), port)
    }

    async fn service(&self, name: Name) -> Result<Resolution, Failure> {
        let lookup = self.dns.srv_lookup(name).await?;
        let targets = targets(lookup.answers())?;
        let found: Vec<_> = stream::iter(targets)
            .map(|target| self.addresses(target.target, target.port))
            .buffer_unordered(TARGETS_AT_A_TIME)
            .collect()
            .await;
        let mut sum = Resolution { sockets: Vec::new(), ttl: smallest_ttl(lookup.answers()) };
        let mut last = Failure::Empty;
        for one in found {
            match one {
                Ok(answer) => {
                    sum.sockets.extend(answer.sockets);
                    sum.ttl = sum.ttl.min(answer.ttl);
                }
                Err(failure) => last = failure,
            }
        }
        if sum.sockets.is_empty() { Err(last) } else { Ok(sum) }
    }
}

/// The targets of the lowest priority, one more than count at most, so that more is noticed.
fn targets(records: &[Record]) -> Result<Vec<SRV>, Failure> {
    let records =
        || records.iter().filter_map(|record| if let RData::SRV(srv) = &record.data { Some(srv) } else { None });
    let lowest = records().map(|srv| srv.priority).min().ok_or(Failure::Empty)?;
    let mut targets: Vec<_> =
        records().filter(|srv| srv.priority == lowest && !srv.target.is_root()).cloned().collect();
    if targets.is_empty() {
        return Err(Failure::NotOffered);
    }
    targets.sort_unstable_by(|a, b| (&a.target, a.port).cmp(&(&b.target, b.port)));
    targets.dedup_by(|a, b| (&a.target, a.port) == (&b.target, b.port));
    targets.truncate(MAX_ADDRESSES + 1);
    Ok(targets)
}

fn answer(records: &[Record], port: u16) -> Result<Resolution, Failure> {
    let addresses = records.iter().filter_map(|record| record.data.ip_addr());
    let sockets = addresses.map(|address: IpAddr| SocketAddr::new(address, port)).collect();
    Resolution { sockets, ttl: smallest_ttl(records) }.or_empty()
}

/// The smallest TTL of the records, aliases (CNAME) included.
fn smallest_ttl(records: &[Record]) -> Duration {
    records.iter().map(|record| Duration::from_secs(record.ttl.into())).min().unwrap_or_default()
}
