//! Keeps a connection to a server: makes it, gives it up when the server falls silent, and makes another.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use accord_runtime::backoff::Backoff;
use accord_runtime::rate_limited_log::RateLimitedLog;
use accord_runtime::reload::Reloading;
use accord_runtime::tls::{ClientTlsConfig, HandshakeFailure, TlsError};
use arc_swap::ArcSwapOption;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::connection::{Connection, NoReply};
use crate::reply::{Reply, command};
use crate::server::{Address, Options, PasswordError};
use crate::slots::Redirect;

/// Commands in a row that a server may leave unanswered, or refuse. Then it is left alone until it answers a new connection: so
/// a server that hangs costs few callers their wait.
const MOST_FAILURES: u32 = 3;

/// Waits between attempts to connect.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);
const JITTER: f64 = 0.5;

/// What is said in the log.
#[derive(Clone, Copy, Debug)]
pub struct Texts {
    /// When a server can be asked.
    pub connected: &'static str,
    /// When it can't.
    pub disconnected: &'static str,
    /// What a server that refuses a greeting is about, as in "it refuses to count".
    pub refuses: &'static str,
}

/// What the links of a client share.
pub(crate) struct Common {
    pub options: Options,
    pub texts: Texts,
    /// What each connection has to answer before it is used.
    pub greeting: Vec<Vec<u8>>,
    trust: Option<Arc<Reloading<ClientConfig>>>,
    /// A link is up, or down.
    pub changed: Notify,
    log: RateLimitedLog,
}

impl Common {
    pub(crate) fn new(options: Options, texts: Texts, greeting: Vec<Vec<u8>>) -> Result<Self, TlsError> {
        let trust = options.is_tls().then(|| ClientTlsConfig::load(&options.tls)).transpose()?;
        Ok(Self { options, texts, greeting, trust, changed: Notify::new(), log: RateLimitedLog::default() })
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("it can't be reached: {0}; check `{1}.url`")]
    Connect(#[source] io::Error, &'static str),
    #[error("{0} ({1}); in `{2}`: {remedy}", remedy = .0.remedy())]
    Tls(HandshakeFailure, #[source] io::Error, &'static str),
    #[error("it did not answer a new connection within `{0}.connect_timeout`; check `{0}.url`")]
    Elapsed(&'static str),
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error("it refuses to {1}: {0}; check what this user may do there, and whether the server may be written to")]
    Refused(String, &'static str),
    #[error("the connection ended: {0}")]
    Ended(#[source] io::Error),
    #[error("it left {MOST_FAILURES} commands in a row unanswered within `{0}.timeout`, or refused them")]
    Silent(&'static str),
}

impl LinkError {
    /// What TLS says of a failure; otherwise, what else there is to say of it.
    fn of(error: io::Error, other: impl FnOnce(io::Error) -> Self, section: &'static str) -> Self {
        match HandshakeFailure::of(&error) {
            Some(failure) => Self::Tls(failure, error, section),
            None => other(error),
        }
    }
}

/// A stream of either kind.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A server, by a connection while there is one.
pub(crate) struct Link {
    common: Arc<Common>,
    pub address: Address,
    live: ArcSwapOption<Live>,
}

/// A connection that has been answered.
pub(crate) struct Live {
    pub connection: Connection,
    failures: AtomicU32,
    given_up: Notify,
}

impl Live {
    /// The server did what was asked.
    pub(crate) fn answered(&self) {
        if self.failures.load(Ordering::Relaxed) > 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// The server left a command unanswered, or refused it.
    pub(crate) fn failed(&self) {
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= MOST_FAILURES {
            self.given_up.notify_one();
        }
    }
}

impl Link {
    /// A link that is not kept yet.
    pub(crate) fn new(common: &Arc<Common>, address: Address) -> Self {
        Self { common: Arc::clone(common), address, live: ArcSwapOption::empty() }
    }

    /// The connection, where there is one.
    pub(crate) fn live(&self) -> Option<Arc<Live>> {
        self.live.load_full()
    }

    /// Connects again and again.
    pub(crate) async fn keep(self: Arc<Self>) {
        let mut backoff = Backoff::new(FIRST_BACKOFF, LONGEST_BACKOFF, JITTER);
        loop {
            let Err(error) = self.session(&mut backoff).await;
            self.set(None);
            let (Common { texts, log, .. }, Address { host, port }) = (&*self.common, &self.address);
            log.write(|| tracing::warn!(%host, port, %error, "{}", texts.disconnected));
            sleep(backoff.next_wait()).await;
        }
    }

    fn set(&self, live: Option<Arc<Live>>) {
        self.live.store(live);
        self.common.changed.notify_one();
    }

    /// One connection, from its beginning to its end.
    async fn session(&self, backoff: &mut Backoff) -> Result<Infallible, LinkError> {
        let Options { section, connect_timeout: limit, max_in_flight, max_reply_bytes, .. } = self.common.options;
        let elapsed = |_| LinkError::Elapsed(section);
        let stream = timeout(limit, self.connect()).await.map_err(elapsed)?;
        let failed = |error| LinkError::of(error, |error| LinkError::Connect(error, section), section);
        let stream = stream.map_err(failed)?;
        let (connection, driving) = Connection::over(stream, max_in_flight, max_reply_bytes);
        let mut driving = pin!(driving);
        tokio::select! {
            ended = &mut driving => return Err(LinkError::of(ended, LinkError::Ended, section)),
            greeted = timeout(limit, self.greet(&connection)) => greeted.map_err(elapsed)??,
        }
        let live = Arc::new(Live { connection, failures: AtomicU32::new(0), given_up: Notify::new() });
        self.set(Some(Arc::clone(&live)));
        backoff.reset();
        tracing::info!(host = %self.address.host, port = self.address.port, "{}", self.common.texts.connected);
        tokio::select! {
            ended = driving => Err(LinkError::Ended(ended)),
            () = live.given_up.notified() => Err(LinkError::Silent(section)),
        }
    }

    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let Address { host, port } = &self.address;
        let stream = TcpStream::connect((&**host, *port)).await?;
        stream.set_nodelay(true)?;
        let Some(trust) = &self.common.trust else { return Ok(Box::new(stream)) };
        let mut config = ClientConfig::clone(&trust.get());
        // What HTTP agrees on.
        config.alpn_protocols.clear();
        let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
        Ok(Box::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await?))
    }

    /// Logs in, and shows that the connection can be used.
    async fn greet(&self, connection: &Connection) -> Result<(), LinkError> {
        let options = &self.common.options;
        let password = options.password()?;
        if !password.is_empty() {
            let login = ["AUTH", &options.username, password.expose()];
            let login: Vec<_> = login.into_iter().filter(|part| !part.is_empty()).collect();
            self.ask(connection, command(&login)).await?;
        }
        if options.database() != 0 {
            self.ask(connection, command(&["SELECT", &options.database().to_string()])).await?;
        }
        for greeting in &self.common.greeting {
            self.ask(connection, greeting.clone()).await?;
        }
        Ok(())
    }

    async fn ask(&self, connection: &Connection, command: Vec<u8>) -> Result<(), LinkError> {
        match connection.ask(command, 1).await.as_deref() {
            // A node of a Cluster that does not have the key does well to say so.
            Ok([Reply::Error(text)]) if Redirect::read(text, "").is_some() => Ok(()),
            Ok([Reply::Error(text)]) => Err(LinkError::Refused(text.clone(), self.common.texts.refuses)),
            Ok(_) => Ok(()),
            Err(NoReply::Busy | NoReply::Closed) => Err(LinkError::Ended(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}
