//! Load balancing: an upstream, and which of its endpoints takes a call (power of two choices).
//!
//! The choice is power of two over peak EWMA latency times the calls really in flight. An endpoint that can't be reached,
//! or keeps answering UNAVAILABLE, is ejected for a short bounded time, but never all of them.

use std::cmp::Ordering;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use accord_runtime::fair_share::Holder;
use accord_runtime::reload::Reloading;
use arc_swap::ArcSwap;
use futures_util::FutureExt;
use futures_util::future::select_all;
use rand::seq::{IteratorRandom, index};
use rustls::ClientConfig;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use crate::bulkhead::{Admission, Bulkhead};
use crate::config::{Checked, ConfigError, UpstreamConfig};
use crate::connect_error::ConnectError;
use crate::connection::Settings;
use crate::discovery::{Address, Addresses, Discovery, Dns, Fixed};
use crate::endpoint::{Endpoint, InFlight};
use crate::health_status::HealthStatus;
use crate::metrics::Metrics;
use crate::pool::Size;
use crate::url::{Host, Url};

/// A service that is called, with the endpoints that serve it.
pub struct Upstream {
    name: Arc<str>,
    settings: Settings,
    size: Size,
    trust: Option<Arc<Reloading<ClientConfig>>>,
    discoveries: Box<[Box<dyn Discovery>]>,
    endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
    /// Changes when other endpoints are there.
    discovered: watch::Sender<()>,
    bulkhead: Bulkhead,
    pub(crate) health_status: watch::Sender<HealthStatus>,
    pub(crate) trouble: Notify,
    metrics: Arc<Metrics>,
}

impl Upstream {
    /// All upstreams of a configuration, in its order. Their names differ.
    pub fn all(configured: &[UpstreamConfig]) -> Result<Vec<Arc<Self>>, ConfigError> {
        crate::config::first_contradiction(configured)?;
        configured.iter().map(Self::new).collect()
    }

    /// The upstream that a configuration describes. Connects to nothing yet, but needs a tokio runtime, in which it follows
    /// its endpoints.
    pub fn new(config: &UpstreamConfig) -> Result<Arc<Self>, ConfigError> {
        let Checked { urls, trust } = config.checked()?;
        Ok(Self::discovered_by(config, trust, discoveries(urls)))
    }

    /// An upstream whose endpoints are where these say.
    pub(crate) fn discovered_by(
        config: &UpstreamConfig,
        trust: Option<Reloading<ClientConfig>>,
        discoveries: Box<[Box<dyn Discovery>]>,
    ) -> Arc<Self> {
        let bulkhead = Bulkhead::new(config.max_in_flight, config.max_share);
        let upstream = Arc::new(Self {
            name: config.name.as_str().into(),
            settings: Settings {
                connect_timeout: config.connect_timeout,
                keepalive_interval: config.keepalive_interval,
                keepalive_timeout: config.keepalive_timeout,
                max_header_bytes: config.max_header_bytes,
            },
            size: Size { usual: config.connections, most: config.max_connections },
            trust: trust.map(Arc::new),
            discoveries,
            endpoints: ArcSwap::default(),
            discovered: watch::Sender::new(()),
            metrics: Arc::new(Metrics::new(&config.name, bulkhead.in_flight(), config.max_in_flight)),
            bulkhead,
            health_status: watch::Sender::new(HealthStatus::Unreachable),
            trouble: Notify::new(),
        });
        let watched: Vec<_> = upstream.discoveries.iter().map(|discovery| discovery.watch()).collect();
        upstream.update(&watched);
        tokio::spawn(follow(Arc::downgrade(&upstream), watched));
        upstream
    }

    /// The name, which is also the audience of passports for it.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The endpoints that are known now.
    pub fn endpoints(&self) -> Arc<Vec<Arc<Endpoint>>> {
        self.endpoints.load_full()
    }

    /// Whether it may be worth a call: some endpoint is not ejected. For whoever can do without it.
    pub fn is_available(&self) -> bool {
        let (endpoints, now) = (self.endpoints.load(), Instant::now());
        endpoints.iter().any(|endpoint| !endpoint.is_ejected(now))
    }

    /// A place among the calls in flight; none where all are taken, or the caller has its share of them.
    pub(crate) fn admit(&self, holder: Option<Holder>) -> Option<Admission> {
        let admission = self.bulkhead.admit(holder);
        if admission.is_none() {
            self.metrics.refused();
        }
        admission
    }

    /// Takes a place at the better of two endpoints drawn at random; none where none is known. Waits for the first answer
    /// of discovery, but no longer than a connection may take.
    pub(crate) async fn pick(self: &Arc<Self>) -> Option<Picked> {
        if let Some(endpoint) = self.choose(None) {
            return Some(Picked::at(&endpoint));
        }
        self.wait_for_endpoints().await?;
        self.choose(None).map(|endpoint| Picked::at(&endpoint))
    }

    /// Waits until discovery has said something, but no longer than a connection may take; whether it has.
    pub(crate) async fn wait_for_endpoints(&self) -> Option<()> {
        let mut discovered = self.discovered.subscribe();
        let end = Instant::now() + self.settings.connect_timeout;
        while self.endpoints.load().is_empty() {
            timeout_at(end, discovered.changed()).await.ok()?.ok()?;
        }
        Some(())
    }

    /// As [`Upstream::pick`], but at another endpoint than the one that just failed, where there is another.
    pub(crate) fn pick_other_than(&self, failed: &Arc<Endpoint>) -> Option<Picked> {
        self.choose(Some(failed)).map(|endpoint| Picked::at(&endpoint))
    }

