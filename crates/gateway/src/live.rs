//! What the configuration may say otherwise while calls are served: sections that an operator changes in daily life. Everything else
//! that the gateway is made of takes another start.

use crate::{config::Config, cors::Cors};
use arc_swap::ArcSwapOption;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

/// The sections that are taken over.
pub(crate) const RELOADED: [&str; 11] = [
    "compression",
    "console.slow_call",
    "contract",
    "cors",
    "discovery",
    "explain",
    "forwarding",
    "limits",
    "openapi",
    "reflection",
    "upstream",
];

/// Of them, what each call looks at; the others are where they are made use of, and the upstreams are in the tables.
pub(crate) struct LiveSettings {
    /// What browsers are told of calls by the public listener.
    pub cors: Arc<ArcSwapOption<Cors>>,
    trusted_hops: AtomicUsize,
    explains: AtomicBool,
}

impl LiveSettings {
    /// As a configuration says.
    pub(crate) fn of(config: &Config) -> Self {
        let settings =
            Self { cors: Arc::default(), trusted_hops: AtomicUsize::default(), explains: AtomicBool::default() };
        settings.take_over(config);
        settings
    }

    /// How many proxies in front of the public listener are believed about who calls.
    pub(crate) fn trusted_hops(&self) -> usize {
        self.trusted_hops.load(Ordering::Relaxed)
    }

    /// Whether calls are explained to their callers.
    pub(crate) fn explains(&self) -> bool {
        self.explains.load(Ordering::Relaxed)
    }

    /// Takes over what a configuration says: calls that are under way go on by what held when they came.
    pub(crate) fn take_over(&self, config: &Config) {
        self.cors.store(Cors::new(&config.cors).map(Arc::new));
        self.trusted_hops.store(config.forwarding.trusted_hops, Ordering::Relaxed);
        self.explains.store(config.explain.enabled, Ordering::Relaxed);
    }
}
