//! What a discovery finds, turned into changes of the watched list and into the log.

use std::fmt::Display;
use std::sync::Arc;

use tokio::sync::watch;

use super::{Addresses, Discovered};
use crate::url::Url;

/// The watched list of a URL's endpoints, and whether finding them works.
#[derive(Debug)]
pub(super) struct Updates {
    source: &'static str,
    url: Arc<Url>,
    most: usize,
    addresses: watch::Sender<Addresses>,
    is_failing: bool,
    is_over: bool,
}

impl Updates {
    /// Nothing found yet. Of what is found, no more than `most` are kept, the lowest addresses.
    pub(super) fn new(source: &'static str, url: Arc<Url>, most: usize) -> (Self, watch::Receiver<Addresses>) {
        let (addresses, watched) = watch::channel(Addresses::default());
        (Self { source, url, most, addresses, is_failing: false, is_over: false }, watched)
    }

    pub(super) fn url(&self) -> &Arc<Url> {
        &self.url
    }

    /// The endpoints are these, in whatever order; of those at one address the first counts.
    pub(super) fn found(&mut self, mut found: Vec<Discovered>) {
        found.sort_by_key(|discovered| discovered.address.socket);
        found.dedup_by_key(|discovered| discovered.address.socket);
        let count = found.len();
        found.truncate(self.most);
        let (source, url, kept) = (self.source, &self.url.text, found.len());
        if count > kept && !self.is_over {
            tracing::warn!(source, %url, count, kept, "more endpoints than are kept; the rest gets no calls");
        }
        self.is_over = count > kept;
        self.works();
        let now: Addresses = found.into();
        self.addresses.send_if_modified(|last| {
            let has_changed = *last != now;
            *last = now;
            has_changed
        });
    }

    /// It works, whether or not something was found.
    pub(super) fn works(&mut self) {
        if self.is_failing {
            tracing::info!(source = self.source, url = %self.url.text, "discovery works again");
        }
        self.is_failing = false;
    }

    /// It failed. The log tells the first failure of a row.
    pub(super) fn failed(&mut self, error: &impl Display, remedy: &str) {
        let kept = self.addresses.borrow().len();
        let (source, url) = (self.source, &self.url.text);
        if self.is_failing {
            tracing::debug!(source, %url, %error, kept, "discovery still fails");
        } else {
            tracing::warn!(source, %url, %error, kept, remedy, "discovery failed, keeping the last addresses");
        }
        self.is_failing = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_that_is_found_twice_is_kept_once() {
        let url = Arc::new(Url::parse("http+k8s://catalog.shop:9000").unwrap());
        let (mut updates, watched) = Updates::new("Kubernetes", Arc::clone(&url), 10);
        let at = |host| Discovered::at(([10, 0, 0, host], 9000).into(), &url);
        // As in two slices, while it moves from one to the other.
        updates.found(vec![at(2), at(1), at(2)]);
        let hosts: Vec<_> = watched.borrow().iter().map(|found| found.address.socket).collect();
        assert_eq!(hosts, [at(1), at(2)].map(|found| found.address.socket));
    }
}
