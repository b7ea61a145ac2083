//! TLS from files, re-read when they change: server certificates, client certificates and trust bundles.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use serde::{Deserialize, Serialize};

use crate::reload::Reloading;

/// Certificate and key of a listener.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file with the certificate chain, the server's own certificate first.
    pub cert_file: PathBuf,
    /// PEM file with the private key.
    pub key_file: PathBuf,
    /// PEM file with the authorities of client certificates. When set, a client without a valid one is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<PathBuf>,
    /// How often at most the files are looked at for changes. Default 1s.
    #[serde(default = "reload_interval", with = "humantime_serde")]
    pub reload_interval: Duration,
}

impl Default for TlsConfig {
    fn default() -> Self {
        let none = PathBuf::new();
        Self { cert_file: none.clone(), key_file: none, client_ca_file: None, reload_interval: reload_interval() }
    }
}

fn reload_interval() -> Duration {
    Duration::from_secs(1)
}

/// Why TLS can't be set up from its files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that can't be read, or holds nothing of what it should.
    #[error("can't read {what} from {}: {error}; check the path, its permissions, and that it is PEM", file.display())]
    File {
        /// What the file should hold.
        what: &'static str,
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
    /// A name or address that no certificate can stand for.
    #[error("{0:?} is not a server name; use a host name or an IP address")]
    Name(String),
}

/// Makes aws-lc-rs the process's crypto provider. Further calls change nothing.
pub fn install_provider() {
    // It fails only where a provider is installed already, and this project installs no other.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// A listener's TLS, following its files.
pub(crate) fn server(config: &TlsConfig) -> Result<Reloading<ServerConfig>, TlsError> {
    install_provider();
    let mut files = vec![config.cert_file.clone(), config.key_file.clone()];
    files.extend(config.client_ca_file.clone());
    let config = config.clone();
    Reloading::new(files, config.reload_interval, move || server_from_files(&config))
}

fn server_from_files(config: &TlsConfig) -> Result<ServerConfig, TlsError> {
    let (chain, key) = (certificates(&config.cert_file)?, private_key(&config.key_file)?);
    let builder = match &config.client_ca_file {
        None => ServerConfig::builder().with_no_client_auth(),
        Some(file) => {
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots(file)?)).build();
            ServerConfig::builder().with_client_cert_verifier(verifier.map_err(|error| no_authorities(file, &error))?)
        }
    };
    let server = builder.with_single_cert(chain, key);
    let mut server = server.map_err(|error| mismatch(&config.cert_file, &config.key_file, error))?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(server)
}

/// What a client trusts, and who it is: PEM files.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientFiles {
    pub(crate) ca: Option<PathBuf>,
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

/// A client's TLS, following its files.
pub(crate) fn client(files: ClientFiles, interval: Duration) -> Result<Reloading<ClientConfig>, TlsError> {
    install_provider();
    let mut watched: Vec<PathBuf> = files.ca.iter().cloned().collect();
    watched.extend(files.identity.clone().into_iter().flat_map(|(cert, key)| [cert, key]));
    Reloading::new(watched, interval, move || client_from_files(&files))
}

fn client_from_files(files: &ClientFiles) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder().with_root_certificates(files.ca.as_deref().map_or_else(system_roots, roots)?);
    let mut client = match &files.identity {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let client = builder.with_client_auth_cert(certificates(cert)?, private_key(key)?);
            client.map_err(|error| mismatch(cert, key, error))?
        }
    };
    client.alpn_protocols = vec![b"h2".to_vec()];
    Ok(client)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |error: String| TlsError::File { what: "certificates", file: file.to_owned(), error };
    let text = fs::read(file).map_err(|error| unreadable(error.to_string()))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(|error| unreadable(error.to_string()))?;
    if chain.is_empty() { Err(unreadable("there is none in it".to_owned())) } else { Ok(chain) }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let unreadable = |error: String| TlsError::File { what: "a private key", file: file.to_owned(), error };
    let text = fs::read(file).map_err(|error| unreadable(error.to_string()))?;
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
