//! Load balancing: an upstream, and its endpoints as discovery and their answers change them.
//!
//! [`Endpoints`] says which of them takes a call. An endpoint that can't be reached, keeps answering UNAVAILABLE, or fails more
//! calls than the others is ejected for a bounded time, but never all of them.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use accord_api::accord::policy::v1::Criticality;
use accord_runtime::criticality;
use accord_runtime::reload::Reloading;
use arc_swap::ArcSwap;
use futures_util::FutureExt;
use futures_util::future::select_all;
use rustls::ClientConfig;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout_at};

use crate::adaptive_limit::{AdaptiveLimit, Timing, Waiting};
use crate::bulkhead::{Admission, Bulkhead};
use crate::call::Call;
use crate::config::{ConfigError, DiscoveryConfig, DnsConfig, OutlierConfig, UpstreamConfig};
use crate::connect_error::{ConnectCause, ConnectError};
use crate::connection::Settings;
use crate::discovery::{Addresses, Discovered, Discovery, Dns, Fixed, Kubernetes};
use crate::endpoint::{Endpoint, InFlight};
use crate::endpoints::Endpoints;
use crate::failure::Failure;
use crate::health_status::HealthStatus;
use crate::metrics::Metrics;
use crate::outlier;
use crate::owner::CallKey;
use crate::pool::Size;
use crate::url::{Host, Url};

mod succession;
mod versions;

use succession::{Kept, Place, Turn};
pub use versions::Version;
use versions::Versions;

/// A service that is called, with the endpoints that serve it.
pub struct Upstream {
    name: Arc<str>,
    settings: Settings,
    size: Size,
    trust: Option<Arc<Reloading<ClientConfig>>>,
    discoveries: Discoveries,
    endpoints: ArcSwap<Endpoints>,
    /// What it was made of.
    config: UpstreamConfig,
    discovery: DiscoveryConfig,
    /// Changes when other endpoints are there.
    discovered: watch::Sender<()>,
    bulkhead: Bulkhead,
    adaptive_limit: Option<Arc<AdaptiveLimit>>,
    pub(crate) health_status: watch::Sender<HealthStatus>,
    pub(crate) trouble: Notify,
    metrics: Arc<Metrics>,
    versions: Versions,
    turn: Turn,
}

/// The discovery of each URL by its text, and last the one of all that need none.
type Discoveries = Box<[(Box<str>, Arc<dyn Discovery>)]>;

/// What is made of an upstream's configuration before the upstream.
pub(crate) struct Parts {
    pub trust: Option<Arc<Reloading<ClientConfig>>>,
    pub discoveries: Discoveries,
    pub versions: Versions,
}

impl Upstream {
    /// All upstreams of a configuration, in its order. Their names differ.
    pub fn all(configured: &[UpstreamConfig], discovery: &DiscoveryConfig) -> Result<Vec<Arc<Self>>, ConfigError> {
        Self::all_after(&[], configured, discovery)
    }

    /// The upstream that a configuration describes, in no zone. Connects to nothing yet, but needs a tokio runtime, in which it
    /// follows its endpoints.
    pub fn new(config: &UpstreamConfig) -> Result<Arc<Self>, ConfigError> {
        Self::resolved_by(config, &DnsConfig::default())
    }

    /// The same, with its names resolved by these name servers.
    pub fn resolved_by(config: &UpstreamConfig, dns: &DnsConfig) -> Result<Arc<Self>, ConfigError> {
        Self::found_by(config, &DiscoveryConfig { dns: dns.clone(), ..DiscoveryConfig::default() }, None)
    }

    /// An upstream whose endpoints are where its parts say, in the place of one before.
    pub(crate) fn discovered_by(
        config: &UpstreamConfig,
        discovery: &DiscoveryConfig,
        Parts { trust, discoveries, versions }: Parts,
        before: Option<&Self>,
    ) -> Arc<Self> {
        let (settings, size) = (settings(config), size(config));
        let Kept { endpoints, bulkhead, adaptive_limit, health_status, metrics, turn } =
            before.map_or_else(|| Kept::nothing(config), |before| Kept::of(before, config, trust.as_ref()));
        let upstream = Arc::new(Self {
            name: config.name.as_str().into(),
            settings,
            size,
            trust,
            discoveries,
            endpoints: ArcSwap::new(endpoints),
            config: config.clone(),
            discovery: discovery.clone(),
            discovered: watch::Sender::new(()),
            metrics,
            bulkhead,
            adaptive_limit,
            health_status: watch::Sender::new(health_status),
            trouble: Notify::new(),
            versions,
            turn,
        });
        if before.is_none() {
            upstream.take_place();
        }
        let watched: Vec<_> = upstream.discoveries.iter().map(|(_, discovery)| discovery.watch()).collect();
        upstream.update(&watched);
        tokio::spawn(follow(Arc::downgrade(&upstream), watched));
        tokio::spawn(detect_outliers(Arc::downgrade(&upstream), config.outlier_detection.clone()));
        upstream
    }

