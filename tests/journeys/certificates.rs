//! Certificates that are replaced while calls are under way: the gateway's own, and those towards an upstream.

use crate::{
    load::under_load,
    scripted_upstream::{OVERLAY, ScriptedUpstream},
    tls::{Connection, HERE, Http},
    wire::{GrpcCall, word},
};
use accord_fabric::{
    Fabric, Part, Server,
    certificates::{provider, replace},
};
use accord_test_certificates::{Authority, Identity, roots};
use anyhow::{Context, Result, ensure};
use http::{Method, Request};
use http_body_util::Full;
use rustls::{ServerConfig, pki_types::CertificateDer, server::WebPkiClientVerifier};
use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{Instant, timeout},
};
use tokio_rustls::TlsAcceptor;
use toml::toml;

const BOUND: Duration = Duration::from_secs(30);

/// How often the gateway's certificate is replaced under load.
const CHANGES: usize = 4;

const RELOADS: &str = "accord_files_reloads_total";

/// Waits until a server has taken over so many changes, of all that it made of its files.
pub(crate) async fn await_reloads(server: &mut Server, kind: &str, times: u32) -> Result<()> {
    let (labels, wanted) = ([("kind", kind), ("outcome", "replaced")], f64::from(times) - 0.5);
    server.await_metric(RELOADS, &labels, |count| count > wanted).await.map(drop)
}

/// A gateway whose public listener serves over TLS, from files that a test may replace.
struct EncryptedGateway {
    authority: Authority,
    cert: PathBuf,
    key: PathBuf,
    fabric: Fabric,
    _echo: ScriptedUpstream,
    _directory: TempDir,
}

impl EncryptedGateway {
    async fn start() -> Result<Self> {
        let (authority, directory) = (Authority::named("authority"), tempfile::tempdir()?);
        let (cert, key) = (directory.path().join("tls.crt"), directory.path().join("tls.key"));
        write(&cert, &key, &authority.issue(&HERE))?;
        let (cert_file, key_file) = (cert.display().to_string(), key.display().to_string());
        let tls = toml! { listen = { tls = { cert_file = cert_file, key_file = key_file, reload_interval = "50ms" } } };
        let echo = ScriptedUpstream::start().await?;
        let fabric = echo.behind()?.settings(Part::Gateway, tls).start().await?;
        Ok(Self { authority, cert, key, fabric, _echo: echo, _directory: directory })
    }

    fn address(&self) -> SocketAddr {
        self.fabric.gateway.listen
    }

    async fn connect(&self, http: Http) -> Result<Connection> {
        Box::pin(Connection::open(self.address(), &self.authority, http)).await
    }

    /// Replaces certificate and key, and waits until a new connection is shown the new one.
    async fn rotate(&self) -> Result<()> {
        let next = self.authority.issue(&HERE);
        write(&self.cert, &self.key, &next)?;
        let end = Instant::now() + BOUND;
        while self.connect(Http::Two).await?.shown != next.der {
            ensure!(Instant::now() < end, "new connections don't see the new certificate");
        }
        Ok(())
    }

    /// The certificate is replaced again and again, while one caller keeps its connection and another makes a new one each time.
    async fn rotates_under_load(&self, http: Http, call: Call) -> Result<()> {
        let kept = tokio::sync::Mutex::new(self.connect(http).await?);
        let call = || async {
            call.send(&mut *kept.lock().await).await.context("on the connection that is kept")?;
            call.send(&mut self.connect(http).await?).await.context("on a new connection")
        };
        under_load(call, async {
            for _ in 0..CHANGES {
                self.rotate().await?;
            }
            Ok(())
        })
        .await
    }
}

fn write(cert: &std::path::Path, key: &std::path::Path, identity: &Identity) -> Result<()> {
    replace(cert, &identity.certificate)?;
    replace(key, &identity.key)
}

#[derive(Clone, Copy)]
pub(crate) enum Call {
    Json,
    Grpc,
}

impl Call {
    pub(crate) async fn send(self, connection: &mut Connection) -> Result<()> {
        let request = Request::builder().header("host", "localhost");
        let request = match self {
            Self::Json => request.method(Method::GET).uri("https://localhost/v1/words/hop").body(Full::default())?,
            Self::Grpc => {
                let request = request.method(Method::POST).uri("https://localhost/echo.v1.EchoService/Say");
                request.header("content-type", "application/grpc").header("te", "trailers").body(word("hop").into())?
            }
        };
        let answer = connection.send(request).await?;
        let status = answer.body().trailers().and_then(|trailers| trailers.get("grpc-status"));
        ensure!(status.is_none_or(|status| status == "0"), "{answer:?}");
        ensure!(matches!(self, Self::Json) || status.is_some(), "no status: {answer:?}");
        Ok(())
    }
}

#[tokio::test]
async fn certificate_that_is_replaced_under_load_loses_no_call_of_http_1() -> Result<()> {
    let gateway = EncryptedGateway::start().await?;
    gateway.rotates_under_load(Http::One, Call::Json).await?;
    gateway.fabric.stop().await
}

#[tokio::test]
async fn certificate_that_is_replaced_under_load_loses_no_call_of_http_2() -> Result<()> {
    let gateway = EncryptedGateway::start().await?;
    gateway.rotates_under_load(Http::Two, Call::Json).await?;
    gateway.fabric.stop().await
}

