//! Endpoints from Kubernetes: the `EndpointSlices` of a Service, listed once and watched from there.

mod slices;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::iter::successors;
use std::sync::Arc;
use std::time::Duration;

use accord_runtime::backoff::Backoff;
use futures_util::{StreamExt, pin_mut};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::updates::Updates;
use super::{Addresses, Discovery};
use crate::config::KubernetesConfig;
use crate::url::{KubernetesService, Url};
use slices::Slices;

/// The most endpoints of a Service that are kept: those of ten slices of the usual size.
const MAX_ENDPOINTS: usize = 1000;

/// How long the API server lets a watch last. A connection that broke without a word is noticed so late, and [`GRACE`] later.
const WATCH_TIME: u32 = 60;

/// How much later than it should a watch may end.
const GRACE: Duration = Duration::from_secs(5);

/// How long the API server may take to answer, and a connection to it to be made.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The shortest time between two requests, where one after the other ends at once.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// The wait after the first failure, doubled with each further one in a row.
const FIRST_BACKOFF: Duration = MIN_INTERVAL;

/// The longest wait between failures.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// Waits are shortened at random by up to this share, so that gateways which lost the API server together do not come back together.
const JITTER: f64 = 0.3;

/// The label by which a slice names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The API server has forgotten the version that was asked for: what there is has to be listed anew.
const GONE: u16 = 410;

/// The endpoints of a URL such as `http+k8s://catalog.shop:9000`, from the `EndpointSlices` of the Service `catalog` in the
/// namespace `shop`.
///
/// **How.** The slices are listed, and watched from the version of the list on. A watch that ends or breaks is resumed from the
/// last version that it told, bookmarks included; where the API server knows that version no more (410), everything is listed
/// anew. A watch is asked for a minute at most, so that a dead connection is noticed.
///
/// **Failures.** What was found last stays for as long as the API server can't be reached, or refuses. It is asked again after
/// 1 s, doubled with each failure up to 30 s. The log tells the first failure of a row, and the recovery.
///
/// **Which endpoints.** [`Slices::endpoints`] says it. None at all is an answer too: a Service that was scaled to zero.
///
/// The work ends when this value is dropped; the watch closes then.
#[derive(Debug)]
pub(crate) struct Kubernetes {
    addresses: watch::Receiver<Addresses>,
    task: JoinHandle<()>,
}

impl Kubernetes {
    /// Starts to follow a Service, on the runtime that this is called in.
    pub(crate) fn new(url: Arc<Url>, service: KubernetesService, config: KubernetesConfig) -> Self {
        let (updates, addresses) = Updates::new("Kubernetes", url, MAX_ENDPOINTS);
        let follower = Follower { service, config, updates, slices: Slices::default(), version: None, told: None };
        Self { addresses, task: tokio::spawn(follower.follow()) }
    }
}

impl Discovery for Kubernetes {
    fn watch(&self) -> watch::Receiver<Addresses> {
        self.addresses.clone()
    }
}

impl Drop for Kubernetes {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is known of a Service's slices.
struct Follower {
    service: KubernetesService,
    config: KubernetesConfig,
    updates: Updates,
    slices: Slices,
    /// As of when; none where they have to be listed.
    version: Option<String>,
    /// The ports that there were when none of them was the one that is asked for, as they were told last.
    told: Option<String>,
}

impl Follower {
    async fn follow(mut self) {
        let mut backoff = Backoff::new(FIRST_BACKOFF, LONGEST_BACKOFF, JITTER);
        loop {
            let Err(failure) = self.follow_with_a_client(&mut backoff).await;
            let remedy = failure.remedy();
            self.updates.failed(&failure, remedy);
            sleep(backoff.next_wait()).await;
        }
    }

    /// With one client, until a request fails.
    async fn follow_with_a_client(&mut self, backoff: &mut Backoff) -> Result<Infallible, Failure> {
        let api = api(&self.config, &self.service)?;
        loop {
            let earliest_next = Instant::now() + MIN_INTERVAL;
            let version = match self.version.clone() {
                Some(version) => version,
                None => self.list(&api).await?,
            };
            self.watch(&api, &version, backoff).await?;
            sleep_until(earliest_next).await;
        }
    }

    async fn list(&mut self, api: &Api<EndpointSlice>) -> Result<String, Failure> {
        let params = ListParams::default().labels(&self.selector());
        let list = timeout(REQUEST_TIMEOUT, api.list(&params)).await.map_err(|_elapsed| Failure::Timeout)??;
        let version = list.metadata.resource_version.filter(|version| !version.is_empty());
        let version = version.ok_or(Failure::Unversioned)?;
        self.slices.replace(list.items);
        self.version = Some(version.clone());
        self.publish();
        Ok(version)
    }

