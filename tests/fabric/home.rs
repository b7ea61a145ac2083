//! Where a fabric keeps its files: configuration, secrets, databases, logs.

use std::{
    fs::{self, File, Permissions},
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use tempfile::TempDir;

const OWNER_ONLY: u32 = 0o600;

/// A directory, thrown away with the fabric unless it was given.
pub(crate) struct Home {
    path: PathBuf,
    _thrown_away: Option<TempDir>,
}

impl Home {
    /// A new directory that is thrown away in the end.
    pub(crate) fn temporary() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("accord-").tempdir()?;
        Self::new(directory.path().to_owned(), Some(directory))
    }

    /// A directory that is kept, and made where there is none.
    pub(crate) fn kept(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("can't make the directory {}", path.display()))?;
        Self::new(path.canonicalize()?, None)
    }

    fn new(path: PathBuf, thrown_away: Option<TempDir>) -> Result<Self> {
        for part in ["config", "data", "log", "secret"].map(|part| path.join(part)) {
            fs::create_dir_all(&part).with_context(|| format!("can't make the directory {}", part.display()))?;
        }
        // Keys and databases of development are still nobody else's business.
        fs::set_permissions(&path, Permissions::from_mode(0o700))?;
        Ok(Self { path, _thrown_away: thrown_away })
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where a server's configuration stands.
    pub(crate) fn config(&self, name: &str) -> PathBuf {
        self.path.join("config").join(name).with_extension("toml")
    }

    /// Where auth finds what its principals may do.
    pub(crate) fn policies(&self) -> PathBuf {
        self.path.join("config").join("policies.cedar")
    }

    /// Where a database stands.
    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.path.join("data").join(name)
    }

    /// Where processes write what they have to say.
    pub(crate) fn logs(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Where one of them does.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.logs().join(name).with_extension("log")
    }

    /// Where the key stands that seals auth's own keys.
    pub(crate) fn encryption_key(&self) -> PathBuf {
        self.secret("encryption-key")
    }

    /// Where a secret stands.
    pub(crate) fn secret(&self, name: &str) -> PathBuf {
        self.path.join("secret").join(name)
    }
}

/// What databases and secrets were at a moment, by their paths in a home.
pub(crate) struct Saved(Vec<(PathBuf, Vec<u8>)>);

impl Home {
    /// The databases and secrets, while no process writes them.
    pub(crate) fn save(&self) -> Result<Saved> {
        let mut saved = Vec::new();
        for folder in ["data", "secret"].map(Path::new) {
            for entry in fs::read_dir(self.path.join(folder))? {
                let entry = entry?;
                saved.push((folder.join(entry.file_name()), fs::read(entry.path())?));
            }
        }
        Ok(Saved(saved))
    }

    /// Writes what was saved of another home.
    pub(crate) fn restore(&self, saved: &Saved) -> Result<()> {
        saved.0.iter().try_for_each(|(path, content)| write(&self.path.join(path), content))
    }
}

/// Writes a file that only its owner can read.
pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    let mut file = File::options().create(true).truncate(true).write(true).mode(OWNER_ONLY).open(path)?;
    Ok(file.write_all(content.as_ref())?)
}
