//! The SPIFFE Workload API: an agent on this node, such as SPIRE's, hands out this process's certificate, its key and the authorities of
//! its peers (an X.509-SVID and trust bundles), and renews them in time. <https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE_Workload_API.md>
//!
//! One thread asks for all who use the same agent: TLS is set up where no runtime can be waited for.

mod error;
mod svid;
mod peer;
mod fetch;

use std::{
    env,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustls::{ClientConfig, ServerConfig, server::danger::ClientCertVerifier, sign::SingleCertAndKey};
use tokio::sync::watch;
use tokio_util::sync::DropGuard;

use crate::output::print_error;

pub use error::{Problem, WorkloadApiError};
use peer::{ClientVerifier, ServerVerifier};
use svid::Svid;

/// How long a process waits at its start for its first X.509-SVID.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// What comes sooner than this is not waited for aloud.
const QUIET: Duration = Duration::from_secs(1);

/// How long an agent is still asked that nobody uses: between the check of a configuration and its use.
const UNUSED: Duration = Duration::from_mins(1);

/// The variable that names the agent's socket (SPIFFE Workload Endpoint, section 4). It may be named in the place of an address.
const VARIABLE: &str = "SPIFFE_ENDPOINT_SOCKET";

/// The agents that are asked, and when each was asked for last.
static SOURCES: Mutex<Vec<(Instant, Arc<Source>)>> = Mutex::new(Vec::new());

/// What one agent hands out, followed for as long as somebody has it.
pub(crate) struct Source {
    shared: Arc<Shared>,
    _asking: DropGuard,
}

/// What its thread and its users share.
struct Shared {
    address: String,
    status: Mutex<Status>,
    came: Condvar,
    versions: watch::Sender<u64>,
}

#[derive(Default)]
struct Status {
    svid: Option<Arc<Svid>>,
    /// Why there is no newer one.
    problem: Option<Problem>,
}

impl Source {
    /// What the agent at this address hands out, once it has: no server and no client is set up without it.
    pub(crate) fn at(address: &str) -> Result<Arc<Self>, WorkloadApiError> {
        let source = Self::asked(socket(address)?)?;
        source.first(START_TIMEOUT)?;
        Ok(source)
    }

    /// The one that is asked already, or one that is asked from now on.
    fn asked(address: String) -> Result<Arc<Self>, WorkloadApiError> {
        let mut sources = SOURCES.lock().unwrap_or_else(PoisonError::into_inner);
        sources.retain(|(last, source)| Arc::strong_count(source) > 1 || last.elapsed() < UNUSED);
        if let Some((last, source)) = sources.iter_mut().find(|(_, source)| source.shared.address == address) {
            *last = Instant::now();
            return Ok(Arc::clone(source));
        }
        let source = Arc::new(fetch::start(address)?);
        sources.push((Instant::now(), Arc::clone(&source)));
        Ok(source)
    }

    /// Waits for the first X.509-SVID.
    fn first(&self, bound: Duration) -> Result<(), WorkloadApiError> {
        if self.has_within(QUIET.min(bound)) {
            return Ok(());
        }
        self.shared.say_what_is_waited_for(bound);
        if self.has_within(bound.saturating_sub(QUIET)) {
            return Ok(());
        }
        let problem = self.shared.status().problem.clone().unwrap_or(Problem::Silent);
        Err(WorkloadApiError::NoSvid { address: self.shared.address.clone(), waited: bound, problem })
    }

    fn has_within(&self, bound: Duration) -> bool {
        let waited = self.shared.came.wait_timeout_while(self.shared.status(), bound, |status| status.svid.is_none());
        let (status, _) = waited.unwrap_or_else(PoisonError::into_inner);
        status.svid.is_some()
    }

    /// The newest X.509-SVID.
    pub(crate) fn svid(&self) -> Result<Arc<Svid>, WorkloadApiError> {
        let status = self.shared.status();
        let problem = || status.problem.clone().unwrap_or(Problem::Silent);
        status.svid.clone().ok_or_else(|| WorkloadApiError::NoSvid {
            address: self.shared.address.clone(),
            waited: Duration::ZERO,
            problem: problem(),
        })
    }

    /// Changes with each X.509-SVID that takes the place of the last one.
    pub(crate) fn versions(&self) -> watch::Receiver<u64> {
        self.shared.versions.subscribe()
    }

    /// The agent's address.
    pub(crate) fn address(&self) -> &str {
        &self.shared.address
    }
}

impl Shared {
    fn new(address: String) -> Self {
        let (status, came, versions) = (Mutex::default(), Condvar::new(), watch::Sender::new(0));
        Self { address, status, came, versions }
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say_what_is_waited_for(&self, bound: Duration) {
        let Self { address, .. } = self;
        let why = self.status().problem.as_ref().map(ToString::to_string).unwrap_or_default();
        if tracing::dispatcher::has_been_set() {
            tracing::warn!(address, why, ?bound, "waiting for an X.509-SVID of the Workload API");
        } else {
            print_error(format_args!(
                "waiting up to {bound:?} for an X.509-SVID of the Workload API at {address}: {why}"
            ));
        }
    }

    fn replace(&self, svid: Svid) {
        tracing::info!(address = self.address, spiffe_id = svid.id(), ends = svid.ends_text(), "X.509-SVID taken over");
        let mut status = self.status();
        *status = Status { svid: Some(Arc::new(svid)), problem: None };
        drop(status);
        self.came.notify_all();
        self.versions.send_modify(|version| *version += 1);
    }

    /// The last X.509-SVID stays: its peers see when it ends. What was told is not told again.
    fn failed(&self, problem: Problem) {
        let mut status = self.status();
        if status.problem.as_ref() != Some(&problem) {
            let ends = status.svid.as_ref().map(|svid| svid.ends_text());
            tracing::warn!(
                address = self.address,
                %problem,
                ends,
                "the Workload API gives no X.509-SVID: the last one stays in use until it ends, and it is asked again"
            );
        }
        status.problem = Some(problem);
        drop(status);
        self.came.notify_all();
    }
}

/// Whether this can be an agent's address. Whether the variable is there, and who listens, is seen when it is asked.
pub(crate) fn check_address(address: &str) -> Result<(), WorkloadApiError> {
    if address == VARIABLE { Ok(()) } else { socket(address).map(drop) }
}

/// The address as `unix:` and a path, or as the variable says it.
fn socket(address: &str) -> Result<String, WorkloadApiError> {
    let from_variable = || env::var(VARIABLE).map_err(|_| WorkloadApiError::NoVariable);
    let address = if address == VARIABLE { from_variable()? } else { address.to_owned() };
    let path = address.strip_prefix("unix://").or_else(|| address.strip_prefix("unix:"));
    match path {
        Some(path) if path.starts_with('/') => Ok(format!("unix://{path}")),
        _ => Err(WorkloadApiError::Address(address)),
    }
}

/// Verifies clients of the trust domain of this X.509-SVID and the federated ones; unless one is required, nobody needs a certificate.
pub(crate) fn client_verifier(svid: &Svid, is_required: bool) -> Result<Arc<dyn ClientCertVerifier>, rustls::Error> {
    Ok(Arc::new(ClientVerifier::new(svid.bundles(), is_required)?))
}

/// TLS of a server with this X.509-SVID, for clients that are verified so.
pub(crate) fn server(svid: &Svid, verifier: Arc<dyn ClientCertVerifier>) -> ServerConfig {
    let identity = Arc::new(SingleCertAndKey::from(svid.certified()));
    ServerConfig::builder().with_client_cert_verifier(verifier).with_cert_resolver(identity)
}

/// TLS of a client with this X.509-SVID, to servers of its trust domain and the federated ones that have one of these SPIFFE ids, or where
/// none is given, the name under which they are called.
pub(crate) fn client(svid: &Svid, servers: &[String]) -> ClientConfig {
    let verifier = Arc::new(ServerVerifier::new(svid.bundles(), servers));
    let identity = Arc::new(SingleCertAndKey::from(svid.certified()));
    let builder = ClientConfig::builder().dangerous().with_custom_certificate_verifier(verifier);
    builder.with_client_cert_resolver(identity)
}

#[cfg(test)]
mod tests;
