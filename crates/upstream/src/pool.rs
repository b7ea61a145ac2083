//! Connection pool: the connections of one worker to one endpoint.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use accord_runtime::reload::Reloading;
use rustls::ClientConfig;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::connect_error::ConnectError;
use crate::connect_warnings::ConnectWarnings;
use crate::connection::{Connection, Ended, Lease, Settings};
use crate::discovery::Address;

/// After a failed attempt, no further connection is tried for this long where there are others.
const COOL_DOWN: Duration = Duration::from_secs(1);

/// The longest interval that keepalive is stretched to for peers that want fewer pings.
const LONGEST_INTERVAL: Duration = Duration::from_hours(2);

/// How many connections there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// While all is well.
    pub usual: usize,
    /// Where the peer takes no more streams on those that there are.
    pub most: usize,
}

/// The connections of one worker to one endpoint.
pub(crate) struct Pool {
    address: Address,
    trust: Option<Arc<Reloading<ClientConfig>>>,
    size: Size,
    warnings: Arc<ConnectWarnings>,
    state: Mutex<State>,
    /// Changes when an attempt to connect has ended: how often, and why the last one failed.
    attempts: watch::Sender<(u64, Option<Arc<ConnectError>>)>,
    /// Told when a place on one of the connections is given back.
    freed: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    settings: Settings,
    connections: Vec<Arc<Connection>>,
    /// How often all of them were replaced.
    generation: u64,
    is_opening: bool,
    /// Before this, no further connection is tried as long as there is one.
    cool_until: Option<Instant>,
}

/// What a look at the pool found.
enum LeaseAttempt {
    Lease(Lease),
    Wait(watch::Receiver<(u64, Option<Arc<ConnectError>>)>),
}

impl Pool {
    pub(crate) fn new(
        address: Address,
        trust: Option<Arc<Reloading<ClientConfig>>>,
        settings: Settings,
        size: Size,
        warnings: Arc<ConnectWarnings>,
    ) -> Arc<Self> {
        let state = State { settings, connections: Vec::new(), generation: 0, is_opening: false, cool_until: None };
        let (attempts, freed) = (watch::Sender::default(), Arc::default());
        Arc::new(Self { address, trust, size, warnings, state: Mutex::new(state), attempts, freed })
    }

    /// A place on the least used connection; made where there is none. Several callers wait for one attempt, which goes on
    /// when they leave.
    pub(crate) async fn lease(self: &Arc<Self>) -> Result<Lease, Arc<ConnectError>> {
        loop {
            let mut attempts = match self.try_lease() {
                LeaseAttempt::Lease(lease) => return Ok(lease),
                LeaseAttempt::Wait(attempts) => attempts,
            };
            // The sender lives in `self`. A place that was given back while nobody waited ends one wait too early at most.
            tokio::select! {
                _ = attempts.changed() => {}
                () = self.freed.notified() => continue,
            }
            let failure = attempts.borrow_and_update().1.clone();
            if let Some(failure) = failure.filter(|_| self.state().connections.is_empty()) {
                return Err(failure);
            }
        }
    }

    /// Why the last attempt failed, if it did.
    pub(crate) fn failure(&self) -> Option<Arc<ConnectError>> {
        self.attempts.borrow().1.clone()
    }

    /// Lets go of all connections that take no more calls.
    pub(crate) fn discard_closing(&self) {
        self.state().connections.retain(|connection| !connection.is_closing());
    }

    /// A connection broke under a call: its peer may be dead, and not have said so on the others yet. Further calls go on
    /// connections that are made anew, and so are known to be served; calls in flight go on. Many calls that break together
    /// replace their connections once.
    pub(crate) fn replace(&self, broken: &Lease) {
        let mut state = self.state();
        if state.generation == broken.generation() {
            state.generation += 1;
            state.connections.clear();
        }
    }

    fn try_lease(self: &Arc<Self>) -> LeaseAttempt {
        let trust = self.trust.as_ref().map(|trust| trust.get());
        let mut state = self.state();
        state.connections.retain(|connection| connection.is_open(trust.as_ref()));
        let best = state.connections.iter().min_by_key(|connection| connection.in_flight());
        let best = best.cloned();
        let has_room = best.as_ref().is_some_and(|connection| connection.has_room());
        let enough = if has_room { self.size.usual.min(self.size.most) } else { self.size.most };
        let is_cooling = best.is_some() && state.cool_until.is_some_and(|until| Instant::now() < until);
        // One at a time is enough for everybody who waits; a crowd is served by more as they fill.
        if !state.is_opening && state.connections.len() < enough && !is_cooling {
            state.is_opening = true;
            tokio::spawn(Arc::clone(self).open_connection(trust, state.settings));
        }
        match best {
            // Beyond the most, calls queue up on the connections that there are, within their deadlines.
            Some(connection) if has_room || !state.is_opening => LeaseAttempt::Lease(connection.enter()),
            _ => LeaseAttempt::Wait(self.attempts.subscribe()),
        }
    }

    async fn open_connection(self: Arc<Self>, trust: Option<Arc<ClientConfig>>, settings: Settings) {
        let pool = Arc::downgrade(&self);
        let ended = move |ended| {
            if let (Some(pool), Ended::TooManyPings) = (pool.upgrade(), ended) {
                pool.double_keepalive_interval(settings.keepalive_interval);
            }
        };
        let opened = Connection::open(&self.address, trust, settings, Arc::clone(&self.freed), ended).await;
        let failure = {
            let mut state = self.state();
            state.is_opening = false;
            match opened {
                Ok(mut connection) => {
                    connection.generation = state.generation;
                    state.cool_until = None;
                    state.connections.push(Arc::new(connection));
                    None
                }
                Err(error) => {
                    state.cool_until = Some(Instant::now() + COOL_DOWN);
                    Some(Arc::new(error))
                }
            }
        };
        if let Some(failure) = &failure {
            self.warnings.failed(failure);
        }
        self.attempts.send_modify(|(count, last)| (*count, *last) = (*count + 1, failure));
    }

    /// gRFC A8: who is told that it pings too often doubles its interval. Connections that were made before it was doubled,
    /// and are told the same, don't double it once more.
    fn double_keepalive_interval(&self, interval: Duration) {
        let doubled = interval.saturating_mul(2).min(LONGEST_INTERVAL);
        let mut state = self.state();
        if doubled > state.settings.keepalive_interval {
            state.settings.keepalive_interval = doubled;
            tracing::info!(endpoint = %self.address, interval = ?doubled, "the upstream wants fewer keepalive pings");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is one step, so a thread that died left nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
