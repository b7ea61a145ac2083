//! What a contract is built from: the descriptors of each upstream, and overlays.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use accord_contract::{Contract, Method, Overlay, Severity, Source, refused};
use accord_upstream::{Client, ConnectCause, HealthStatus, Upstream};
use futures_util::future::join_all;
use tokio::time::timeout;

use crate::config::{Config, UpstreamConfig};
use crate::reflect::{self, Descriptors, ReflectError};

/// How long an upstream that seems to be away may take to answer, so that the reason can be logged.
const AWAY_TIMEOUT: Duration = Duration::from_secs(1);

/// How many methods one warning names.
const NAMED: usize = 5;

/// What is known of every upstream, and the overlays over all of them.
#[derive(Clone)]
pub(crate) struct Sources {
    upstreams: Vec<Known>,
    overlays: Vec<Overlay>,
    has_cache: bool,
}

#[derive(Clone)]
struct Known {
    name: Arc<str>,
    // Those that the configuration names; none where it leaves that to the descriptors.
    services: Option<Vec<String>>,
    source: Option<Source>,
    // What reflection answered last, to see whether it is new.
    descriptors: Option<Descriptors>,
    // Why reflection could not be read.
    error: String,
}

impl Known {
    fn nothing_of(config: &UpstreamConfig) -> Self {
        let services = (!config.services.is_empty()).then(|| config.services.clone());
        Self { name: config.name.as_str().into(), services, source: None, descriptors: None, error: String::new() }
    }
}

/// A contract that can be enforced, with what it was built from.
pub(crate) struct Built {
    /// The effective contract.
    pub contract: Contract,
    /// The descriptors of each upstream.
    pub sources: Vec<Source>,
    /// The upstreams whose descriptors are not known.
    pub pending: Vec<Pending>,
    /// What is worth reading about it, one line each.
    pub warnings: Vec<String>,
}

/// An upstream whose descriptors are not known.
#[derive(Debug)]
pub(crate) struct Pending {
    /// Its name.
    pub upstream: Arc<str>,
    /// Why they could not be read, and what to do.
    pub why: String,
}

/// Every reason why a contract can't be enforced, one line each.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused(Vec<String>);

impl Sources {
    /// Reads everything that can be read now: files, and the reflection of upstreams that have none. An upstream that
    /// can't be reached is left out and named in the warnings of what is built.
    pub(crate) async fn gather(config: &Config, upstreams: &[Arc<Upstream>]) -> Result<Self, Refused> {
        let known = config.upstream.iter().map(Known::nothing_of).collect();
        let mut sources = Self { upstreams: known, overlays: Vec::new(), has_cache: config.cache.url.is_some() };
        sources.read_files(config)?;
        let unknown = upstreams.iter().filter(|it| sources.is_pending(it.name()));
        for (name, descriptors) in read_reflections(unknown).await {
            match descriptors {
                Ok(descriptors) => _ = sources.set_descriptors(&name, descriptors),
                Err(error) => sources.set_error(&name, &error),
            }
        }
        Ok(sources)
    }

    /// The same under another configuration: its overlays and descriptor sets, and of upstreams that it has no descriptor set of what
    /// their reflection answered, now or before.
    pub(crate) fn reconfigured(
        &self,
        config: &Config,
        answered: &HashMap<Arc<str>, Descriptors>,
    ) -> Result<Self, Refused> {
        let known = config.upstream.iter().map(Known::nothing_of).collect();
        let mut sources = Self { upstreams: known, overlays: Vec::new(), has_cache: self.has_cache };
        for upstream in config.upstream.iter().filter(|upstream| upstream.descriptors.is_none()) {
            let before = self.upstreams.iter().find(|before| *before.name == *upstream.name);
            let descriptors = answered.get(&*upstream.name).or_else(|| before?.descriptors.as_ref());
            if let Some(descriptors) = descriptors {
                sources.set_descriptors(&upstream.name, descriptors.clone());
            } else if let (Some(before), Some(known)) = (before, sources.known(&upstream.name)) {
                known.error.clone_from(&before.error);
            }
        }
        sources.read_files(config)?;
        Ok(sources)
    }

    fn known(&mut self, upstream: &str) -> Option<&mut Known> {
        self.upstreams.iter_mut().find(|known| *known.name == *upstream)
    }

    fn set_error(&mut self, upstream: &str, error: &ReflectError) {
        if let Some(known) = self.known(upstream) {
            known.error = error.to_string();
        }
    }

    /// Takes in the descriptors that an upstream's reflection answers. False if they are the same as before.
    pub(crate) fn set_descriptors(&mut self, upstream: &str, descriptors: Descriptors) -> bool {
        let Some(known) = self.known(upstream) else { return false };
        if known.descriptors.as_ref() == Some(&descriptors) {
            return false;
        }
        let services = known.services.clone().or_else(|| descriptors.source.services.clone());
        known.source = Some(Source { upstream: Arc::clone(&known.name), services, ..descriptors.source.clone() });
        known.descriptors = Some(descriptors);
        true
    }

