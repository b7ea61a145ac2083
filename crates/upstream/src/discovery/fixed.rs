//! Endpoints that the configuration lists.

use tokio::sync::watch;

use super::{Addresses, Discovered, Discovery};

/// A list that does not change.
#[derive(Debug)]
pub(crate) struct Fixed(watch::Sender<Addresses>);

impl Fixed {
    /// These endpoints, for good.
    pub(crate) fn new(addresses: impl IntoIterator<Item = Discovered>) -> Self {
        Self(watch::Sender::new(addresses.into_iter().collect()))
    }
}

impl Discovery for Fixed {
    fn watch(&self) -> watch::Receiver<Addresses> {
        self.0.subscribe()
    }
}
