//! The upstreams that answers are loaded from. Nobody can make the cache call any other address.
//!
//! Another configuration of them is taken over while it serves, as a whole or not at all: loads that are under way end where they
//! began.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use accord_api::accord::fault::v1::Reason;
use accord_runtime::fault;
use accord_upstream::{ConfigError, DiscoveryConfig, Upstream, UpstreamConfig};
use arc_swap::ArcSwap;
use tokio::task::JoinSet;
use tonic::Status;

/// The sections of the configuration that are taken over.
pub(crate) const RELOADED: [&str; 2] = ["discovery", "upstream"];

/// The upstreams that the configuration holds. Clones share them.
#[derive(Clone)]
pub struct Upstreams(Arc<Parts>);

struct Parts {
    present: ArcSwap<HashMap<Arc<str>, Arc<Upstream>>>,
    /// The tasks that ask how each of them is; one that is dropped ends.
    checks: Mutex<Vec<(Arc<Upstream>, JoinSet<()>)>>,
}

impl Upstreams {
    /// Connects to nothing yet.
    pub fn new(configured: &[UpstreamConfig], discovery: &DiscoveryConfig) -> Result<Self, ConfigError> {
        let present = by_name(Upstream::all(configured, discovery)?);
        Ok(Self(Arc::new(Parts { present: ArcSwap::from_pointee(present), checks: Mutex::default() })))
    }

    /// Asks all endpoints from time to time whether they live, so that a dead one is known before a load finds out: those of the
    /// present upstreams, and no others any more.
    pub fn keep_checking_health(&self) {
        let present = self.0.present.load();
        let mut checks = self.0.checks.lock().unwrap_or_else(PoisonError::into_inner);
        let versions: Vec<_> = present.values().flat_map(Upstream::with_versions).collect();
        checks.retain(|(checked, _)| versions.iter().any(|version| Arc::ptr_eq(version, checked)));
        for version in versions {
            if !checks.iter().any(|(checked, _)| Arc::ptr_eq(checked, version)) {
                let task = JoinSet::from_iter([Arc::clone(version).keep_checking_health()]);
                checks.push((Arc::clone(version), task));
            }
        }
    }

    /// Takes over what a configuration says of them, once what is new is connected to; or says why that can't be.
    pub async fn reconfigure(
        &self,
        configured: &[UpstreamConfig],
        discovery: &DiscoveryConfig,
    ) -> Result<(), ConfigError> {
        let before: Vec<_> = self.0.present.load().values().cloned().collect();
        let after = Upstream::all_after(&before, configured, discovery)?;
        Upstream::check_new(&before, &after).await;
        self.0.present.store(Arc::new(by_name(after.iter().cloned())));
        for upstream in after {
            upstream.take_place();
        }
        self.keep_checking_health();
        Ok(())
    }

    /// The upstream of a name.
    pub fn find(&self, name: &str) -> Result<Arc<Upstream>, Status> {
        self.0.present.load().get(name).cloned().ok_or_else(|| {
            let problem =
                format!("the cache's configuration holds no upstream {name:?}: give it the [[upstream]] section");
            fault::status(Reason::UpstreamUnknown, problem)
        })
    }

    /// A version of an upstream; its own endpoints for the empty name.
    pub fn find_version(&self, name: &str, version: &str) -> Result<Arc<Upstream>, Status> {
        self.find(name)?.version(version).cloned().ok_or_else(|| {
            let problem = format!(
                "the cache's configuration holds no version {version:?} of the upstream {name:?}: give it the \
                 [[upstream.version]] section"
            );
            fault::status(Reason::UpstreamUnknown, problem)
        })
    }
}

impl fmt::Debug for Upstreams {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.0.present.load().keys()).finish()
    }
}

fn by_name(upstreams: impl IntoIterator<Item = Arc<Upstream>>) -> HashMap<Arc<str>, Arc<Upstream>> {
    upstreams.into_iter().map(|upstream| (Arc::clone(upstream.name()), upstream)).collect()
}
