//! The live checker at work: one comparison at a time, behind the reader whose hit it is about, and counted.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use accord_readthrough::{Answer, Checked, Engine, Origin, Read, Store, World};
use accord_runtime::config::bound::{self, Time};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::declared_metrics::{CHECKS, SUPERSEDED_BEFORE_READ};

/// The section `[checker]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckerConfig {
    /// Of the fresh hits of methods with `tags`, so many are compared with what their upstream says, 0 to 1; one at a time, and the
    /// others are left out. Each costs a call of the upstream, or two. Default: 0.0, none.
    #[serde(deserialize_with = "bound::share")]
    pub share: f64,
    /// How long after a difference an invalidation may still come before it counts as missing, 10ms to 1m. Default: `5s`.
    #[serde(with = "Time::<10, MINUTE>")]
    pub settle: Duration,
}

/// A minute, in milliseconds.
const MINUTE: u64 = 60_000;

impl Default for CheckerConfig {
    fn default() -> Self {
        Self { share: 0.0, settle: Duration::from_secs(5) }
    }
}

/// Samples hits. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Checker {
    config: CheckerConfig,
    /// Held by the comparison that runs.
    turn: Arc<Semaphore>,
    checks: Counter<u64>,
    superseded: Counter<u64>,
}

impl Checker {
    pub(crate) fn new(config: &CheckerConfig, meter: &Meter) -> Self {
        Self {
            config: config.clone(),
            turn: Arc::new(Semaphore::new(1)),
            checks: CHECKS.counter(meter),
            superseded: SUPERSEDED_BEFORE_READ.counter(meter),
        }
    }

    /// Compares a hit with its origin, if it is one of those that are to be: the comparison, which nobody waits for.
    pub(crate) fn check<O: Origin, S: Store, W: World>(
        &self,
        engine: &Engine<O, S, W>,
        read: &Read<O::Call>,
        answer: &Answer,
        method: &str,
    ) -> Option<impl Future<Output = ()> + Send + use<O, S, W>> {
        if !engine.is_sampled(read, answer, self.config.share) {
            return None;
        }
        let turn = Arc::clone(&self.turn).try_acquire_owned().ok()?;
        let (own, engine, read, answer) = (self.clone(), engine.clone(), read.clone(), answer.clone());
        let method = method.to_owned();
        Some(async move {
            // Time for an invalidation that is under way; meanwhile nothing is held but the one turn of the checker.
            let settled = tokio::time::sleep(own.config.settle);
            let checked = engine.check(&read, &answer, settled).await;
            own.count(checked, method, answer.is_shared);
            drop(turn);
        })
    }

    fn count(&self, checked: Checked, method: String, is_shared: bool) {
        let level = if is_shared { "second_level" } else { "memory" };
        self.checks.add(1, &[KeyValue::new("result", result(checked)), KeyValue::new("level", level)]);
        if checked == Checked::Superseded {
            tracing::warn!(method, level, "a hit was not what its upstream says, and no invalidation came");
            self.superseded.add(1, &[KeyValue::new("rpc.method", method)]);
        }
    }
}

fn result(checked: Checked) -> &'static str {
    match checked {
        Checked::Same => "same",
        Checked::Superseded => "superseded",
        Checked::Invalidated => "invalidated",
        Checked::Unsteady => "unsteady",
        Checked::Failed => "failed",
    }
}
