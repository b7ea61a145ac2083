//! The names by which the processes of a rolling restart are found: a plain TCP balancer before those of each part, or records of a
//! name server.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use accord_test_dns::Server as Dns;
use anyhow::Result;

use crate::{Part, TcpProxy};

/// The name of the machine on which all that is found by DNS listens.
const TARGET: &str = "loopback.test";
/// How long a record holds, in seconds: the shortest that is heeded.
const TTL: u32 = 1;
/// How long each who asks DNS may take to know a process that is new: its records hold for a second, and are then asked for again.
pub(super) const KNOWN_WITHIN: Duration = Duration::from_secs(2);

/// How gateways and caches find auth and the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// By a plain TCP balancer before the processes of each part. A process comes back where it was.
    Balancer,
    /// By SRV records that lead to each process, as those of a headless Service do. A process comes back at another address, as a pod
    /// does.
    Dns,
}

/// The name of a part. It always has a balancer: clients and the sample service know nothing else.
pub(super) struct Name {
    part: Part,
    scheme: &'static str,
    proxy: TcpProxy,
    dns: Option<Arc<Dns>>,
    behind: Vec<SocketAddr>,
}

impl Discovery {
    /// The name server, where there is to be one.
    pub(super) async fn server(self) -> Option<Arc<Dns>> {
        if self == Self::Balancer {
            return None;
        }
        let server = Dns::start().await;
        server.addresses(TARGET, TTL, &["127.0.0.1"]);
        Some(Arc::new(server))
    }
}

impl Name {
    /// Its first process. `scheme` says how all of them are called, `http` or `https`.
    pub(super) async fn new(
        (part, first): (Part, SocketAddr),
        scheme: &'static str,
        dns: Option<Arc<Dns>>,
    ) -> Result<Self> {
        let proxy = TcpProxy::start(Vec::new()).await?;
        let mut name = Self { part, scheme, proxy, dns, behind: Vec::new() };
        name.add(first);
        Ok(name)
    }

    pub(super) fn add(&mut self, address: SocketAddr) {
        self.behind.push(address);
        self.publish();
    }

    pub(super) fn remove(&mut self, address: SocketAddr) {
        self.behind.retain(|other| *other != address);
        self.publish();
    }

    fn publish(&self) {
        self.proxy.share(self.behind.clone());
        if let Some(dns) = &self.dns {
            let services: Vec<_> = self.behind.iter().map(|address| (1, address.port(), TARGET)).collect();
            dns.services(&self.part.service_record(), TTL, &services);
        }
    }

    /// The processes that it leads to, as URLs.
    pub(super) fn urls(&self) -> Vec<String> {
        self.behind.iter().map(|address| format!("{}://{address}", self.scheme)).collect()
    }

    /// The balancer.
    pub(super) fn balancer(&self) -> SocketAddr {
        self.proxy.address()
    }

    /// Where gateways and caches find it.
    pub(super) fn url(&self) -> String {
        match self.dns {
            Some(_) => format!("{}+srv://{}", self.scheme, self.part.service_record()),
            None => self.balancer_url(),
        }
    }

    /// Where whoever has no name server of its own finds it.
    pub(super) fn balancer_url(&self) -> String {
        format!("{}://{}", self.scheme, self.balancer())
    }
}
