//! Versions of an upstream (weighted clusters, header-matched routes): endpoints of their own under one name, and which of them
//! takes a call.
//!
//! The choice is made once a call, so that its retries and hedged attempts stay in one version. Each version has bounds,
//! connections and ejection of its own; nothing goes to another one because a version is down.

use std::sync::{Arc, LazyLock};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::Upstream;
use crate::config::{ConfigError, DiscoveryConfig, UpstreamConfig, VersionConfig, version};

static DEFAULT: LazyLock<Arc<str>> = LazyLock::new(|| version::DEFAULT.into());

/// A version of an upstream, beside the endpoints of the upstream itself.
#[derive(Debug)]
pub struct Version {
    name: Arc<str>,
    weight: u32,
    headers: Box<[(HeaderName, HeaderValue)]>,
    upstream: Arc<Upstream>,
}

impl Version {
    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Its endpoints, which are called `UPSTREAM/VERSION` in metrics, logs and errors.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// Its share of the calls that no match fits, among all weights.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// The headers of the calls that go to it, whatever its weight is.
    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    fn fits(&self, headers: &HeaderMap) -> bool {
        let has = |(name, value): &(HeaderName, HeaderValue)| headers.get_all(name).iter().any(|given| given == value);
        !self.headers.is_empty() && self.headers.iter().all(has)
    }
}

/// The versions of an upstream.
#[derive(Debug, Default)]
pub(crate) struct Versions {
    /// The weight of the upstream's own endpoints.
    own: u32,
    total: u64,
    others: Box<[Version]>,
}

impl Versions {
    /// Those that an upstream has beside its own endpoints, in the place of those that it had before.
    pub(crate) fn new(
        config: &UpstreamConfig,
        discovery: &DiscoveryConfig,
        before: Option<&Arc<Upstream>>,
    ) -> Result<Self, ConfigError> {
        let made = |version: &VersionConfig| {
            let before = before.and_then(|before| before.version(&version.name));
            Ok(Version {
                name: version.name.as_str().into(),
                weight: version.weight,
                headers: version.matched(),
                upstream: Upstream::found_by(&version.upstream(config), discovery, before)?,
            })
        };
        let others = config.version.iter().map(made).collect::<Result<_, ConfigError>>()?;
        Ok(Self { own: config.weight, total: version::total(config), others })
    }

    /// The place of the version to which a call with these headers goes: the first that its headers fit, else one by weight.
    fn choose(&self, headers: &HeaderMap, draw: impl FnOnce(u64) -> u64) -> Option<usize> {
        if self.others.is_empty() {
            return None;
        }
        if let Some(fitting) = self.others.iter().position(|version| version.fits(headers)) {
            return Some(fitting);
        }
        // Somebody has a weight, or the configuration would have been refused.
        let mut left = draw(self.total.max(1)).checked_sub(self.own.into())?;
        self.others.iter().position(|version| {
            let is_drawn = left < u64::from(version.weight);
            left = left.saturating_sub(version.weight.into());
            is_drawn
        })
    }
}

impl Upstream {
    /// Its versions beside its own endpoints, in the order of the configuration.
    pub fn versions(&self) -> &[Version] {
        &self.versions.others
    }

    /// The weight of its own endpoints, and the sum of all weights.
    pub fn weights(&self) -> (u32, u64) {
        (self.versions.own, self.versions.total)
    }

    /// The place of the version to which a call with these headers goes; none where it is the upstream's own endpoints.
    pub fn choose_version(&self, headers: &HeaderMap) -> Option<usize> {
        self.versions.choose(headers, |total| rand::random_range(0..total))
    }

    /// The name of a version, or of its own endpoints; none where there are no versions.
    pub fn version_name(&self, version: Option<usize>) -> Option<&Arc<str>> {
        if self.versions().is_empty() {
            return None;
        }
        Some(version.map_or(&DEFAULT, |place| &self.versions()[place].name))
    }

    /// Its own endpoints, and those of each version.
    pub fn with_versions(self: &Arc<Self>) -> impl Iterator<Item = &Arc<Self>> {
        std::iter::once(self).chain(self.versions().iter().map(Version::upstream))
    }

    /// The endpoints of a version by its name; its own for the empty name.
    pub fn version(self: &Arc<Self>, name: &str) -> Option<&Arc<Self>> {
        if name.is_empty() {
            return Some(self);
        }
        self.versions().iter().find(|version| *version.name == *name).map(Version::upstream)
    }
}

#[cfg(test)]
mod tests;
