//! The certificate that every server shows over TLS, made anew for each run.

use std::{fs, path::Path, sync::Arc};

use accord_test_certificates::{Identity, roots};
use anyhow::{Context, Result};
use rustls::{ClientConfig, crypto::aws_lc_rs};

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
        let made = Identity::self_signed(&[NAME]);
        let write = |name: &str, content: &str| -> Result<String> {
            let path = directory.join(name);
            fs::write(&path, content).with_context(|| format!("{} can't be written", path.display()))?;
            Ok(path.display().to_string())
        };
        Ok(Self {
            cert_file: write("tls.crt", &made.certificate)?,
            key_file: write("tls.key", &made.key)?,
            both_file: write("tls.pem", &format!("{}{}", made.certificate, made.key))?,
            trusted: Arc::new(trusting(&made)?),
        })
    }

    /// What a client needs that trusts it alone.
    pub(super) fn trusted(&self) -> &Arc<ClientConfig> {
        &self.trusted
    }
}

fn trusting(server: &Identity) -> Result<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots([&server.der])).with_no_client_auth())
}
