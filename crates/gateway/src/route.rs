//! Which endpoint of an upstream takes a call, and the call itself: bytes in, bytes out.
//!
//! The choice is power-of-two over peak EWMA latency times the calls really in flight. An endpoint that can't be
//! reached, or keeps answering UNAVAILABLE, is set aside for a short bounded time, but never all of them.

mod endpoint;
mod held;
mod load;
mod metrics;
mod probe;
mod unreachable;

use std::cmp::Ordering;
use std::sync::Arc;

use rand::seq::IteratorRandom;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::config::UpstreamConfig;
use endpoint::{Endpoint, InFlight};
use held::Held;
use metrics::Metrics;
pub use probe::Liveness;
pub use unreachable::Unreachable;

/// A service behind the gateway, with the endpoints that serve it.
#[derive(Debug)]
pub struct Upstream {
    name: Arc<str>,
    endpoints: Box<[Arc<Endpoint>]>,
    liveness: watch::Sender<Liveness>,
    trouble: Notify,
    metrics: Metrics,
}

impl Upstream {
    /// All upstreams of a configuration, in its order. Their names differ.
    pub fn all(configured: &[UpstreamConfig]) -> Result<Vec<Arc<Self>>, RouteError> {
        for (index, upstream) in configured.iter().enumerate() {
            if upstream.name.is_empty() {
                return Err(RouteError::Nameless);
            }
            if configured[..index].iter().any(|other| other.name == upstream.name) {
                return Err(RouteError::Twice(upstream.name.clone()));
            }
        }
        configured.iter().map(Self::new).collect()
    }

    /// The upstream that a configuration describes. Connects to nothing yet, but needs a tokio runtime for the
    /// connections' background tasks.
    pub fn new(config: &UpstreamConfig) -> Result<Arc<Self>, RouteError> {
        if config.urls.is_empty() {
            return Err(RouteError::NoEndpoint(config.name.clone()));
        }
        let endpoints =
            config.urls.iter().map(|url| Endpoint::lazy(url, config).map(Arc::new)).collect::<Result<_, _>>()?;
        Ok(Arc::new(Self {
            name: config.name.as_str().into(),
            endpoints,
            liveness: watch::Sender::new(Liveness::Away),
            trouble: Notify::new(),
            metrics: Metrics::new(&config.name),
        }))
    }

    /// The name, which is also the audience of passports for it.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The URLs of its endpoints, as configured.
    pub fn urls(&self) -> impl Iterator<Item = String> {
        self.endpoints.iter().map(|endpoint| endpoint.url().to_owned())
    }

    /// Takes a seat at the better of two endpoints drawn at random.
    pub fn pick(self: &Arc<Self>) -> Picked {
        self.seat(self.choose(None))
    }

    /// As [`Upstream::pick`], but at another endpoint than the one that just failed, where there is another.
    pub fn pick_other_than(self: &Arc<Self>, failed: usize) -> Picked {
        self.seat(self.choose(Some(failed)))
    }

    /// Whether at least one endpoint served when it was last asked.
    pub fn is_up(&self) -> bool {
        self.liveness() == Liveness::Serving
    }

    /// What the best of its endpoints was when it was last asked.
    pub fn liveness(&self) -> Liveness {
        *self.liveness.borrow()
    }

    /// [`Upstream::liveness`], as it changes. Also tells when it may have been away for a moment.
    pub fn watch(&self) -> watch::Receiver<Liveness> {
        self.liveness.subscribe()
    }

    fn seat(self: &Arc<Self>, index: usize) -> Picked {
        Picked { index, seat: self.endpoints[index].enter(), upstream: Arc::clone(self) }
    }

    fn choose(&self, avoid: Option<usize>) -> usize {
        let now = Instant::now();
        let usable = |index: &usize| Some(*index) != avoid && !self.endpoints[*index].is_ejected(now);
        self.better_of_two((0..self.endpoints.len()).filter(usable), now)
            // With everything set aside, any endpoint is better than a certain refusal.
            .or_else(|| self.better_of_two(0..self.endpoints.len(), now))
            .unwrap_or_default()
    }

    fn better_of_two(&self, candidates: impl Iterator<Item = usize>, now: Instant) -> Option<usize> {
        let mut drawn = [0; 2];
        match candidates.sample_fill(&mut rand::rng(), &mut drawn) {
            0 => None,
            1 => Some(drawn[0]),
            _ => {
                let [first, second] = drawn.map(|index| self.endpoints[index].cost(now));
                match first.total_cmp(&second) {
                    Ordering::Less => Some(drawn[0]),
                    Ordering::Greater => Some(drawn[1]),
                    // The draw is random, its order is not.
                    Ordering::Equal => Some(drawn[usize::from(rand::random::<bool>())]),
                }
            }
        }
    }
}

/// A seat at an endpoint: counted as in flight until it is dropped, or until the answer's last byte was read.
#[derive(Debug)]
pub struct Picked {
    index: usize,
    seat: InFlight,
    upstream: Arc<Upstream>,
}

impl Picked {
    /// Which endpoint it is, for [`Upstream::pick_other_than`].
    pub fn index(&self) -> usize {
        self.index
    }

    /// The endpoint's URL.
    pub fn url(&self) -> &str {
        self.seat.endpoint().url()
    }

    /// A connection to the endpoint, for calls about it rather than through it.
    pub fn channel(&self) -> Channel {
        self.seat.endpoint().channel()
    }

    /// Sends the request to the endpoint. The path is kept; scheme and authority become the endpoint's. Where no answer
    /// comes, `is_cut_off` says whether the request's own body broke off: that is not held against the endpoint.
    pub async fn call(
        mut self,
        request: http::Request<tonic::body::Body>,
        is_cut_off: impl Fn() -> bool,
    ) -> Result<http::Response<tonic::body::Body>, Unreachable> {
        let started = Instant::now();
        let answer = self.seat.endpoint().send(request).await;
        self.upstream.metrics.attempted(started.elapsed(), answer.is_ok());
        match answer {
            Ok(response) => {
                self.seat.answered();
                // An answer without a body carries its status in the head.
                if response.headers().contains_key("grpc-status") {
                    held::judge(&self.seat, response.headers());
                }
                Ok(response.map(|body| tonic::body::Body::new(Held::new(body, self.seat))))
            }
            Err(error) if error == Unreachable::Late || is_cut_off() => Err(error),
            Err(error) => {
                self.seat.failed(error);
                self.upstream.trouble.notify_one();
                Err(error)
            }
        }
    }
}

/// Why an upstream can't be routed to as configured.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// No name.
    #[error("an upstream has no name: give each [[upstream]] a `name`")]
    Nameless,
    /// Two of one name.
    #[error("two upstreams are named {0}: give each [[upstream]] its own `name`, and one of them several `urls`")]
    Twice(String),
    /// No URL.
    #[error("upstream {0} has no endpoint: give it at least one URL, `--upstream {0}=http://host:port`")]
    NoEndpoint(String),
    /// A URL or a certificate that can't be used.
    #[error("upstream {upstream} has an endpoint that can't be used, {url}: {source}")]
    Endpoint {
        /// The upstream's name.
        upstream: String,
        /// The URL as configured.
        url: String,
        /// What is wrong with it.
        source: Box<accord_runtime::client::ClientError>,
    },
}

#[cfg(test)]
mod tests;