#[tokio::test]
async fn certificate_that_is_replaced_under_load_loses_no_call_of_grpc() -> Result<()> {
    let gateway = EncryptedGateway::start().await?;
    gateway.rotates_under_load(Http::Two, Call::Grpc).await?;
    gateway.fabric.stop().await
}

#[tokio::test]
async fn broken_certificate_is_refused_though_nobody_connects_and_the_old_one_goes_on() -> Result<()> {
    let mut gateway = EncryptedGateway::start().await?;
    let before = gateway.connect(Http::Two).await?.shown;
    replace(&gateway.cert, "half a certifica")?;
    let labels = [("kind", "server_tls"), ("outcome", "refused")];
    gateway.fabric.gateway.await_metric(RELOADS, &labels, |refused| refused > 0.5).await?;
    let log = gateway.fabric.gateway.process.log();
    assert!(log.contains("reload refused: the old files stay in use") && log.contains("tls.crt"), "{log}");
    assert_eq!(gateway.connect(Http::Two).await?.shown, before);
    gateway.fabric.stop().await
}

/// A server over TLS that wants certificates of its clients, before an upstream that speaks plaintext.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    tls: Mutex<Arc<ServerConfig>>,
    /// The certificate of the client that connected last.
    client: watch::Sender<Option<CertificateDer<'static>>>,
}

impl Front {
    pub(crate) async fn start(upstream: SocketAddr, tls: Arc<ServerConfig>) -> Result<Arc<Self>> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, client) = (listener.local_addr()?, watch::Sender::default());
        let front = Arc::new(Self { address, tls: Mutex::new(tls), client });
        let serving = Arc::clone(&front);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&serving).pass(stream, upstream));
            }
        });
        Ok(front)
    }

    async fn pass(self: Arc<Self>, stream: TcpStream, upstream: SocketAddr) -> Result<()> {
        let tls = Arc::clone(&self.tls.lock().expect("no panic"));
        let mut stream = TlsAcceptor::from(tls).accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).cloned();
        self.client.send_replace(shown.map(CertificateDer::into_owned));
        copy_bidirectional(&mut stream, &mut TcpStream::connect(upstream).await?).await?;
        Ok(())
    }

    pub(crate) fn change(&self, tls: Arc<ServerConfig>) {
        *self.tls.lock().expect("no panic") = tls;
    }

    pub(crate) async fn await_client(&self, identity: &Identity) -> Result<()> {
        let mut shown = self.client.subscribe();
        let shown = shown.wait_for(|shown| shown.as_ref() == Some(&identity.der));
        timeout(BOUND, shown).await.context("nobody connects with the new certificate")??;
        Ok(())
    }
}

/// Shows this certificate, and lets in whom one of these authorities vouches for.
pub(crate) fn serving(identity: &Identity, authorities: &[&Authority]) -> Result<Arc<ServerConfig>> {
    let verifier = WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots(authorities.iter().map(|authority| authority.der()))),
        provider(),
    )
    .build()?;
    let chain = vec![identity.der.clone()];
    let tls = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let mut tls = tls.with_client_cert_verifier(verifier).with_single_cert(chain, identity.key_der())?;
    tls.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(tls))
}

#[tokio::test]
async fn authorities_and_certificates_of_mutual_tls_that_are_replaced_under_load_lose_no_call() -> Result<()> {
    let (old, new, directory) = (Authority::named("authority"), Authority::named("authority"), tempfile::tempdir()?);
    let [ca, cert, key] = ["ca.pem", "client.crt", "client.key"].map(|name| directory.path().join(name));
    let (both, own) = (format!("{}{}", old.pem(), new.pem()), new.issue(&HERE));
    replace(&ca, &old.pem())?;
    write(&cert, &key, &old.issue(&HERE))?;
    let (server_before, server_after) = (old.issue(&HERE), new.issue(&HERE));
    let echo = ScriptedUpstream::start().await?;
    let upstream = echo.url().trim_start_matches("http://").parse()?;
    let front = Front::start(upstream, serving(&server_before, &[&old])?).await?;
    let [ca_file, cert_file, key_file] = [&ca, &cert, &key].map(|file| file.display().to_string());
    let files = toml! { tls = { ca_file = ca_file, cert_file = cert_file, key_file = key_file } };
    let url = format!("https://localhost:{}", front.address.port());
    let builder = Fabric::builder()?.upstream("echo", &url).upstream_settings("echo", files).overlay(OVERLAY);
    let mut fabric = builder.start().await?;
    let gateway = fabric.gateway.listen;
    let call = || async move {
        let call = GrpcCall::to(gateway, "/echo.v1.EchoService/Say").body(word("hop"));
        call.send().await?.ok().map(drop)
    };
    let mut replaced = async |times: u32| await_reloads(&mut fabric.gateway, "client_tls", times).await;
    under_load(call, async {
        // Each side trusts both authorities before the other one shows a certificate of the new one.
        replace(&ca, &both)?;
        front.change(serving(&server_before, &[&old, &new])?);
        replaced(1).await?;
        front.change(serving(&server_after, &[&old, &new])?);
        write(&cert, &key, &own)?;
        replaced(2).await?;
        front.await_client(&own).await?;
        front.change(serving(&server_after, &[&new])?);
        replace(&ca, &new.pem())?;
        replaced(3).await?;
        Ok(())
    })
    .await?;
    fabric.stop().await
}
