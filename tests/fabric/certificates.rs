//! Files with certificates that tests replace, and what encrypts there. What signs them is `accord_test_certificates`.

mod mounted_secret;

use std::{fs, path::Path, sync::Arc};

use anyhow::Result;
use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub use self::mounted_secret::MountedSecret;

/// What encrypts in tests.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Replaces a file as managers of certificates do: the next one is written aside and takes its name.
pub fn replace(file: &Path, text: &str) -> Result<()> {
    let next = file.with_added_extension("next");
    fs::write(&next, text)?;
    Ok(fs::rename(&next, file)?)
}
