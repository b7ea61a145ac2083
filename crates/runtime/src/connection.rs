//! One connection: TLS handshake, keepalive, maximum age, drain.

use std::{
    convert::Infallible,
    error::Error,
    net::{self, SocketAddr},
    pin::pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use rustls::{ServerConfig, ServerConnection};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tower::{Service, ServiceExt};

use crate::{
    backoff::jittered,
    client_identity::{ClientIdentity, IdentityName, NoIdentity},
    control_frames::ControlFrameLimit,
    fair_share::{FairShare, Held, Holder},
    http1,
    lingering_close::LingeringClose,
    listen::ListenConfig,
    preface::PrefaceTimeout,
    proxy_protocol::{self, ProxyHeaderError},
    rate_limited_log::RateLimitedLog,
    reload::Reloading,
    shutdown::Shutdown,
    tls,
    upgrade::{AfterUpgrade, GoingAway},
    write_deadline::{self, ChunkedBody, StreamExecutor, WriteDeadline},
};

mod calls;
mod figures;

use self::{
    calls::Calls,
    figures::{Figures, Open},
};

/// HTTP/1 reads at least this much at a time, so its limit on headers can't be lower.
const LEAST_HTTP1_BUFFER: usize = 8192;

/// The share of its age by which a connection may go earlier (gRFC A9).
const AGE_JITTER: f64 = 0.1;

/// Streams that a peer may reset before we have answered them, and that we may reset for its errors, until the
/// connection is closed: the bounds against rapid resets.
const MAX_RESETS: usize = 100;

/// What a peer may send before it was read: of one stream, and of all streams of a connection. Whoever reads slowly holds no more
/// than that, and whoever stalls on one stream leaves room for the others.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * 16;

/// How long before the end of a shutdown's grace an upgraded connection is told to go: the time to say so.
const LAST_WORD: Duration = Duration::from_secs(1);

/// The number of the next connection.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Who is at the other end of the connection. Stands in every request's extensions.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Address of the connection's other end; where a load balancer tells by whom it was opened, theirs.
    pub address: SocketAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// The connection's number, which no other of the process has.
    pub connection: u64,
    /// Who it is by the certificate that it showed, or why that says of nobody who they are; None where it showed none, or where none
    /// counts.
    pub certificate: Option<Result<ClientIdentity, NoIdentity>>,
}

/// A connection that is served.
pub(crate) enum Admitted {
    /// With its place among those of its address.
    Own(Held),
    /// By a load balancer, which is yet to tell by whom it was opened.
    ByLoadBalancer,
}

/// Everything that the connections of one listener share.
pub(crate) struct Connections {
    http: Builder<StreamExecutor>,
    tls: Option<Arc<Reloading<ServerConfig>>>,
    /// Which name of a client's certificate counts; None: none does.
    identity: Option<IdentityName>,
    proxy_protocol: bool,
    room: FairShare,
    figures: Figures,
    log: RateLimitedLog,
    certificate_log: RateLimitedLog,
    shutdown: Shutdown,
    header_timeout: Duration,
    age: Duration,
    age_grace: Duration,
}

