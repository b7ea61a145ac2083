//! One accept loop for every listener of the project: HTTP/1.1 and HTTP/2, with or without TLS, bounded everywhere.

use std::{
    convert::Infallible,
    io,
    net::{self, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use rustls::ServerConfig;
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;

use crate::{
    backoff::Backoff,
    client_identity::IdentityName,
    connection::Connections,
    rate_limited_log::RateLimitedLog,
    reload::Reloading,
    shutdown::Shutdown,
    tls,
    workers::{Places, Workers},
};

pub use crate::{
    address::Address,
    connection::Peer,
    listen::ListenConfig,
    tls::{ClientCertificate, TlsConfig},
};

/// Pauses after connections that can't be accepted.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_millis(500);

/// Why a port can't be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is taken or not this machine's.
    #[error("can't listen on {address}: {error}; choose another address, or stop what listens there")]
    Bind {
        /// The address asked for.
        address: Address,
        /// What the system said.
        error: io::Error,
    },
    /// The certificates are unusable.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
}

/// A port that is listened on: connections queue from the moment it is bound.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<Reloading<ServerConfig>>>,
    config: ListenConfig,
    identity: Option<IdentityName>,
    places: Places,
}

impl Listener {
    /// Binds the port and reads the certificates.
    pub async fn bind(config: &ListenConfig) -> Result<Self, ListenError> {
        let tls = config.tls.as_ref().map(tls::server).transpose()?;
        let failed = |error| ListenError::Bind { address: config.address.clone(), error };
        let socket = config.address.bind().await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { socket, address, tls, config: config.clone(), identity: None, places: Places::here() })
    }

    /// Has its connections served by these workers, and not by the runtime in which it was bound.
    #[must_use]
    pub fn on(self, workers: &Workers) -> Self {
        Self { places: workers.places(), ..self }
    }

    /// Has its clients identified by this name of the certificates that they show; without it they are let in by them, and no more.
    #[must_use]
    pub fn identifying_clients(self, name: Option<IdentityName>) -> Self {
        Self { identity: name, ..self }
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
        let tasks = TaskTracker::new();
        let cut = CancellationToken::new();
        let connections =
            Arc::new(Connections::new(&self.config, self.tls, self.identity, self.address, shutdown.clone()));
        let mut number = 0;
        let serve = |socket, address, permit| {
            let Some(admitted) = connections.admit(address) else { return };
            number += 1;
            let place = self.places.take(number);
            let (connections, service, cut, runtime) =
                (Arc::clone(&connections), service.clone(), cut.clone(), place.runtime());
            // Made where it runs: a future that is moved into another is there twice.
            let serving = async move {
                tokio::select! {
                    () = connections.serve(socket, address, admitted, service) => {}
                    () = cut.cancelled() => {}
                }
                drop((permit, place));
            };
            tasks.spawn_on(serving, &runtime);
        };
        // Closed before the drain: a client that comes later is told by the kernel to go elsewhere.
        accept(self.socket, self.config.max_connections, &shutdown, serve).await;
        tasks.close();
        if timeout(shutdown.remaining(), tasks.wait()).await.is_err() {
            tracing::warn!(
                connections = tasks.len(),
                "graceful shutdown took longer than `grace`: the open connections are closed"
            );
            cut.cancel();
            tasks.wait().await;
        }
    }
}

/// Takes connections as long as there is room for them and no shutdown has begun; then those that wait, and closes the port. Readiness
/// is told by the runtime that a socket is registered with, which is to be the worker's: it is registered with none here.
async fn accept(
    socket: TcpListener,
    room: usize,
    shutdown: &Shutdown,
    mut serve: impl FnMut(net::TcpStream, SocketAddr, OwnedSemaphorePermit),
) {
    let room = Arc::new(Semaphore::new(room.clamp(1, Semaphore::MAX_PERMITS)));
    let log = RateLimitedLog::default();
    let mut backoff = Backoff::new(FIRST_PAUSE, LAST_PAUSE, 0.0);
    let begun = shutdown.begun();
    tokio::pin!(begun);
    loop {
        if room.available_permits() == 0 {
            log.write(|| tracing::warn!("max_connections reached: further connections wait until one ends"));
        }
        // Room first: a connection that can't be served yet stays in the kernel's backlog, where it costs us nothing.
        let next = async { (Arc::clone(&room).acquire_owned().await, socket.accept().await) };
        let (permit, accepted) = tokio::select! {
            biased;
            () = &mut begun => break,
            next = next => next,
        };
        match (permit, accepted) {
            (Ok(permit), Ok((socket, address))) => {
                backoff.reset();
                if let Ok(socket) = socket.into_std() {
                    serve(socket, address, permit);
                }
            }
            (Ok(_), Err(error)) if broke_early(&error) => {}
            (Ok(_), Err(error)) => {
                log.write(|| tracing::warn!(%error, "can't accept connections, trying again"));
                // A lack of descriptors passes only with time.
                tokio::time::sleep(backoff.next_wait()).await;
            }
            // Nobody closes the semaphore.
            (Err(_), _) => return,
        }
    }
    if let Ok(socket) = socket.into_std() {
        take_waiting(&socket, &room, serve);
    }
}

/// Takes the connections that wait: the kernel has told their clients that they are open, and would reset them with the port.
fn take_waiting(
    socket: &net::TcpListener,
    room: &Arc<Semaphore>,
    mut serve: impl FnMut(net::TcpStream, SocketAddr, OwnedSemaphorePermit),
) {
    while let Ok(permit) = Arc::clone(room).try_acquire_owned() {
        match socket.accept() {
            Ok((socket, address)) if socket.set_nonblocking(true).is_ok() => serve(socket, address, permit),
            Ok(_) => {}
            Err(error) if broke_early(&error) => {}
            // None waits any more, or none can be taken.
            Err(_) => return,
        }
    }
}

/// A connection that broke before it was taken is nobody's problem.
fn broke_early(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