    /// The name, which is also the audience of passports for it; of a version, `UPSTREAM/VERSION`.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The endpoints that are known now.
    pub fn endpoints(&self) -> Arc<Endpoints> {
        self.endpoints.load_full()
    }

    /// Whether it may be worth a call: some endpoint is not ejected. For whoever can do without it.
    pub fn is_available(&self) -> bool {
        let (endpoints, now) = (self.endpoints.load(), Instant::now());
        endpoints.iter().any(|endpoint| !endpoint.is_ejected(now))
    }

    /// A place among the calls in flight, and among those that wait for the head of their answer.
    pub(crate) fn admit(&self, call: &Call<'_>) -> Result<(Admission, Option<Waiting<'_>>), Failure> {
        let (criticality, holder) = (call.criticality, call.holder());
        let waiting = match (&self.adaptive_limit, call.timed) {
            (Some(limit), Some(_)) => limit.enter(criticality, holder).map(Some),
            // A stream waits for its caller, or for something to happen.
            (Some(limit), None) => limit.look(criticality).map(|()| None),
            (None, _) => Ok(None),
        };
        let waiting = waiting.map_err(|_| self.refused(criticality, Failure::Shed))?;
        let admission = self.bulkhead.admit(holder, criticality::kept(criticality, self.bulkhead.most()));
        Ok((admission.ok_or_else(|| self.refused(criticality, Failure::Overloaded))?, waiting))
    }

    /// A place among the calls in flight for one of generated stubs: nobody knows what its time says.
    pub(crate) fn admit_untimed(&self) -> Result<Admission, Failure> {
        let admission = self.bulkhead.admit(None, 0);
        admission.ok_or_else(|| self.refused(Criticality::CriticalPlus, Failure::Overloaded))
    }

    fn refused(&self, criticality: Criticality, failure: Failure) -> Failure {
        self.metrics.refused(criticality, matches!(failure, Failure::Shed));
        failure
    }

