//! TLS for tests: authorities, what they sign, files that are replaced, and connections that tell which certificate was shown.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Collected, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// An authority that signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate for this machine, and its key.
pub(crate) struct Identity {
    pub certificate: String,
    pub key: String,
    /// The certificate as it is shown.
    pub der: CertificateDer<'static>,
}

impl Authority {
    pub(crate) fn new() -> Result<Self> {
        Self::named("authority")
    }

    pub(crate) fn named(name: &str) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn der(&self) -> &CertificateDer<'static> {
        self.0.der()
    }

    pub(crate) fn issue(&self) -> Result<Identity> {
        self.sign(&CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?)
    }

    /// A certificate with these names, until this moment.
    pub(crate) fn issue_until(&self, ends: SystemTime, names: Vec<SanType>) -> Result<Identity> {
        let mut params = CertificateParams::new(Vec::new())?;
        (params.subject_alt_names, params.not_after) = (names, ends.into());
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Result<Identity> {
        let key = KeyPair::generate()?;
        let signed = params.signed_by(&key, &self.0)?;
        Ok(Identity { certificate: signed.pem(), key: key.serialize_pem(), der: signed.der().clone() })
    }
}

/// What vouches for peers: these authorities.
pub(crate) fn roots(authorities: &[&Authority]) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.0.der().clone())?;
    }
    Ok(roots)
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Replaces a file as managers of certificates do: the next one is written aside and takes its name.
pub(crate) fn replace(file: &Path, text: &str) -> Result<()> {
    let next = file.with_added_extension("next");
    fs::write(&next, text)?;
    Ok(fs::rename(&next, file)?)
}

/// Files as a kubelet mounts those of a Secret: links into a directory, in whose place another one is put at once.
pub(crate) struct MountedSecret {
    directory: PathBuf,
    files: BTreeMap<String, String>,
    versions: u32,
}

impl MountedSecret {
    /// Mounts one without files.
    pub(crate) fn in_directory(directory: PathBuf) -> Result<Self> {
        fs::create_dir(&directory)?;
        Ok(Self { directory, files: BTreeMap::new(), versions: 0 })
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Replaces these of its files, all at once; the others stay.
    pub(crate) fn replace(&mut self, files: &[(&str, &str)]) -> Result<()> {
        self.files.extend(files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())));
        let (before, [current, next]) =
            (format!("..{}", self.versions), ["..data", "..data_tmp"].map(|it| self.file(it)));
        self.versions += 1;
        let version = format!("..{}", self.versions);
        fs::create_dir(self.file(&version))?;
        for (name, text) in &self.files {
            fs::write(self.file(&version).join(name), text)?;
        }
        symlink(&version, &next)?;
        fs::rename(&next, &current)?;
        for name in self.files.keys().filter(|name| !self.file(name).exists()) {
            symlink(Path::new("..data").join(name), self.file(name))?;
        }
        if self.versions > 1 {
            fs::remove_dir_all(self.file(&before))?;
        }
        Ok(())
    }
}

/// Which version of HTTP a connection is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Http {
    One,
    Two,
}

/// A connection over TLS that is kept.
pub(crate) struct Connection {
    /// The certificate that was shown.
    pub shown: CertificateDer<'static>,
    sender: Sender,
}

enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    /// Connects to a server that the authority vouches for.
    pub(crate) async fn open(address: SocketAddr, authority: &Authority, http: Http) -> Result<Self> {
        Self::open_as(address, authority, http, None).await
    }

    /// The same with a certificate of the client's own.
    pub(crate) async fn open_as(
        address: SocketAddr,
        authority: &Authority,
        http: Http,
        client: Option<&Identity>,
    ) -> Result<Self> {
        let trust = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let trust = trust.with_root_certificates(roots(&[authority])?);
        let mut trust = match client {
            None => trust.with_no_client_auth(),
            Some(client) => {
                let key = PrivateKeyDer::from_pem_slice(client.key.as_bytes())?;
                trust.with_client_auth_cert(vec![client.der.clone()], key)?
            }
        };
        let alpn: &[u8] = if matches!(http, Http::One) { b"http/1.1" } else { b"h2" };
        trust.alpn_protocols = vec![alpn.to_vec()];
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost")?;
        let stream = TlsConnector::from(Arc::new(trust)).connect(name, stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).context("a certificate")?;
        let shown = shown.clone().into_owned();
        let sender = match http {
            Http::One => {
                let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
                tokio::spawn(connection);
                Sender::One(sender)
            }
            Http::Two => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
                tokio::spawn(connection);
                Sender::Two(sender)
            }
        };
        Ok(Self { shown, sender })
    }

    /// Sends a request, and reads the whole answer, which has to be a success.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Collected<Bytes>>> {
        let response = self.exchange(request).await?;
        if !response.status().is_success() {
            bail!("{} {:?}", response.status(), response.into_body().to_bytes());
        }
        Ok(response)
    }

    /// Sends a request, and reads the whole answer, whatever it is.
    pub(crate) async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Collected<Bytes>>> {
        let response = match &mut self.sender {
            Sender::One(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::Two(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        let (head, body) = response.into_parts();
        Ok(Response::from_parts(head, body.collect().await?))
    }
}
