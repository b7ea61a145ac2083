//! Service discovery: where an upstream's endpoints are, as a list that is watched.

mod dns;
mod fixed;
mod kubernetes;
mod updates;

pub(crate) use dns::Dns;
pub(crate) use fixed::Fixed;
pub(crate) use kubernetes::Kubernetes;

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
pub(crate) type Addresses = Arc<[Discovered]>;

/// An endpoint as it was found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Discovered {
    pub address: Address,
    /// Where it runs; none where nobody says it.
    pub zone: Option<Arc<str>>,
    /// The zones whose calls it was allotted; none where nobody allotted them.
    pub for_zones: Arc<[Arc<str>]>,
}

impl Discovered {
    /// An endpoint of which nothing is known but where it listens.
    pub(crate) fn at(socket: SocketAddr, url: &Arc<Url>) -> Self {
        Self { address: Address { socket, url: Arc::clone(url) }, zone: None, for_zones: Arc::default() }
    }
}

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
