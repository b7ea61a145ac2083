//! TLS from files, re-read when they change: server certificates, client certificates and trust bundles.

use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use opentelemetry::{KeyValue, metrics::Gauge};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, ServerConnection,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};
use serde::{Deserialize, Serialize};

use crate::{
    config::{
        Invalid,
        bound::{self, DAY, Time},
    },
    file::{LONGEST, read},
    reload::{INTERVAL, Reloading},
    telemetry,
};

mod expiry;

/// Certificate and key of a listener.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file with the certificate chain, the server's own certificate first. No default.
    #[serde(deserialize_with = "bound::file")]
    pub cert_file: PathBuf,
    /// PEM file with the private key. No default.
    #[serde(deserialize_with = "bound::file")]
    pub key_file: PathBuf,
    /// PEM file with the authorities of client certificates. When set, a client with one of another authority, or out of its time,
    /// is refused. Default: none.
    #[serde(default, deserialize_with = "bound::file", skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<PathBuf>,
    /// Whether a client has to show a certificate of these authorities (`required`), or may come without one (`optional`). Default:
    /// `required`.
    #[serde(default)]
    pub client_certificate: ClientCertificate,
    /// How often at most the files are looked at for changes, 1ms to 24h. Default 1s.
    #[serde(default = "reload_interval", with = "Time::<1, DAY>")]
    pub reload_interval: Duration,
}

/// Whether a client has to show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificate {
    /// It has to.
    #[default]
    Required,
    /// It may; one that it shows has to be good.
    Optional,
}

impl Default for TlsConfig {
    fn default() -> Self {
        let none = PathBuf::new();
        Self {
            cert_file: none.clone(),
            key_file: none,
            client_ca_file: None,
            client_certificate: ClientCertificate::default(),
            reload_interval: reload_interval(),
        }
    }
}

impl TlsConfig {
    /// Which of the files can't be used.
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        install_provider();
        if self.client_certificate == ClientCertificate::Optional && self.client_ca_file.is_none() {
            let problem = "no client is asked for a certificate without authorities that could vouch for it";
            return Err(Invalid::new(
                "client_certificate",
                problem,
                "name them in `client_ca_file`, or leave the key out",
            ));
        }
        let files = [("cert_file", Some(&self.cert_file)), ("client_ca_file", self.client_ca_file.as_ref())];
        server_from_files(self).map(drop).map_err(|error| error.about(&files))
    }
}

fn reload_interval() -> Duration {
    INTERVAL
}

/// Why TLS can't be set up from its files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file of certificates that can't be read, or holds none.
    #[error("can't read certificates from {}: {error}; check the path, its permissions, and that it is PEM", file.display())]
    Certificates {
        /// The file.
        file: PathBuf,
        /// What went wrong, without the file's content.
        error: String,
    },
    /// A file of a private key that can't be read, or holds none.
    #[error("can't read a private key from {}: {error}; check the path, its permissions, and that it is PEM", file.display())]
    PrivateKey {
        /// The file.
        file: PathBuf,
        /// What went wrong, without the file's content.
        error: String,
    },
    /// Certificate and key that don't go together.
    #[error("{} and {} can't be used together: {error}; check that the key is the certificate's", cert.display(), key.display())]
    Identity {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong with them.
        error: rustls::Error,
    },
    /// Authorities that can't vouch for anybody.
    #[error("{} can't vouch for anybody: {error}; put certificates of authorities into it", file.display())]
    Authorities {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        error: String,
    },
    /// No authority is known that could vouch for a server.
    #[error("this machine has no trusted certificates; install them, or name the authorities in ca_file")]
    NoSystemRoots,
    /// A certificate without its key, or the other way round.
    #[error("cert_file and key_file belong together; give both or none")]
    HalfIdentity,
    /// A name or address that no certificate can stand for.
    #[error("{0:?} is not a server name; use a host name or an IP address")]
    Name(String),
}

