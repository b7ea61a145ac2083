//! Connections to origins: made when first used, bounded in number, and the least busy one taken.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use accord_runtime::{client, client::ClientConfig, tls::ClientFiles};
use tonic::transport::Channel;

/// All connections.
#[derive(Debug)]
pub(super) struct Channels {
    capacity: usize,
    tls: ClientFiles,
    turn: AtomicUsize,
    roads: Mutex<Roads>,
}

#[derive(Debug, Default)]
struct Roads {
    clock: u64,
    open: HashMap<String, Road>,
}

#[derive(Debug)]
struct Road {
    channel: Channel,
    busy: Arc<AtomicUsize>,
    used: u64,
}

/// A place on a connection, counted until it is dropped.
#[derive(Debug)]
pub(super) struct Lane {
    endpoint: String,
    channel: Channel,
    busy: Arc<AtomicUsize>,
}

impl Lane {
    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Channels {
    pub(super) fn new(capacity: usize, tls: ClientFiles) -> Self {
        Self { capacity: capacity.max(1), tls, turn: AtomicUsize::new(0), roads: Mutex::default() }
    }

    /// The least busy endpoint, by turns among equals; another than the one that failed where there is another. None where
    /// no endpoint is an address.
    pub(super) fn choose(&self, endpoints: &[String], failed: Option<&Lane>) -> Option<Lane> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut roads = self.roads.lock().unwrap_or_else(PoisonError::into_inner);
        let by_turns = (0..endpoints.len()).map(|offset| &endpoints[turn.wrapping_add(offset) % endpoints.len()]);
        let chosen = by_turns.min_by_key(|endpoint| {
            (failed.is_some_and(|failed| failed.endpoint == **endpoint), roads.load(endpoint))
        })?;
        roads.enter(chosen, self)
    }
}

impl Roads {
    fn load(&self, endpoint: &str) -> usize {
        self.open.get(endpoint).map_or(0, |road| road.busy.load(Ordering::Relaxed))
    }

    fn enter(&mut self, endpoint: &str, channels: &Channels) -> Option<Lane> {
        self.clock += 1;
        if !self.open.contains_key(endpoint) {
            let channel = client::channel(&client_config(endpoint, &channels.tls))
                .inspect_err(|error| tracing::warn!(%error, "an origin's endpoint can't be connected to"))
                .ok()?;
            self.make_room(channels.capacity);
            self.open.insert(endpoint.to_owned(), Road { channel, busy: Arc::default(), used: 0 });
        }
        let road = self.open.get_mut(endpoint)?;
        road.used = self.clock;
        road.busy.fetch_add(1, Ordering::Relaxed);
        Some(Lane { endpoint: endpoint.to_owned(), channel: road.channel.clone(), busy: Arc::clone(&road.busy) })
    }

    /// Closes the longest unused connection. Calls on it still end: their lanes hold it.
    fn make_room(&mut self, capacity: usize) {
        if self.open.len() < capacity {
            return;
        }
        let oldest = self.open.iter().min_by_key(|(_, road)| road.used).map(|(endpoint, _)| endpoint.clone());
        if let Some(endpoint) = oldest {
            self.open.remove(&endpoint);
        }
    }
}

/// What is plaintext has no use for the files.
fn client_config(endpoint: &str, tls: &ClientFiles) -> ClientConfig {
    let tls = if endpoint.starts_with("https:") { tls.clone() } else { ClientFiles::default() };
    ClientConfig { url: endpoint.to_owned(), tls, ..ClientConfig::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints() -> Vec<String> {
        (1..4).map(|n| format!("http://10.0.0.{n}:9000")).collect()
    }

    #[tokio::test]
    async fn the_least_busy_endpoint_is_taken() {
        let channels = Channels::new(8, ClientFiles::default());
        let lanes: Vec<_> = (0..3).filter_map(|_| channels.choose(&endpoints(), None)).collect();
        let mut taken: Vec<_> = lanes.iter().map(|lane| lane.endpoint.clone()).collect();
        taken.sort();
        assert_eq!(taken, endpoints());
    }

    #[tokio::test]
    async fn an_endpoint_that_failed_is_the_last_choice() {
        let channels = Channels::new(8, ClientFiles::default());
        let failed = channels.choose(&endpoints(), None).unwrap();
        for _ in 0..6 {
            assert_ne!(channels.choose(&endpoints(), Some(&failed)).unwrap().endpoint, failed.endpoint);
        }
        let alone = vec![failed.endpoint.clone()];
        assert_eq!(channels.choose(&alone, Some(&failed)).unwrap().endpoint, failed.endpoint);
    }

    #[tokio::test]
    async fn connections_are_bounded() {
        let channels = Channels::new(2, ClientFiles::default());
        for endpoint in endpoints() {
            channels.choose(&[endpoint], None).unwrap();
        }
        assert_eq!(channels.roads.lock().unwrap().open.len(), 2);
        assert!(channels.choose(&[], None).is_none());
    }
}