    /// Reads descriptor sets and overlays from their files.
    pub(crate) fn read_files(&mut self, config: &Config) -> Result<(), Refused> {
        let mut reasons = Vec::new();
        for (known, upstream) in self.upstreams.iter_mut().zip(&config.upstream) {
            match upstream.descriptors.as_deref().map(|file| Source::file(Arc::clone(&known.name), file)) {
                Some(Ok(source)) => known.source = Some(Source { services: known.services.clone(), ..source }),
                Some(Err(error)) => reasons.push(format!("error: upstream {}: {error}", known.name)),
                None => {}
            }
        }
        self.overlays.clear();
        for file in &config.contract.overlays {
            match Overlay::file(file) {
                Ok(overlay) => self.overlays.push(overlay),
                Err(findings) => reasons.extend(findings.iter().map(ToString::to_string)),
            }
        }
        if reasons.is_empty() { Ok(()) } else { Err(Refused(reasons)) }
    }

    /// The contract that all of this makes, or every reason why it can't be enforced.
    pub(crate) fn build(&self) -> Result<Built, Refused> {
        let known: Vec<_> = self.upstreams.iter().filter_map(|known| known.source.clone()).collect();
        let unknown = self.upstreams.iter().filter(|known| known.source.is_none());
        let pending = unknown.map(|it| Pending { upstream: Arc::clone(&it.name), why: it.error.clone() });
        let pending: Vec<_> = pending.collect();
        let load = if pending.is_empty() { Contract::load } else { Contract::load_partial };
        let (contract, mut findings) = load(&known, &self.overlays);
        // On a terminal the last lines are those that are seen.
        findings.sort_by_key(|finding| finding.severity == Severity::Error);
        let mut lines: Vec<_> = findings.iter().map(ToString::to_string).collect();
        if refused(&findings) {
            return Err(Refused(lines));
        }
        if !self.has_cache {
            lines.extend(cache_missing(&contract));
        }
        Ok(Built { contract, sources: known, pending, warnings: lines })
    }

    fn is_pending(&self, upstream: &str) -> bool {
        self.upstreams.iter().any(|known| *known.name == *upstream && known.source.is_none())
    }
}

/// That methods declare what only a cache can do, while there is none. One line, however many they are.
fn cache_missing(contract: &Contract) -> Option<String> {
    let methods = contract.methods();
    let declaring: Vec<_> = methods.iter().filter_map(|method| Some((&method.name, needs_cache(method)?))).collect();
    let named = declaring.iter().take(NAMED).map(|(method, option)| format!("{method} (`{option}`)"));
    let named = named.collect::<Vec<_>>().join(", ");
    let more = match declaring.len() {
        0 => return None,
        count if count > NAMED => format!(" and {} more", count - NAMED),
        _ => String::new(),
    };
    Some(format!(
        "warning: `cache.url`: there is no cache, and methods declare what needs one: {named}{more}; reads go to their \
         upstreams and calls with an idempotency key are refused: set `cache.url` or --cache"
    ))
}

/// The first option of a method that needs the cache.
fn needs_cache(method: &Method) -> Option<&'static str> {
    let policy = &method.policy;
    let declared = [
        ("cache", policy.cache.is_some()),
        ("invalidates", !policy.invalidates.is_empty()),
        ("idempotency", policy.idempotency.is_some()),
    ];
    declared.into_iter().find_map(|(option, is_declared)| is_declared.then_some(option))
}

/// What the reflection of each of these answers, by its name.
pub(super) async fn read_reflections(
    upstreams: impl Iterator<Item = &Arc<Upstream>>,
) -> Vec<(Arc<str>, Result<Descriptors, ReflectError>)> {
    join_all(upstreams.map(|upstream| async move { (Arc::clone(upstream.name()), read_reflection(upstream).await) }))
        .await
}

async fn read_reflection(upstream: &Arc<Upstream>) -> Result<Descriptors, ReflectError> {
    let reading = async { reflect::read(&Client::new(Arc::clone(upstream))).await };
    match upstream.check_health().await {
        // Asked all the same: how that fails says more than that nobody is there.
        HealthStatus::Unreachable => {
            timeout(AWAY_TIMEOUT, reading).await.unwrap_or_else(|_elapsed| Err(silent(upstream)))
        }
        HealthStatus::NotServing | HealthStatus::Serving => reading.await,
    }
}

fn silent(upstream: &Upstream) -> ReflectError {
    let remedy = if upstream.endpoints().is_empty() { upstream.no_endpoint() } else { ConnectCause::TimedOut };
    ReflectError::NoConnection { cause: remedy.to_string(), remedy }
}

impl Refused {
    /// Refused for one reason.
    pub(crate) fn one(reason: impl Into<String>) -> Self {
        Self(vec![reason.into()])
    }

    /// Refused for several reasons.
    pub(crate) fn all(reasons: Vec<String>) -> Self {
        Self(reasons)
    }

    /// The reasons that refuse the contract, without the warnings among them.
    pub(crate) fn errors(&self) -> impl Iterator<Item = &str> {
        let reasons = self.0.iter().filter(|line| !line.starts_with("warning: "));
        reasons.map(|line| line.trim_start_matches("error: "))
    }

    /// The reasons with the warnings among them, one line each.
    pub(crate) fn reasons(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the contract can't be enforced:\n{}", self.0.join("\n"))
    }
}

impl std::error::Error for Refused {}