impl Connections {
    pub(crate) fn new(
        config: &ListenConfig,
        tls: Option<Arc<Reloading<ServerConfig>>>,
        identity: Option<IdentityName>,
        address: SocketAddr,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            http: http(config),
            tls,
            identity,
            proxy_protocol: config.proxy_protocol,
            room: FairShare::new(config.max_connections as u64, FairShare::DEFAULT),
            figures: Figures::new(address),
            log: RateLimitedLog::default(),
            certificate_log: RateLimitedLog::default(),
            shutdown,
            header_timeout: config.header_timeout,
            age: config.max_connection_age,
            age_grace: config.max_connection_age_grace,
        }
    }

    /// Whether a connection is served: not where its address has its share of them.
    pub(crate) fn admit(&self, address: SocketAddr) -> Option<Admitted> {
        if self.proxy_protocol {
            return Some(Admitted::ByLoadBalancer);
        }
        self.hold(address).map(Admitted::Own)
    }

    fn hold(&self, address: SocketAddr) -> Option<Held> {
        // An idle connection costs its peer nothing, and would be in the way of all others if it held the last place.
        let held = self.room.hold(Some(Holder::address(address.ip(), None)), 1, 0);
        if held.is_err() {
            self.figures.refused.add(1, &self.figures.labels);
        }
        held.ok()
    }

    /// Serves one connection to its end.
    pub(crate) async fn serve<S, B>(
        self: Arc<Self>,
        socket: net::TcpStream,
        address: SocketAddr,
        admitted: Admitted,
        service: S,
    ) where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let _open = Open::count(self.figures.clone());
        let mut socket = match TcpStream::from_std(socket) {
            Ok(socket) => socket,
            Err(error) => return tracing::warn!(%error, "a connection can't be served"),
        };
        // Small frames must not wait for more; on failure the connection is only slower.
        let _ = socket.set_nodelay(true);
        let opened = match admitted {
            Admitted::Own(share) => Some((address, share)),
            Admitted::ByLoadBalancer => self.opened(&mut socket, address).await,
        };
        let Some((address, _share)) = opened else { return };
        let (number, after) = (NEXT.fetch_add(1, Ordering::Relaxed), Arc::default());
        let mut peer = Peer { address, tls: self.tls.is_some(), connection: number, certificate: None };
        let service = http1::checked(service);
        let Some(tls) = &self.tls else {
            let calls = Calls::of_new_connection();
            let service = between(service, peer, calls.clone(), Arc::clone(&after));
            self.serve_http(socket, service, &calls, None).await;
            return self.serve_upgraded(&after, None).await;
        };
        let Some(stream) = self.encrypt(tls, socket, address).await else { return };
        let session = stream.get_ref().1;
        peer.certificate = self.identify(address, session);
        // Whoever shows a certificate goes when that ends, and comes again with the next one.
        let ends = tls::certificate_life(session).and_then(|left| Instant::now().checked_add(left));
        // Its client sends nothing before the handshake is over, however long that took.
        let calls = Calls::of_new_connection();
        let service = between(service, peer, calls.clone(), Arc::clone(&after));
        self.serve_http(stream, service, &calls, ends).await;
        self.serve_upgraded(&after, ends).await;
    }

    /// The connection once it is encrypted; None where no good handshake came in time.
    async fn encrypt(
        &self,
        tls: &Reloading<ServerConfig>,
        socket: TcpStream,
        address: SocketAddr,
    ) -> Option<TlsStream<TcpStream>> {
        let handshake = timeout(self.header_timeout, TlsAcceptor::from(tls.get()).accept(socket));
        let shaken = tokio::select! {
            shaken = handshake => shaken,
            // No call has begun on it, so none is lost.
            () = calls::first_is_over(&self.shutdown) => return None,
        };
        let failed: &(dyn Error + 'static) = match &shaken {
            Ok(Ok(_)) => return shaken.ok()?.ok(),
            Ok(Err(error)) => error,
            Err(elapsed) => elapsed,
        };
        self.handshake_failed(address, failed);
        None
    }

    /// By whom a load balancer says that the connection was opened, and its place among those of that address.
    async fn opened(&self, socket: &mut TcpStream, peer: SocketAddr) -> Option<(SocketAddr, Held)> {
        let header = timeout(self.header_timeout, proxy_protocol::source(socket, peer));
        let source = tokio::select! {
            source = header => source.unwrap_or(Err(ProxyHeaderError::Late)),
            () = calls::first_is_over(&self.shutdown) => return None,
        };
        let source = source.inspect_err(|error| {
            if matches!(error, ProxyHeaderError::Empty) {
                return;
            }
            self.figures.proxy_headers_failed.add(1, &self.figures.labels);
            self.log.write(|| tracing::warn!(%peer, %error, "a connection was closed for its PROXY protocol header"));
        });
        let address = source.ok()?;
        self.hold(address).map(|share| (address, share))
    }

    /// Who a client is by its certificate. It is read here, once for all of its calls.
    fn identify(&self, peer: SocketAddr, session: &ServerConnection) -> Option<Result<ClientIdentity, NoIdentity>> {
        let certificate = session.peer_certificates()?.first()?;
        let identity = ClientIdentity::of(certificate, self.identity?);
        if let Err(error) = &identity {
            self.certificate_log.write(|| {
                tracing::warn!(%peer, %error, "a client's certificate does not say who it is: no call is authenticated by it");
            });
        }
        Some(identity)
    }

    fn handshake_failed(&self, peer: SocketAddr, error: &(dyn Error + 'static)) {
        self.figures.handshakes_failed.add(1, &self.figures.labels);
        let Some(error) = tls::refused_certificate(error) else {
            return tracing::debug!(error, "TLS handshake failed");
        };
        self.certificate_log.write(|| {
            tracing::warn!(
                %peer,
                %error,
                "a connection was refused for its client's certificate: it must be in its time, and of one of the authorities in \
                 `client_ca_file`, or of those of its trust domain that `workload_api` names"
            );
        });
    }

    async fn serve_http<I, S, B>(&self, io: I, service: S, calls: &Calls, ends: Option<Instant>)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let figures = self.figures.clone();
        let flooded = move || figures.floods.add(1, &figures.labels);
        let io = PrefaceTimeout::new(LingeringClose::new(io), self.header_timeout);
        let io = ControlFrameLimit::new(io, flooded);
        let io = TokioIo::new(io);
        let mut connection = pin!(self.http.serve_connection_with_upgrades(io, TowerToHyperService::new(service)));
        let mut deadline = WriteDeadline::default();
        // Its age, and the end of its client's certificate, are times: nothing else tells of them.
        let too_old = tokio::select! {
            ended = deadline.enforce(connection.as_mut()) => return log_end(ended),
            () = tokio::time::sleep(self.age(ends)) => true,
            () = self.shutdown.begun() => false,
        };
        // One that is asked to go before its first request came would be closed, with the request in the kernel's buffer. What is
        // there already is read first, since an older connection is not waited for.
        tokio::select! {
            biased;
            ended = deadline.enforce(connection.as_mut()) => return log_end(ended),
            () = calls.first() => {}
        }
        connection.as_mut().graceful_shutdown();
        // In a drain it is the listener that cuts what outlives the grace.
        let grace = if too_old { self.age_grace } else { Duration::MAX };
        tokio::select! {
            ended = timeout(grace, deadline.enforce(connection)) => log_end(ended.unwrap_or(None)),
            () = calls.idle() => log_end(None),
        }
    }

    /// What a connection does that has been upgraded, within the write deadline of what is answered by it.
    async fn serve_upgraded(&self, after: &OnceLock<AfterUpgrade>, ends: Option<Instant>) {
        let Some(work) = after.get().and_then(AfterUpgrade::take) else { return };
        log_end(WriteDeadline::default().enforce(work(self.going_away(ends))).await.map(Ok));
    }

    /// A little less than the configured age, by chance: connections that were opened together don't end together (gRFC A9). No more than
    /// what is left until `ends`.
    fn age(&self, ends: Option<Instant>) -> Duration {
        let left = ends.map_or(Duration::MAX, |ends| ends.saturating_duration_since(Instant::now()));
        jittered(self.age, AGE_JITTER).min(left)
    }

    fn going_away(&self, ends: Option<Instant>) -> GoingAway {
        let (shutdown, age) = (self.shutdown.clone(), self.age(ends).saturating_add(self.age_grace));
        Box::pin(async move {
            tokio::select! {
                () = tokio::time::sleep(age) => return,
                () = shutdown.begun() => {}
            }
            tokio::time::sleep(shutdown.remaining().saturating_sub(LAST_WORD)).await;
        })
    }
}