    /// Why the last connection that was tried could not be made.
    pub(crate) fn connect_failure(&self) -> Option<Arc<ConnectError>> {
        self.endpoints.load().iter().find_map(|endpoint| endpoint.connect_failure())
    }

    pub(crate) fn max_header_bytes(&self) -> usize {
        self.settings.max_header_bytes as usize
    }

    pub(crate) fn attempted(&self, elapsed: Duration, has_response_headers: bool) {
        self.metrics.attempted(elapsed, has_response_headers);
    }

    pub(crate) fn health_checked(&self, serving: usize) {
        self.metrics.health_checked(serving);
    }

    /// A call found no endpoint there: it may be elsewhere by now.
    pub(crate) fn request_health_check(&self) {
        self.trouble.notify_one();
        for discovery in &self.discoveries {
            discovery.refresh();
        }
    }

    pub(crate) fn choose(&self, avoid: Option<&Arc<Endpoint>>) -> Option<Arc<Endpoint>> {
        let endpoints = self.endpoints.load();
        match endpoints.as_slice() {
            [] => return None,
            [only] => return Some(Arc::clone(only)),
            _ => {}
        }
        let now = Instant::now();
        let is_avoided = |endpoint| avoid.is_some_and(|avoid| Arc::ptr_eq(avoid, endpoint));
        let is_usable = |index: &usize| !is_avoided(&endpoints[*index]) && !endpoints[*index].is_ejected(now);
        // As long as all are well, only the two that are drawn are looked at, however many there are.
        let drawn = index::sample_array(&mut rand::rng(), endpoints.len());
        if let Some([first, second]) = drawn.filter(|drawn| drawn.iter().all(is_usable)) {
            return Some(Arc::clone(better(&endpoints[first], &endpoints[second], now)));
        }
        better_of_two(&endpoints, (0..endpoints.len()).filter(is_usable), now)
            // With everything ejected, any endpoint is better than a certain refusal.
            .or_else(|| better_of_two(&endpoints, 0..endpoints.len(), now))
            .cloned()
    }

    /// Takes over what discovery says now. What is known of endpoints that stay, stays known.
    fn update(&self, watched: &[watch::Receiver<Addresses>]) {
        let known = self.endpoints.load();
        let endpoint = |address: &Address| {
            let same = known.iter().find(|endpoint| endpoint.address() == address);
            let fresh = || Endpoint::new(address, self.trust.as_ref(), self.settings, self.size, &self.metrics);
            same.map_or_else(fresh, Arc::clone)
        };
        let addresses = watched.iter().flat_map(|watched| watched.borrow().to_vec());
        self.endpoints.store(Arc::new(addresses.map(|address| endpoint(&address)).collect()));
        self.discovered.send_replace(());
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Upstream").field("name", &self.name).finish_non_exhaustive()
    }
}

/// One discovery for what the configuration lists, and one for each name.
fn discoveries(urls: Vec<Arc<Url>>) -> Box<[Box<dyn Discovery>]> {
    let mut listed = Vec::new();
    let mut discoveries: Vec<Box<dyn Discovery>> = Vec::new();
    for url in urls {
        match url.host {
            Host::Address(socket) => listed.push(Address { socket, url }),
            Host::Name(..) | Host::Service(_) => discoveries.push(Box::new(Dns::new(url))),
        }
    }
    discoveries.push(Box::new(Fixed::new(listed)));
    discoveries.into()
}

/// Follows discovery for as long as the upstream is there.
async fn follow(upstream: Weak<Upstream>, mut watched: Vec<watch::Receiver<Addresses>>) {
    loop {
        let changes = watched.iter_mut().map(|watched| watched.changed().boxed());
        if select_all(changes).await.0.is_err() {
            return;
        }
        let Some(upstream) = upstream.upgrade() else { return };
        upstream.update(&watched);
    }
}

/// The better of two of the candidates, by their places in the list.
fn better_of_two(
    endpoints: &[Arc<Endpoint>],
    candidates: impl Iterator<Item = usize>,
    now: Instant,
) -> Option<&Arc<Endpoint>> {
    let mut drawn = [0; 2];
    let count = candidates.sample_fill(&mut rand::rng(), &mut drawn);
    let [first, second] = drawn.map(|index| &endpoints[index]);
    match count {
        0 => None,
        1 => Some(first),
        _ => Some(better(first, second, now)),
    }
}

fn better<'a>(first: &'a Arc<Endpoint>, second: &'a Arc<Endpoint>, now: Instant) -> &'a Arc<Endpoint> {
    match first.cost(now).total_cmp(&second.cost(now)) {
        Ordering::Less => first,
        // The draw is random, its order is not.
        Ordering::Equal if rand::random() => first,
        Ordering::Equal | Ordering::Greater => second,
    }
}

/// A place at an endpoint: counted as in flight until it is dropped, or until the answer's last byte was read.
#[derive(Debug)]
pub(crate) struct Picked {
    pub in_flight: InFlight,
}

impl Picked {
    pub(crate) fn at(endpoint: &Arc<Endpoint>) -> Self {
        Self { in_flight: endpoint.enter() }
    }

    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        self.in_flight.endpoint()
    }

    pub(crate) fn is_ejected(&self) -> bool {
        self.endpoint().is_ejected(Instant::now())
    }
}

#[cfg(test)]
mod tests;
