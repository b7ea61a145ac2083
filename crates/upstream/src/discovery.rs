//! Service discovery: where an upstream's endpoints are, as a list that is watched.

mod dns;
mod fixed;

pub(crate) use dns::Dns;
pub(crate) use fixed::Fixed;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;

use crate::url::Url;

/// Finds the endpoints of one URL.
pub(crate) trait Discovery: Send + Sync + 'static {
    /// The endpoints now, and whenever they change. Empty until they are first known. Where finding them fails, the last
    /// answer stays. Ends (the sender is dropped) only with the upstream.
    fn watch(&self) -> watch::Receiver<Addresses>;

    /// Asks to find the endpoints again soon, because connections to the known ones fail. Returns at once. Where they can't
    /// change, nothing happens.
    fn refresh(&self) {}
}

/// The endpoints of a URL at a moment, without repetition, in a stable order.
pub(crate) type Addresses = Arc<[Address]>;

/// One endpoint: an address, and the URL that led to it.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    /// Where to connect to.
    pub socket: SocketAddr,
    /// How to speak there.
    pub url: Arc<Url>,
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.socket == other.socket && self.url.text == other.url.text
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}", self.url.scheme, self.socket)
    }
}