/// Tells how a connection ended; `None` if it was cut.
fn log_end(ended: Option<Result<(), Box<dyn Error + Send + Sync>>>) {
    match ended {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(error, "connection ended"),
        None => tracing::debug!("connection closed: its peer did not read in time, or did not leave after GOAWAY"),
    }
}

fn http(config: &ListenConfig) -> Builder<StreamExecutor> {
    let mut http = Builder::new(StreamExecutor);
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        .max_buf_size(LEAST_HTTP1_BUFFER.max(config.max_header_bytes as usize));
    http.http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(config.max_streams)
        .max_header_list_size(config.max_header_bytes)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_RESETS)
        .keep_alive_interval(config.keepalive_interval)
        .keep_alive_timeout(config.keepalive_timeout);
    http
}

/// The service as the connection sees it: requests know their peer, responses their write deadline, and both count as a call. What
/// follows an upgrade is put aside.
fn between<S, B>(
    service: S,
    peer: Peer,
    calls: Calls,
    after: Arc<OnceLock<AfterUpgrade>>,
) -> impl Service<Request<Incoming>, Response = Response<ChunkedBody<B>>, Error = Infallible, Future: Send> + Clone + Send
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let begun = calls.clone();
    let with_peer = move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        begun.begin();
        request
    };
    service.map_request(with_peer).map_future(move |response| {
        let (call, after) = (calls.token(), Arc::clone(&after));
        async move {
            let mut response = response.await?;
            if response.status() == StatusCode::SWITCHING_PROTOCOLS
                && let Some(work) = response.extensions_mut().remove()
            {
                let _ = after.set(work);
            }
            Ok(write_deadline::send(response, call))
        }
    })
}
