//! Files with one secret: passwords, client secrets, the encryption key.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use accord_runtime::file::{SECRET, read_text};
use anyhow::Context as _;

use crate::domain::encryption_key::generate_secret;

/// The secret in the file, without the white space around it.
pub fn read(path: &Path) -> anyhow::Result<String> {
    try_read(path).with_context(|| format!("{} can't be read", path.display()))
}

/// As `read`, with the system's own error.
pub(crate) fn try_read(path: &Path) -> io::Result<String> {
    Ok(read_text(path, SECRET)?.trim().to_owned())
}

/// Makes an encryption key in a new file.
pub fn create_encryption_key(path: &Path) -> anyhow::Result<()> {
    write_new(path, &generate_secret()?).with_context(|| {
        format!("the key can't be written to {}; a file that exists is never replaced", path.display())
    })
}

/// Writes a secret into a new file that only its owner can read. An existing file is never replaced.
pub(crate) fn write_new(path: &Path, secret: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(format!("{secret}\n").as_bytes())?;
    file.sync_all()
}
