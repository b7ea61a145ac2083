//! Files as Kubernetes mounts them.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::Result;

/// Files as a kubelet mounts those of a Secret: links into a directory, in whose place another one is put at once.
pub struct MountedSecret {
    directory: PathBuf,
    files: BTreeMap<String, String>,
    versions: u32,
}

impl MountedSecret {
    /// Mounts one without files.
    pub fn in_directory(directory: PathBuf) -> Result<Self> {
        fs::create_dir(&directory)?;
        Ok(Self { directory, files: BTreeMap::new(), versions: 0 })
    }

    /// Where one of its files is.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Replaces these of its files, all at once; the others stay.
    pub fn replace(&mut self, files: &[(&str, &str)]) -> Result<()> {
        self.files.extend(files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())));
        let (before, [current, next]) =
            (format!("..{}", self.versions), ["..data", "..data_tmp"].map(|it| self.file(it)));
        self.versions += 1;
        let version = format!("..{}", self.versions);
        fs::create_dir(self.file(&version))?;
        for (name, text) in &self.files {
            fs::write(self.file(&version).join(name), text)?;
        }
        symlink(&version, &next)?;
        fs::rename(&next, &current)?;
        for name in self.files.keys().filter(|name| !self.file(name).exists()) {
            symlink(Path::new("..data").join(name), self.file(name))?;
        }
        if self.versions > 1 {
            fs::remove_dir_all(self.file(&before))?;
        }
        Ok(())
    }
}
