//! The certificate that every server shows over TLS, made anew for each run.

use std::{fs, path::Path, sync::Arc};

use anyhow::{Context, Result};
use rcgen::generate_simple_self_signed;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::CertificateDer};

/// The name on it.
pub(super) const NAME: &str = "localhost";

/// A certificate on ECDSA over P-256, its key, and who trusts it.
pub(super) struct Certificate {
    pub cert_file: String,
    pub key_file: String,
    /// Both in one file.
    pub both_file: String,
    trusted: Arc<ClientConfig>,
}

impl Certificate {
    /// Makes it in this directory.
    pub(super) fn make(directory: &Path) -> Result<Self> {
        let made = generate_simple_self_signed([NAME.to_owned()])?;
        let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let write = |name: &str, content: &str| -> Result<String> {
            let path = directory.join(name);
            fs::write(&path, content).with_context(|| format!("{} can't be written", path.display()))?;
            Ok(path.display().to_string())
        };
        Ok(Self {
            cert_file: write("tls.crt", &cert)?,
            key_file: write("tls.key", &key)?,
            both_file: write("tls.pem", &format!("{cert}{key}"))?,
            trusted: Arc::new(trusting(made.cert.der())?),
        })
    }

    /// What a client needs that trusts it alone.
    pub(super) fn trusted(&self) -> &Arc<ClientConfig> {
        &self.trusted
    }
}

fn trusting(certificate: &CertificateDer<'static>) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
