//! The one provider of cryptography.

/// Makes aws-lc-rs the process's crypto provider. Further calls change nothing.
pub fn install_provider() {
    // It fails only where a provider is installed already, and this project installs no other.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