    /// Takes changes in until the watch ends. That it broke is no failure yet: only that another one can't be had is.
    async fn watch(&mut self, api: &Api<EndpointSlice>, version: &str, backoff: &mut Backoff) -> Result<(), Failure> {
        let params = WatchParams::default().labels(&self.selector()).timeout(WATCH_TIME);
        let opened =
            timeout(REQUEST_TIMEOUT, api.watch(&params, version)).await.map_err(|_elapsed| Failure::Timeout)?;
        let events = match opened {
            Err(kube::Error::Api(status)) if status.code == GONE => {
                self.version = None;
                return Ok(());
            }
            opened => opened?,
        };
        self.updates.works();
        backoff.reset();
        pin_mut!(events);
        let end = Instant::now() + Duration::from_secs(WATCH_TIME.into()) + GRACE;
        while let Ok(Some(event)) = timeout_at(end, events.next()).await {
            match event {
                Ok(event) => self.apply(event)?,
                // What can't be read is missing, and only a list makes up for it.
                Err(error @ kube::Error::SerdeError(_)) => {
                    self.version = None;
                    return Err(error.into());
                }
                Err(_broken) => return Ok(()),
            }
            if self.version.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn apply(&mut self, event: WatchEvent<EndpointSlice>) -> Result<(), Failure> {
        match event {
            WatchEvent::Added(slice) | WatchEvent::Modified(slice) => {
                self.version.clone_from(&slice.metadata.resource_version);
                self.slices.insert(slice);
                self.publish();
            }
            WatchEvent::Deleted(slice) => {
                self.version.clone_from(&slice.metadata.resource_version);
                self.slices.remove(&slice);
                self.publish();
            }
            WatchEvent::Bookmark(bookmark) => self.version = Some(bookmark.metadata.resource_version),
            // What was found stays until it is listed anew.
            WatchEvent::Error(status) if status.code == GONE => self.version = None,
            WatchEvent::Error(status) => return Err(kube::Error::Api(status).into()),
        }
        Ok(())
    }

    fn publish(&mut self) {
        let found = self.slices.endpoints(self.updates.url(), &self.service.port);
        let is_missing = found.is_empty() && !self.slices.is_empty();
        self.tell_ports(is_missing);
        self.updates.found(found);
    }

    /// Says once that none of the ports is the one that is asked for, or that no endpoint of it is ready.
    fn tell_ports(&mut self, is_missing: bool) {
        let ports = is_missing.then(|| self.slices.ports());
        if self.told == ports {
            return;
        }
        if let Some(ports) = &ports {
            let url = &self.updates.url().text;
            let remedy =
                "name a port of the Service, or the number on which its pods listen, and see whether they are ready";
            tracing::warn!(%url, ports, remedy, "no endpoint in the EndpointSlices is ready on this port");
        }
        self.told = ports;
    }

    fn selector(&self) -> String {
        format!("{SERVICE_NAME}={}", self.service.name)
    }
}

/// A client that has its own connection and reads its files anew. Over plaintext it sends no token.
fn api(config: &KubernetesConfig, service: &KubernetesService) -> Result<Api<EndpointSlice>, Failure> {
    let url = config.parsed().ok_or(Failure::Url)?;
    let is_encrypted = url.scheme_str() == Some("https");
    let mut client = kube::Config::new(url);
    client.connect_timeout = Some(REQUEST_TIMEOUT);
    // Failures are waited for here, each with its line in the log.
    client.default_retry = false;
    // No authority but those of the file, which is read again as it changes.
    client.root_cert = Some(Vec::new());
    if is_encrypted {
        client.root_cert_file = Some(config.ca_file.clone());
        client.auth_info.token_file = Some(config.token_file.display().to_string());
    }
    Ok(Api::namespaced(Client::try_from(client)?, &service.namespace))
}

/// Why the API server does not say where endpoints are.
#[derive(Debug)]
enum Failure {
    /// Its URL is none.
    Url,
    /// It took too long.
    Timeout,
    /// Its list has no version to go on from.
    Unversioned,
    /// What it, or the way to it, said.
    Request(Box<kube::Error>),
}

impl Failure {
    /// What whoever runs this process can do about it.
    fn remedy(&self) -> &'static str {
        match self {
            Self::Request(error) => match &**error {
                kube::Error::Api(status) if status.code == 403 => {
                    "give the service account a Role to `list` and `watch` `endpointslices` of `discovery.k8s.io` in the namespace"
                }
                kube::Error::Api(status) if status.code == 401 => "mount the token of the service account",
                _ => {
                    "check `discovery.kubernetes`, that the service account's token and authority are mounted, and that no \
                     network policy lies between"
                }
            },
            Self::Timeout => "check `discovery.kubernetes.url`, and that no network policy lies between",
            Self::Url | Self::Unversioned => "give the URL of an API server in `discovery.kubernetes.url`",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url => formatter.write_str("the API server's URL is none"),
            Self::Timeout => formatter.write_str("the API server did not answer in time"),
            Self::Unversioned => formatter.write_str("the API server's list has no version"),
            Self::Request(error) => match &**error {
                kube::Error::Api(status) => {
                    write!(formatter, "the API server said {}: {}", status.code, status.message)
                }
                error => {
                    let first: &dyn Error = error;
                    let last = successors(Some(first), |error| (*error).source()).last();
                    write!(formatter, "the API server can't be asked: {}", last.unwrap_or(first))
                }
            },
        }
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        Self::Request(Box::new(error))
    }
}
