//! One accept loop for every listener of the project: HTTP/1.1 and HTTP/2, with or without TLS, bounded everywhere.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use opentelemetry::{
    KeyValue,
    metrics::{Counter, UpDownCounter},
};
use rustls::ServerConfig;
use serde::{Deserialize, Serialize};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;

use crate::{config::bound, connection::Connections, reload::Reloading, shutdown::Shutdown, telemetry, tls};

pub use crate::tls::TlsConfig;

/// The least time between two log lines about a lack of room for connections.
const BETWEEN_COMPLAINTS: Duration = Duration::from_secs(30);

/// How a port is listened on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListenConfig {
    /// Address and port. Port 0 takes a free one. Default 127.0.0.1:0.
    pub address: SocketAddr,
    /// Certificates. Default none: plaintext.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
    /// Connections at a time; more wait in the kernel's backlog. Default 10000.
    #[serde(deserialize_with = "bound::positive")]
    pub max_connections: usize,
    /// Calls at a time on one HTTP/2 connection; a client waits with more. Default 100.
    #[serde(deserialize_with = "bound::positive")]
    pub max_streams: u32,
    /// Bytes of one request's headers; more is refused. Default 16384.
    #[serde(deserialize_with = "bound::positive")]
    pub max_header_bytes: u32,
    /// Time for the TLS handshake, for the first bytes, and for the next request's headers in HTTP/1.1; then the
    /// connection is cut. A load balancer in front that keeps idle HTTP/1.1 connections has to let go of them earlier.
    /// Default 10s.
    #[serde(with = "bound::duration")]
    pub header_timeout: Duration,
    /// Age at which a connection is asked to go (GOAWAY), so that load spreads to new replicas. Default 30m.
    #[serde(with = "bound::duration")]
    pub max_connection_age: Duration,
    /// Time that calls in flight have after that; then the connection is cut. Default 5m.
    #[serde(with = "bound::duration")]
    pub max_connection_age_grace: Duration,
    /// Silence on an HTTP/2 connection after which the peer is pinged. Default 30s.
    #[serde(with = "bound::duration")]
    pub keepalive_interval: Duration,
    /// Time for the answer to a ping; then the connection is cut. Default 10s.
    #[serde(with = "bound::duration")]
    pub keepalive_timeout: Duration,
}

impl Default for ListenConfig {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: None,
            max_connections: 10_000,
            max_streams: 100,
            max_header_bytes: 16 * 1024,
            header_timeout: Duration::from_secs(10),
            max_connection_age: Duration::from_mins(30),
            max_connection_age_grace: Duration::from_mins(5),
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
        }
    }
}

/// Why a port can't be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is taken or not this machine's.
    #[error("can't listen on {address}: {error}; choose another address, or stop what listens there")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The certificates are unusable.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
}

/// Who is at the other end of the connection. Stands in every request's extensions.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Address of the connection's other end.
    pub address: SocketAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

/// A port that is listened on: connections queue from the moment it is bound.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<Reloading<ServerConfig>>>,
    config: ListenConfig,
}

impl Listener {
    /// Binds the port and reads the certificates.
    pub async fn bind(config: &ListenConfig) -> Result<Self, ListenError> {
        let tls = config.tls.as_ref().map(tls::server).transpose()?.map(Arc::new);
        let failed = |error| ListenError::Bind { address: config.address, error };
        let socket = TcpListener::bind(config.address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { socket, address, tls, config: config.clone() })
    }

    /// The address that is really listened on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the shutdown begins, then drains: no new connections, GOAWAY on the open ones, and their calls have
    /// the shutdown's grace to end. Returns when all connections are closed or the grace is over.
    pub async fn serve<S, B>(self, service: S, shutdown: Shutdown)
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let grace = shutdown.grace();
        let tasks = TaskTracker::new();
        let cut = CancellationToken::new();
        let connections =
            Arc::new(Connections::new(&self.config, self.tls, Figures::new(self.address), shutdown.clone()));
        accept(&self.socket, self.config.max_connections, &shutdown, |socket, address, permit| {
            let serving = Arc::clone(&connections).serve(socket, address, service.clone());
            let cut = cut.clone();
            tasks.spawn(async move {
                tokio::select! {
                    () = serving => {}
                    () = cut.cancelled() => {}
                }
                drop(permit);
            });
        })
        .await;
        // Closed before the drain: a client that comes now is told by the kernel to go elsewhere.
        drop(self.socket);
        tasks.close();
        if timeout(grace, tasks.wait()).await.is_err() {
            tracing::warn!(connections = tasks.len(), "the grace is over, connections are cut");
            cut.cancel();
            tasks.wait().await;
        }
    }
}

/// Takes connections as long as there is room for them and no shutdown has begun.
async fn accept(
    socket: &TcpListener,
    room: usize,
    shutdown: &Shutdown,
    mut serve: impl FnMut(TcpStream, SocketAddr, OwnedSemaphorePermit),
) {
    let room = Arc::new(Semaphore::new(room.clamp(1, Semaphore::MAX_PERMITS)));
    let mut complaint = Complaint::default();
    let begun = shutdown.begun();
    tokio::pin!(begun);
    loop {
        if room.available_permits() == 0 {
            complaint.make(|| tracing::warn!("max_connections are open, further ones wait until one of them ends"));
        }
        // Room first: a connection that can't be served yet stays in the kernel's backlog, where it costs us nothing.
        let next = async { (Arc::clone(&room).acquire_owned().await, socket.accept().await) };
        let (permit, accepted) = tokio::select! {
            biased;
            () = &mut begun => return,
            next = next => next,
        };
        match (permit, accepted) {
            (Ok(permit), Ok((socket, address))) => serve(socket, address, permit),
            (Ok(_), Err(error)) if broke_early(&error) => {}
            (Ok(_), Err(error)) => {
                complaint.make(|| tracing::warn!(%error, "can't accept connections, trying again"));
                // A lack of descriptors passes only with time.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            // Nobody closes the semaphore.
            (Err(_), _) => return,
        }
    }
}

/// A connection that broke before it was taken is nobody's problem.
fn broke_early(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// What is told once in a while, so that a peer who causes it can't fill the log.
#[derive(Default)]
struct Complaint(Option<Instant>);

impl Complaint {
    fn make(&mut self, tell: impl FnOnce()) {
        if self.0.is_none_or(|last| last.elapsed() > BETWEEN_COMPLAINTS) {
            self.0 = Some(Instant::now());
            tell();
        }
    }
}

/// What is counted about a listener's connections.
#[derive(Clone)]
pub(crate) struct Figures {
    pub(crate) open: UpDownCounter<i64>,
    pub(crate) accepted: Counter<u64>,
    pub(crate) handshakes_failed: Counter<u64>,
    /// The listener's port, which bounds the label to the few listeners a process has.
    pub(crate) labels: [KeyValue; 1],
}

impl Figures {
    fn new(address: SocketAddr) -> Self {
        let meter = telemetry::meter();
        Self {
            open: meter.i64_up_down_counter("accord.connections.open").with_description("Open connections").build(),
            accepted: meter.u64_counter("accord.connections.accepted").with_description("Accepted connections").build(),
            handshakes_failed: meter
                .u64_counter("accord.tls.handshakes.failed")
                .with_description("TLS handshakes that failed or took too long")
                .build(),
            labels: [KeyValue::new("network.local.port", i64::from(address.port()))],
        }
    }
}
