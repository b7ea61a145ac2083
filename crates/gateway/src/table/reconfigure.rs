//! Another configuration of the upstreams and of the contract, while calls are served: taken over whole, or not at all.
//!
//! Before anybody is called otherwise, new upstreams and those that moved are connected to and say what they serve. Calls in flight go
//! on at what they began with, whose connections close once the last of them has ended.

use std::collections::HashMap;
use std::sync::Arc;

use accord_upstream::Upstream;

use super::follow::blocking;
use super::live::{Configured, Tables};
use super::sources::{Refused, Sources, read_reflections};
use crate::config::{Config, UpstreamConfig};
use crate::reflect::Descriptors;

impl Tables {
    /// Takes over what a configuration says of upstreams and of the contract, or says why that can't be. Then nothing changes.
    pub(crate) async fn reconfigure(self: &Arc<Self>, config: &Arc<Config>) -> Result<(), Refused> {
        let before = self.config();
        if before.upstream == config.upstream
            && before.discovery == config.discovery
            && before.contract == config.contract
        {
            return Ok(());
        }
        let present = self.load();
        let upstreams = Upstream::all_after(present.upstreams(), &config.upstream, &config.discovery)
            .map_err(|error| Refused::one(format!("error: {error}")))?;
        Upstream::check_new(present.upstreams(), &upstreams).await;
        let answered = read_moved(&before, config, &upstreams).await?;
        let (tables, config) = (Arc::clone(self), Arc::clone(config));
        let replaced = blocking(move || tables.replace_upstreams(&config, &upstreams, &answered)).await;
        replaced.unwrap_or_else(|| Err(Refused::one("error: the new contract could not be built")))
    }

    fn replace_upstreams(
        &self,
        config: &Arc<Config>,
        upstreams: &[Arc<Upstream>],
        answered: &HashMap<Arc<str>, Descriptors>,
    ) -> Result<(), Refused> {
        let mut held = self.held();
        let configured = Configured::by(config);
        let reconfigured = |sources: &Sources| sources.reconfigured(config, answered);
        let newest = reconfigured(&held.newest)?;
        let (table, served) = self.build(newest.clone(), upstreams).or_else(|refused| {
            // Something that was refused before may still wait for its counterpart.
            let served = reconfigured(&held.served).and_then(|served| self.build(served, upstreams));
            served.map_err(|_| refused)
        })?;
        tracing::info!(
            methods = table.len(),
            upstreams = upstreams.len(),
            "contract reloaded after a change of the configuration"
        );
        (held.newest, held.served) = (newest, served);
        self.configured().send_replace(configured);
        self.replace(table);
        for upstream in upstreams {
            upstream.take_place();
        }
        self.count("replaced");
        Ok(())
    }
}

/// What upstreams serve that were somewhere else before, or nowhere; or why one does not say it.
async fn read_moved(
    before: &Config,
    config: &Config,
    upstreams: &[Arc<Upstream>],
) -> Result<HashMap<Arc<str>, Descriptors>, Refused> {
    let moved = upstreams
        .iter()
        .zip(&config.upstream)
        .filter(|(_, now)| has_to_tell(before.upstream.iter().find(|before| before.name == now.name), now));
    let mut answered = HashMap::new();
    let mut reasons = Vec::new();
    for (name, descriptors) in read_reflections(moved.map(|(upstream, _)| upstream)).await {
        match descriptors {
            Ok(descriptors) => _ = answered.insert(name, descriptors),
            Err(error) => reasons.push(format!("error: upstream {name}: {error}")),
        }
    }
    if reasons.is_empty() { Ok(answered) } else { Err(Refused::all(reasons)) }
}

/// Whether what its reflection answered before, if it did, may be wrong now.
fn has_to_tell(before: Option<&UpstreamConfig>, now: &UpstreamConfig) -> bool {
    let is_elsewhere =
        |before: &UpstreamConfig| before.urls != now.urls || before.tls != now.tls || before.descriptors.is_some();
    now.descriptors.is_none() && before.is_none_or(is_elsewhere)
}

#[cfg(test)]
mod tests;