impl TlsError {
    /// The error, at the key that it is about. `files` are the keys of certificates in the order in which they are read: of
    /// several that name the same file, the first one failed.
    fn about(&self, files: &[(&'static str, Option<&PathBuf>)]) -> Invalid {
        let key = match self {
            Self::Certificates { file, .. } | Self::Authorities { file, .. } => {
                files.iter().find(|(_, named)| *named == Some(file)).map_or("cert_file", |(key, _)| key)
            }
            Self::PrivateKey { .. } => "key_file",
            Self::NoSystemRoots => "ca_file",
            Self::Identity { .. } | Self::HalfIdentity | Self::Name(_) => "cert_file",
        };
        Invalid::of(key, self)
    }
}

/// Makes aws-lc-rs the process's crypto provider. Further calls change nothing.
pub fn install_provider() {
    // It fails only where a provider is installed already, and this project installs no other.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// A listener's TLS, following its files.
pub(crate) fn server(config: &TlsConfig) -> Result<Arc<Reloading<ServerConfig>>, TlsError> {
    install_provider();
    let mut files = vec![config.cert_file.clone(), config.key_file.clone()];
    files.extend(config.client_ca_file.clone());
    let (config, expiry) = (config.clone(), Expiry::gauge());
    Reloading::new("server_tls", files, config.reload_interval, move || {
        let server = server_from_files(&config)?;
        expiry.show(&config.cert_file);
        Ok::<_, TlsError>(server)
    })
}

fn server_from_files(config: &TlsConfig) -> Result<ServerConfig, TlsError> {
    let (chain, key) = (certificates(&config.cert_file)?, private_key(&config.key_file)?);
    let builder = match &config.client_ca_file {
        None => ServerConfig::builder().with_no_client_auth(),
        Some(file) => {
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots(file)?));
            let verifier = match config.client_certificate {
                ClientCertificate::Required => verifier,
                ClientCertificate::Optional => verifier.allow_unauthenticated(),
            };
            let verifier = verifier.build().map_err(|error| no_authorities(file, &error))?;
            ServerConfig::builder().with_client_cert_verifier(verifier)
        }
    };
    let server = builder.with_single_cert(chain, key);
    let mut server = server.map_err(|error| mismatch(&config.cert_file, &config.key_file, error))?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    if config.client_ca_file.is_some() {
        // The certificate of a session that is resumed is not verified again, so that one that has ended would come in.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
    }
    Ok(server)
}

/// How much longer the certificate of a client is valid; None where it showed none.
pub(crate) fn certificate_life(session: &ServerConnection) -> Option<Duration> {
    let ends = expiry::not_after(session.peer_certificates()?.first()?)?;
    Some(ends.duration_since(SystemTime::now()).unwrap_or_default())
}

/// Why a handshake failed, where that is the client's certificate.
pub(crate) fn refused_certificate<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let error = error.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref()?;
    matches!(error, rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented).then_some(error)
}

/// What a client trusts, and who it is: the section `tls` of every section that says how somebody is called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientFiles {
    /// PEM file with the authorities that servers are verified against. Default: the system's.
    #[serde(deserialize_with = "bound::file", skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// PEM file with the certificate chain that is shown to servers that ask for one. Default: none.
    #[serde(deserialize_with = "bound::file", skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// PEM file with the key of that certificate. Default: none.
    #[serde(deserialize_with = "bound::file", skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

impl ClientFiles {
    /// Whether no file is given.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a server can be verified with these files, or with what the system trusts where there is none: better known
    /// before the first connection asks.
    pub fn check(&self) -> Result<(), Invalid> {
        let files = [("ca_file", self.ca_file.as_ref()), ("cert_file", self.cert_file.as_ref())];
        install_provider();
        self.client().map(drop).map_err(|error| error.about(&files))
    }

    /// Whether a certificate has its key.
    pub fn contradiction(&self) -> Option<Invalid> {
        let half = if self.cert_file.is_some() { "cert_file" } else { "key_file" };
        self.identity().err().map(|error| Invalid::of(half, error))
    }

    /// A client's TLS, following the files.
    pub fn load(&self) -> Result<Arc<Reloading<ClientConfig>>, TlsError> {
        install_provider();
        let files = self.clone();
        let watched = [&self.ca_file, &self.cert_file, &self.key_file].into_iter().flatten().cloned().collect();
        let expiry = Expiry::gauge();
        Reloading::new("client_tls", watched, INTERVAL, move || {
            let client = files.client()?;
            files.cert_file.iter().for_each(|file| expiry.show(file));
            Ok::<_, TlsError>(client)
        })
    }

    /// The certificate and its key.
    pub(crate) fn identity(&self) -> Result<Option<(&Path, &Path)>, TlsError> {
        match (&self.cert_file, &self.key_file) {
            (Some(cert), Some(key)) => Ok(Some((cert, key))),
            (None, None) => Ok(None),
            _ => Err(TlsError::HalfIdentity),
        }
    }

