//! Why TLS can't be set up.

use std::path::PathBuf;

use super::source::WORKLOAD_API;
use crate::{config::Invalid, workload_api::WorkloadApiError};

/// Why TLS can't be set up.
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
    /// A list of clients that can't be read, or names nobody.
    #[error("can't read names of clients from {}: {error}; write one on a line, spiffe://TRUST_DOMAIN/PATH, the same with /* at its end \
             for all below, or dns:NAME", file.display())]
    ClientNames {
        /// The file.
        file: PathBuf,
        /// What went wrong.
        error: String,
    },
    /// No authority is known that could vouch for a server.
    #[error("this machine has no trusted certificates; install them, or name the authorities in ca_file")]
    NoSystemRoots,
    /// No certificate is given.
    #[error("there is no certificate; give cert_file and key_file, or workload_api")]
    NoIdentity,
    /// The Workload API gives no certificate.
    #[error(transparent)]
    WorkloadApi(#[from] WorkloadApiError),
    /// The certificate of the Workload API can't be used.
    #[error("the X.509-SVID of the Workload API can't be used: {0}; look into the agent's log")]
    Svid(#[from] rustls::Error),
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
    pub(super) fn about(&self, files: &[(&'static str, Option<&PathBuf>)]) -> Invalid {
        let key = match self {
            Self::Certificates { file, .. } | Self::Authorities { file, .. } => {
                files.iter().find(|(_, named)| *named == Some(file)).map_or("cert_file", |(key, _)| key)
            }
            Self::PrivateKey { .. } => "key_file",
            Self::ClientNames { .. } => "client_names_file",
            Self::NoSystemRoots => "ca_file",
            Self::WorkloadApi(_) | Self::Svid(_) => WORKLOAD_API,
            Self::NoIdentity => "",
            Self::Identity { .. } | Self::HalfIdentity | Self::Name(_) => "cert_file",
        };
        Invalid::of(key, self)
    }
}
