//! Hot reload of upstreams: one takes the place of another of its name, and goes on with what of that is still right.
//!
//! An upstream never changes, so that a call sees the same one from its first to its last attempt. What is counted of it is shared
//! with its successors: calls in flight at all of them count against one bound, and endpoints that stay keep their connections,
//! their load and their ejections. Nothing of that changes before a successor takes the place: it may still be refused.

use std::cmp::Ordering::{Equal, Greater, Less};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use accord_runtime::reload::Reloading;
use futures_util::future::join_all;
use rustls::ClientConfig;

use super::versions::Versions;
use super::{Parts, Upstream, discoveries, settings, size};
use crate::adaptive_limit::AdaptiveLimit;
use crate::bulkhead::Bulkhead;
use crate::config::{Checked, ConfigError, DiscoveryConfig, UpstreamConfig, first_contradiction};
use crate::endpoints::Endpoints;
use crate::health_status::HealthStatus;
use crate::metrics::Metrics;

/// The number of the upstream that is made next.
static MADE: AtomicU64 = AtomicU64::new(1);

impl Upstream {
    /// The upstreams of a changed configuration, in its order. One of which it says nothing new is the same as before. Another one
    /// that has the name of one before can be called at once, and goes on with what it has in common with it; once it is called
    /// instead of that, say so with [`Upstream::take_place`].
    pub fn all_after(
        before: &[Arc<Self>],
        configured: &[UpstreamConfig],
        discovery: &DiscoveryConfig,
    ) -> Result<Vec<Arc<Self>>, ConfigError> {
        first_contradiction(configured)?;
        let before = |name: &str| before.iter().find(|before| *before.name == *name);
        configured.iter().map(|config| Self::found_by(config, discovery, before(&config.name))).collect()
    }

    pub(crate) fn found_by(
        config: &UpstreamConfig,
        discovery: &DiscoveryConfig,
        before: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, ConfigError> {
        if let Some(same) = before.filter(|before| before.config == *config && before.discovery == *discovery) {
            return Ok(Arc::clone(same));
        }
        let Checked { urls, trust } = config.checked()?;
        let known = before.filter(|before| before.config.tls == config.tls).and_then(|before| before.trust.clone());
        let trust = trust.map(|trust| known.unwrap_or(trust));
        let versions = Versions::new(config, discovery, before)?;
        let before = before.map(Arc::as_ref);
        let discoveries = discoveries(urls, discovery, before);
        Ok(Self::discovered_by(config, discovery, Parts { trust, discoveries, versions }, before))
    }

    /// Connects to those of these that were not there before, and finds out how they are, so that no call has to wait for that.
    pub async fn check_new(before: &[Arc<Self>], after: &[Arc<Self>]) {
        let is_known = |upstream: &Arc<Self>| {
            before.iter().flat_map(Self::with_versions).any(|known| Arc::ptr_eq(known, upstream))
        };
        let new = after.iter().flat_map(Self::with_versions).filter(|upstream| !is_known(upstream));
        join_all(new.map(Self::check_health)).await;
    }

    /// From now on it is called instead of the one that had its name before: its bounds hold for both, whose calls in flight go
    /// on, and it judges the endpoints.
    pub fn take_place(&self) {
        self.resize(self.config.max_in_flight);
        self.metrics.observe_limit(self.adaptive_limit.as_ref());
        self.turn.take_place();
        for version in self.versions() {
            version.upstream().take_place();
        }
    }

    /// Makes room for more or fewer calls than its configuration says. Those in flight go on.
    pub fn resize(&self, max_in_flight: usize) {
        self.bulkhead.resize(max_in_flight, self.config.max_share);
        if let Some(limit) = &self.adaptive_limit {
            limit.resize(&self.config, max_in_flight);
        }
    }
}

/// What an upstream goes on with.
pub(super) struct Kept {
    pub endpoints: Arc<Endpoints>,
    pub bulkhead: Bulkhead,
    pub adaptive_limit: Option<Arc<AdaptiveLimit>>,
    pub health_status: HealthStatus,
    pub metrics: Arc<Metrics>,
    pub turn: Turn,
}

impl Kept {
    /// Of an upstream that takes nobody's place.
    pub(super) fn nothing(config: &UpstreamConfig) -> Self {
        let bulkhead = Bulkhead::new(config.max_in_flight, config.max_share);
        Self {
            endpoints: Arc::default(),
            metrics: Arc::new(Metrics::new(&config.name, &bulkhead)),
            bulkhead,
            adaptive_limit: AdaptiveLimit::new(config),
            health_status: HealthStatus::Unreachable,
            turn: Turn::first(),
        }
    }

    /// What is still right of the one before.
    pub(super) fn of(before: &Upstream, config: &UpstreamConfig, trust: Option<&Arc<Reloading<ClientConfig>>>) -> Self {
        let is_trust_same = match (&before.trust, trust) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            // Endpoints without TLS have none, so that it does not matter to them.
            _ => true,
        };
        let is_connected_alike = is_trust_same
            && before.settings == settings(config)
            && before.size == size(config)
            && before.config.slow_start == config.slow_start;
        let adaptive_limit = before.adaptive_limit.as_ref().filter(|_| before.config.adaptive == config.adaptive);
        Self {
            endpoints: if is_connected_alike { before.endpoints() } else { Arc::default() },
            bulkhead: before.bulkhead.clone(),
            adaptive_limit: adaptive_limit.map_or_else(|| AdaptiveLimit::new(config), |limit| Some(Arc::clone(limit))),
            health_status: before.health_status(),
            metrics: Arc::clone(&before.metrics),
            turn: before.turn.next(),
        }
    }
}

/// Whose turn it is, of the upstreams that take each other's place.
#[derive(Debug)]
pub(super) struct Turn {
    /// Its number; those that come later have higher ones.
    number: u64,
    /// The number of the one that is called.
    present: Arc<AtomicU64>,
}

/// Where an upstream stands among those that take each other's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It may yet be refused.
    Ahead,
    /// It is the one that is called.
    Taken,
    /// Another one is.
    Left,
}

impl Turn {
    fn first() -> Self {
        Self { number: MADE.fetch_add(1, Ordering::Relaxed), present: Arc::default() }
    }

    fn next(&self) -> Self {
        Self { present: Arc::clone(&self.present), ..Self::first() }
    }

    fn take_place(&self) {
        self.present.fetch_max(self.number, Ordering::Relaxed);
    }

    pub(super) fn place(&self) -> Place {
        match self.present.load(Ordering::Relaxed).cmp(&self.number) {
            Less => Place::Ahead,
            Equal => Place::Taken,
            Greater => Place::Left,
        }
    }
}

#[cfg(test)]
mod tests;
