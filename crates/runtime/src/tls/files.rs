//! Certificates and keys in PEM files.

use std::path::Path;

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::error::TlsError;
use crate::{
    client_names::ClientNames,
    file::{LONGEST, read, read_text},
};

pub(super) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |error: String| TlsError::Certificates { file: file.to_owned(), error };
    let text = read(file, LONGEST).map_err(|error| unreadable(error.to_string()))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(|error| unreadable(error.to_string()))?;
    if chain.is_empty() { Err(unreadable("there is none in it".to_owned())) } else { Ok(chain) }
}

pub(super) fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let unreadable = |error: String| TlsError::PrivateKey { file: file.to_owned(), error };
    let text = read(file, LONGEST).map_err(|error| unreadable(error.to_string()))?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| unreadable(error.to_string()))
}

pub(super) fn roots(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(file)? {
        roots.add(authority).map_err(|error| no_authorities(file, &error))?;
    }
    Ok(roots)
}

pub(super) fn client_names(file: &Path) -> Result<ClientNames, TlsError> {
    let unreadable = |error: String| TlsError::ClientNames { file: file.to_owned(), error };
    let text = read_text(file, LONGEST).map_err(|error| unreadable(error.to_string()))?;
    ClientNames::parse(&text).map_err(unreadable)
}

/// What the machine trusts. Single unreadable certificates of it are left out.
pub(super) fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 { Err(TlsError::NoSystemRoots) } else { Ok(roots) }
}

pub(super) fn mismatch(cert: &Path, key: &Path, error: rustls::Error) -> TlsError {
    TlsError::Identity { cert: cert.to_owned(), key: key.to_owned(), error }
}

pub(super) fn no_authorities(file: &Path, error: &dyn std::fmt::Display) -> TlsError {
    TlsError::Authorities { file: file.to_owned(), error: error.to_string() }
}
