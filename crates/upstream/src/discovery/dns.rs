//! Endpoints from DNS, resolved again as the answers expire.

mod resolve;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use accord_runtime::backoff::{Backoff, jittered};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::updates::Updates;
use super::{Addresses, Discovered, Discovery};
use crate::config::DnsConfig;
use crate::connect_error::ConnectCause;
use crate::url::Url;
use resolve::{Failure, MAX_ADDRESSES, Resolution};

/// The shortest time between two resolutions. A TTL of 0 forbids caches to keep the answer (RFC 1035, 3.2.1); to ask before
/// every call would make each wait for DNS.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// The longest time between two resolutions, whatever the TTL: so late a moved service is found where nobody calls it, and
/// a hosts file, whose lines have no TTL, is read again.
const MAX_INTERVAL: Duration = Duration::from_mins(1);

/// The share by which the time between resolutions is shortened at random, so that gateways which started together do not
/// ask together. Never lengthened: an answer is not used after it expired.
const JITTER: f64 = 0.1;

/// The wait after the first failure, doubled with each further one in a row.
const FIRST_BACKOFF: Duration = MIN_INTERVAL;

/// The longest wait between failures.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// The longest time for one resolution: all names of the search list, both families, and every SRV target.
const RESOLUTION_TIMEOUT: Duration = Duration::from_secs(5);

/// The endpoints of a URL whose host is a name, by DNS.
///
/// | URL | records | endpoints |
/// |---|---|---|
/// | `http://catalog:9000` | A and AAAA of `catalog` | each address of either family, with port 9000 |
/// | `http+srv://_grpc._tcp.catalog` | SRV, then A and AAAA of its targets | each address of each target, with the target's port |
///
/// `https` works the same way. A name in the hosts file is not asked for in DNS. For others the name servers, search domains
/// and `ndots` of `/etc/resolv.conf` apply, or the name servers of `discovery.dns.servers` with those search domains; both files
/// are read at each resolution. Where the configuration of name servers
/// can't be read, addresses come from the system's `getaddrinfo`, every 5 s, and SRV records are not available.
///
/// **Which endpoints.** One family may fail or be empty while the other answers. Of SRV records (RFC 2782) the targets of the
/// lowest priority count. Their weights do not: calls are balanced by the load that is measured. A target without an address
/// is left out as long as another has one. At most 256 addresses are kept, the lowest ones.
///
/// **Which name.** The `:authority` of calls and the name that a certificate has to be for stay the URL's, for SRV as well:
/// an answer of DNS is not authenticated, so it must not choose whom to trust (RFC 9525, 6.1). For `_grpc._tcp.catalog` a
/// certificate has to hold that very name.
///
/// **When.** Resolved again when the smallest TTL of the answer is over, not before 1 s and not after 60 s, each shortened
/// at random by up to 10 %. [`refresh`](Discovery::refresh) asks for it earlier, at most once a second. One resolution runs at
/// a time and takes 5 s at most.
///
/// **Failures.** A resolution fails when it takes too long, when name servers refuse or can't answer, when the name does not
/// exist or has no address, and when the service is said not to be offered (an SRV target of `.`). The last addresses stay in
/// each of these cases: a name that is gone for a moment, during a rollout, does not take the service away. It is tried again
/// after 1 s, doubled with each failure up to 30 s. The log tells the first failure of a row, and the recovery.
///
/// The work ends when this value is dropped; the watch closes then.
#[derive(Debug)]
pub(crate) struct Dns {
    addresses: watch::Receiver<Addresses>,
    refresh: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Dns {
    /// Starts to resolve the host of a URL by the configured name servers, on the runtime that this is called in.
    pub(crate) fn new(url: Arc<Url>, config: &DnsConfig) -> Self {
        let (host, servers) = (Arc::new(url.host.clone()), Arc::<[SocketAddr]>::from(&*config.servers));
        Self::start(url, move || {
            let (host, servers) = (Arc::clone(&host), Arc::clone(&servers));
            async move { resolve::by_servers(&host, &servers).await }
        })
    }

    fn start<R, F>(url: Arc<Url>, resolve: R) -> Self
    where
        R: FnMut() -> F + Send + 'static,
        F: Future<Output = Result<Resolution, Failure>> + Send + 'static,
    {
        let (updates, addresses) = Updates::new("DNS", url, MAX_ADDRESSES);
        let refresh = Arc::new(Notify::new());
        let requests = Arc::clone(&refresh);
        let task = tokio::spawn(async move { follow(updates, resolve, &requests).await });
        Self { addresses, refresh, task }
    }
}

impl Discovery for Dns {
    fn watch(&self) -> watch::Receiver<Addresses> {
        self.addresses.clone()
    }

    fn refresh(&self) {
        // One request is remembered while a resolution runs; more say nothing new.
        self.refresh.notify_one();
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow<F>(mut updates: Updates, mut resolve: impl FnMut() -> F, refresh: &Notify)
where
    F: Future<Output = Result<Resolution, Failure>>,
{
    let mut backoff = Backoff::new(FIRST_BACKOFF, LONGEST_BACKOFF, JITTER);
    loop {
        let wait = match timeout(RESOLUTION_TIMEOUT, resolve()).await.unwrap_or(Err(Failure::Timeout)) {
            Ok(answer) => {
                backoff.reset();
                updates.found(answer.sockets.into_iter().map(|socket| Discovered::at(socket, updates.url())).collect());
                interval(answer.ttl)
            }
            Err(failure) => {
                updates.failed(&failure, ConnectCause::Unresolved.remedy());
                backoff.next_wait()
            }
        };
        wait_or_refresh(wait, refresh).await;
    }
}

/// The time until an answer with this TTL is asked for again.
fn interval(ttl: Duration) -> Duration {
    jittered(ttl.clamp(MIN_INTERVAL, MAX_INTERVAL), JITTER)
}

/// Waits that long, or until an early resolution is asked for, but never less than the shortest interval.
async fn wait_or_refresh(wait: Duration, refresh: &Notify) {
    let earliest = Instant::now() + MIN_INTERVAL;
    let requested = async {
        refresh.notified().await;
        sleep_until(earliest).await;
    };
    tokio::select! {
        () = sleep(wait) => {}
        () = requested => {}
    }
}
