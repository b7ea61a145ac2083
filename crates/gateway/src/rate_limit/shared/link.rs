//! Keeps a connection to the server: makes it, gives it up when the server falls silent, and makes another.

use std::{
    convert::Infallible,
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use accord_runtime::{
    backoff::Backoff,
    rate_limited_log::RateLimitedLog,
    reload::Reloading,
    telemetry,
    tls::{ClientFiles, TlsError},
};
use arc_swap::ArcSwapOption;
use opentelemetry::metrics::Gauge;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{Notify, watch},
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;

use super::{
    config::{PasswordError, Server, SharedLimitsConfig},
    connection::{Connection, NoReply},
    reply::{Reply, command},
};

/// Counts calls, as the server runs it.
const SCRIPT: &str = include_str!("take.lua");

/// Calls in a row that the server may leave unanswered, or refuse. Then it is left alone until it answers a new connection: so
/// a server that hangs costs few calls their wait.
const MOST_FAILURES: u32 = 3;

/// Waits between attempts to connect.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);
const JITTER: f64 = 0.5;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("it can't be reached: {0}; check `shared_limits.url`")]
    Connect(#[source] io::Error),
    #[error("it did not answer a new connection within `shared_limits.connect_timeout`; check `shared_limits.url`")]
    Elapsed,
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error(
        "it refuses to count: {0}; check what the gateway's user may do there, and whether the server may be written to"
    )]
    Refused(String),
    #[error("the connection ended: {0}")]
    Ended(#[source] io::Error),
    #[error("it left {MOST_FAILURES} calls in a row unanswered within `shared_limits.timeout`, or refused them")]
    Silent,
}

/// A stream of either kind.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// The server, by a connection while there is one.
pub(super) struct Link {
    config: SharedLimitsConfig,
    server: Server,
    trust: Option<Arc<Reloading<ClientConfig>>>,
    live: ArcSwapOption<Live>,
    up: watch::Sender<bool>,
    up_gauge: Gauge<u64>,
    log: RateLimitedLog,
}

/// A connection that has been answered.
pub(super) struct Live {
    pub connection: Connection,
    /// The digest by which the server knows the script.
    pub script: String,
    failures: AtomicU32,
    given_up: Notify,
}

impl Live {
    /// The server counted a call.
    pub(super) fn answered(&self) {
        if self.failures.load(Ordering::Relaxed) > 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// The server left a call unanswered, or refused it.
    pub(super) fn failed(&self) {
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= MOST_FAILURES {
            self.given_up.notify_one();
        }
    }
}

impl Link {
    /// A link that is not kept yet.
    pub(super) fn new(config: &SharedLimitsConfig, server: Server) -> Result<Self, TlsError> {
        Ok(Self {
            trust: server.is_tls.then(|| ClientFiles::load(&config.tls)).transpose()?,
            config: config.clone(),
            server,
            live: ArcSwapOption::empty(),
            up: watch::Sender::new(false),
            up_gauge: telemetry::meter()
                .u64_gauge("accord.gateway.shared_limits.up")
                .with_description("Whether the server that counts rate limits for all gateways can be asked: 1 or 0")
                .build(),
            log: RateLimitedLog::default(),
        })
    }

    /// The connection, where there is one.
    pub(super) fn live(&self) -> Option<Arc<Live>> {
        self.live.load_full()
    }

    /// Whether there is one.
    pub(super) fn is_up(&self) -> watch::Receiver<bool> {
        self.up.subscribe()
    }

    /// Connects again and again.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut backoff = Backoff::new(FIRST_BACKOFF, LONGEST_BACKOFF, JITTER);
        loop {
            let Err(error) = self.session(&mut backoff).await;
            self.set(None);
            let Server { host, port, .. } = &self.server;
            self.log.write(|| {
                tracing::warn!(%host, port, %error, "rate limits are counted by this gateway alone, without the shared server");
            });
            sleep(backoff.next_wait()).await;
        }
    }

    fn set(&self, live: Option<Arc<Live>>) {
        let is_up = live.is_some();
        self.live.store(live);
        self.up.send_replace(is_up);
        self.up_gauge.record(is_up.into(), &[]);
    }

    /// One connection, from its beginning to its end.
    async fn session(&self, backoff: &mut Backoff) -> Result<Infallible, LinkError> {
        let limit = self.config.connect_timeout;
        let stream = timeout(limit, self.connect()).await.map_err(|_| LinkError::Elapsed)?;
        let (connection, driving) = Connection::over(stream.map_err(LinkError::Connect)?, self.config.max_in_flight);
        let mut driving = pin!(driving);
        let script = tokio::select! {
            ended = &mut driving => return Err(LinkError::Ended(ended)),
            script = timeout(limit, self.greet(&connection)) => script.map_err(|_| LinkError::Elapsed)??,
        };
        let live = Arc::new(Live { connection, script, failures: AtomicU32::new(0), given_up: Notify::new() });
        self.set(Some(Arc::clone(&live)));
        backoff.reset();
        tracing::info!(host = %self.server.host, port = self.server.port, "rate limits are shared");
        tokio::select! {
            ended = driving => Err(LinkError::Ended(ended)),
            () = live.given_up.notified() => Err(LinkError::Silent),
        }
    }

    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect((&*self.server.host, self.server.port)).await?;
        stream.set_nodelay(true)?;
        let Some(trust) = &self.trust else { return Ok(Box::new(stream)) };
        let mut config = ClientConfig::clone(&trust.get());
        // What HTTP agrees on.
        config.alpn_protocols.clear();
        let name = ServerName::try_from(self.server.host.clone()).map_err(io::Error::other)?;
        Ok(Box::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await?))
    }

    /// Logs in, and shows that calls can be counted: the digest of the script.
    async fn greet(&self, connection: &Connection) -> Result<String, LinkError> {
        let password = self.config.password()?;
        if !password.is_empty() {
            let login = ["AUTH", &self.config.username, password.expose()];
            let login: Vec<_> = login.into_iter().filter(|part| !part.is_empty()).collect();
            ask(connection, &login).await?;
        }
        if self.server.database != 0 {
            ask(connection, &["SELECT", &self.server.database.to_string()]).await?;
        }
        let Reply::Text(script) = ask(connection, &["SCRIPT", "LOAD", SCRIPT]).await? else {
            return Err(LinkError::Refused("it gave no digest for the script".to_owned()));
        };
        let key = format!("{}:{{}}:hello", self.config.key_prefix);
        ask(connection, &["EVALSHA", &script, "1", &key, "1000", "1000000"]).await?;
        Ok(script)
    }
}

async fn ask(connection: &Connection, parts: &[&str]) -> Result<Reply, LinkError> {
    match connection.ask(command(parts)).await {
        Ok(Reply::Error(text)) => Err(LinkError::Refused(text)),
        Ok(reply) => Ok(reply),
        Err(NoReply::Busy | NoReply::Closed) => Err(LinkError::Ended(io::ErrorKind::UnexpectedEof.into())),
    }
}