    /// Measures the time to the head of a call's answer, where that says something.
    pub(crate) fn time(&self, call: &Call<'_>, since: Instant, is_sent: bool) -> Option<Timing<'_>> {
        self.adaptive_limit.as_ref().zip(call.timed).map(|(limit, method)| limit.time(method, since, is_sent))
    }

    /// Takes a place at the better of two endpoints drawn at random; none where none is known. Waits for the first answer
    /// of discovery, but no longer than a connection may take.
    pub(crate) async fn pick(self: &Arc<Self>) -> Option<Picked> {
        self.pick_for_key(None).await
    }

    /// The same at the owner of a key, where the call has one.
    pub(crate) async fn pick_for_key(self: &Arc<Self>, key: Option<CallKey>) -> Option<Picked> {
        if let Some(picked) = self.pick_now(key, None) {
            return Some(picked);
        }
        self.wait_for_endpoints().await?;
        self.pick_now(key, None)
    }

    fn pick_now(&self, key: Option<CallKey>, avoid: Option<&Arc<Endpoint>>) -> Option<Picked> {
        let Some(of) = key else { return self.choose(avoid).map(|endpoint| Picked::at(&endpoint)) };
        let endpoints = self.endpoints.load();
        let (endpoint, why) = endpoints.for_key(of, avoid)?;
        if let Some(why) = why {
            self.metrics.taken_by_other_than_owner(why);
        }
        Some(Picked { key, ..Picked::at(endpoint) })
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
        self.pick_now(None, Some(failed))
    }

    /// The same for a call that was at `failed` for its key: the next in the order of the key's endpoints.
    pub(crate) fn pick_next(&self, key: Option<CallKey>, failed: &Arc<Endpoint>) -> Option<Picked> {
        self.pick_now(key, Some(failed))
    }

    /// Why there may be no endpoint at all.
    pub fn no_endpoint(&self) -> ConnectCause {
        if self.config.is_in_kubernetes() { ConnectCause::NotReady } else { ConnectCause::Unresolved }
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
        for (_, discovery) in &self.discoveries {
            discovery.refresh();
        }
    }

    pub(crate) fn choose(&self, avoid: Option<&Arc<Endpoint>>) -> Option<Arc<Endpoint>> {
        self.endpoints.load().choose(avoid).cloned()
    }

    /// Takes over what discovery says now. What is known of endpoints that stay, stays known; calls in flight at those that go
    /// keep them until they end.
    fn update(&self, watched: &[watch::Receiver<Addresses>]) {
        let known = self.endpoints.load();
        let endpoint = |found: &Discovered| {
            let address = &found.address;
            let same = known.iter().find(|endpoint| endpoint.address() == address);
            let (settings, size, slow_start) = (self.settings, self.size, self.config.slow_start);
            let fresh = || Endpoint::new(address, self.trust.as_ref(), settings, size, slow_start, &self.metrics);
            same.map_or_else(fresh, Arc::clone)
        };
        let found = watched.iter().flat_map(|watched| watched.borrow().to_vec()).collect();
        self.endpoints.store(Arc::new(Endpoints::new(found, &self.discovery.zone, Instant::now(), endpoint)));
        self.discovered.send_replace(());
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Upstream").field("name", &self.name).finish_non_exhaustive()
    }
}

/// How connections to its endpoints are made.
fn settings(config: &UpstreamConfig) -> Settings {
    Settings {
        connect_timeout: config.connect_timeout,
        keepalive_interval: config.keepalive_interval,
        keepalive_timeout: config.keepalive_timeout,
        max_header_bytes: config.max_header_bytes,
    }
}

/// How many of them.
fn size(config: &UpstreamConfig) -> Size {
    Size { usual: config.connections, most: config.max_connections }
}

/// One discovery for what the configuration lists, and one for each name. Those of names that were followed before go on.
fn discoveries(urls: Vec<Arc<Url>>, config: &DiscoveryConfig, before: Option<&Upstream>) -> Discoveries {
    let DiscoveryConfig { dns, kubernetes, .. } = config;
    let known = before.filter(|before| before.discovery.kubernetes == *kubernetes && before.discovery.dns == *dns);
    let known = |url: &Url| {
        let followed = known?.discoveries.iter().find(|(text, _)| *text == url.text)?;
        Some(Arc::clone(&followed.1))
    };
    let mut listed = Vec::new();
    let mut discoveries: Vec<(Box<str>, Arc<dyn Discovery>)> = Vec::new();
    for url in urls {
        let text = url.text.clone();
        let discovery: Arc<dyn Discovery> = match &url.host {
            Host::Address(socket) => {
                listed.push(Discovered::at(*socket, &url));
                continue;
            }
            Host::Name(..) | Host::Service(_) => known(&url).unwrap_or_else(|| Arc::new(Dns::new(url, dns))),
            Host::Kubernetes(service) => known(&url)
                .unwrap_or_else(|| Arc::new(Kubernetes::new(Arc::clone(&url), service.clone(), kubernetes.clone()))),
        };
        discoveries.push((text, discovery));
    }
    discoveries.push((Box::default(), Arc::new(Fixed::new(listed))));
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

/// Judges the endpoints after each interval, for as long as the upstream is there and no other has taken its place.
async fn detect_outliers(upstream: Weak<Upstream>, config: OutlierConfig) {
    loop {
        sleep(config.interval).await;
        let Some(upstream) = upstream.upgrade() else { return };
        match upstream.turn.place() {
            Place::Ahead => {}
            Place::Taken => outlier::judge(&upstream.endpoints(), &config, Instant::now()),
            Place::Left => return,
        }
    }
}

/// A place at an endpoint: counted as in flight until it is dropped, or until the answer's last byte was read.
#[derive(Debug)]
pub(crate) struct Picked {
    pub in_flight: InFlight,
    /// The key that led there.
    pub key: Option<CallKey>,
}

impl Picked {
    pub(crate) fn at(endpoint: &Arc<Endpoint>) -> Self {
        Self { in_flight: endpoint.enter(), key: None }
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