    fn client(&self) -> Result<ClientConfig, TlsError> {
        let identity = self.identity()?;
        let trusted = self.ca_file.as_deref().map_or_else(system_roots, roots)?;
        let builder = ClientConfig::builder().with_root_certificates(trusted);
        let mut client = match identity {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let client = builder.with_client_auth_cert(certificates(cert)?, private_key(key)?);
                client.map_err(|error| mismatch(cert, key, error))?
            }
        };
        client.alpn_protocols = vec![b"h2".to_vec()];
        Ok(client)
    }
}

/// Shows when certificates end: an alert before that is all there is against it.
struct Expiry(Gauge<f64>);

impl Expiry {
    fn gauge() -> Self {
        let meter = telemetry::meter();
        let gauge = meter.f64_gauge("accord.tls.certificate.expiry").with_unit("s");
        Self(gauge.with_description("When a certificate that is shown ends, in seconds since 1970").build())
    }

    /// The chain in a file is good until the first of it ends.
    fn show(&self, file: &Path) {
        let ends = certificates(file).unwrap_or_default().iter().filter_map(|it| expiry::not_after(it)).min();
        if let Some(since) = ends.and_then(|ends| ends.duration_since(SystemTime::UNIX_EPOCH).ok()) {
            self.0.record(since.as_secs_f64(), &[KeyValue::new("file", file.display().to_string())]);
        }
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |error: String| TlsError::Certificates { file: file.to_owned(), error };
    let text = read(file, LONGEST).map_err(|error| unreadable(error.to_string()))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(|error| unreadable(error.to_string()))?;
    if chain.is_empty() { Err(unreadable("there is none in it".to_owned())) } else { Ok(chain) }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let unreadable = |error: String| TlsError::PrivateKey { file: file.to_owned(), error };
    let text = read(file, LONGEST).map_err(|error| unreadable(error.to_string()))?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| unreadable(error.to_string()))
}

fn roots(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(file)? {
        roots.add(authority).map_err(|error| no_authorities(file, &error))?;
    }
    Ok(roots)
}

/// What the machine trusts. Single unreadable certificates of it are left out.
fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 { Err(TlsError::NoSystemRoots) } else { Ok(roots) }
}

fn mismatch(cert: &Path, key: &Path, error: rustls::Error) -> TlsError {
    TlsError::Identity { cert: cert.to_owned(), key: key.to_owned(), error }
}

fn no_authorities(file: &Path, error: &dyn std::fmt::Display) -> TlsError {
    TlsError::Authorities { file: file.to_owned(), error: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_certificate_without_its_key_is_refused() {
        let half = ClientFiles { cert_file: Some("a.pem".into()), ..ClientFiles::default() };
        assert_eq!(half.contradiction().unwrap().key, "cert_file");
        assert!(matches!(half.load(), Err(TlsError::HalfIdentity)));
        let half = ClientFiles { key_file: Some("a.pem".into()), ..ClientFiles::default() };
        assert_eq!(half.contradiction().unwrap().key, "key_file");
        assert!(matches!(half.load(), Err(TlsError::HalfIdentity)));
    }

    #[test]
    fn client_files_that_cannot_be_read_are_named() {
        let missing = ClientFiles { ca_file: Some("nowhere/ca.pem".into()), ..ClientFiles::default() };
        let refused = missing.check().unwrap_err();
        assert_eq!(refused.key, "ca_file");
        assert!(refused.problem.contains("nowhere/ca.pem"), "{refused}");
    }

    #[test]
    fn optional_client_certificate_without_authorities_is_refused_at_its_key() {
        let tls = TlsConfig { client_certificate: ClientCertificate::Optional, ..TlsConfig::default() };
        assert_eq!(tls.check().unwrap_err().key, "client_certificate");
    }

    #[test]
    fn server_file_that_cannot_be_read_is_refused_at_its_own_key() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(file("cert.pem"), issued.cert.pem()).unwrap();
        for (cert, key, refused) in [
            ("missing", "missing", "cert_file"),
            ("cert.pem", "missing", "key_file"),
            ("cert.pem", "cert.pem", "key_file"),
        ] {
            let tls = TlsConfig { cert_file: file(cert), key_file: file(key), ..TlsConfig::default() };
            assert_eq!(tls.check().unwrap_err().key, refused, "{cert} {key}");
        }
    }
}
