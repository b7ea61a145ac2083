//! Configuration: TOML files, later ones over earlier ones, overridden by the environment, overridden by flags.
//!
//! A configuration is a tree of plain data. Every error names the place where the refused word stands (file, line and
//! column; variable; flag) and the way out; an error about a secret never repeats it.

pub mod bound;
mod merge;
mod origin;
mod read;
mod secret;
mod tree;

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

pub use origin::Origin;
pub use secret::Secret;

use read::Refusal;
use tree::Node;

/// Why a configuration is refused, as one sentence with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read the configuration file {}: {error}; check the path given with --config", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{origin}: {problem}; correct the TOML there")]
    Syntax {
        /// Where.
        origin: Origin,
        /// What the parser said.
        problem: String,
    },
    /// A key that isn't known, or a value that doesn't fit its key.
    #[error("{origin}: {problem}; {remedy}")]
    Refused {
        /// Where.
        origin: Origin,
        /// What is wrong there.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
}

/// Values from the command line. They override file and environment.
#[derive(Debug, Default)]
pub struct Overrides(Vec<(&'static str, &'static str, toml::Value)>);

impl Overrides {
    /// Sets the key with the dotted path `key` to what was given with `flag`.
    #[must_use]
    pub fn set(mut self, key: &'static str, flag: &'static str, value: impl Into<toml::Value>) -> Self {
        self.0.push((key, flag, value.into()));
        self
    }

    /// Like [`Overrides::set`], for a flag that may not have been given.
    #[must_use]
    pub fn set_option(self, key: &'static str, flag: &'static str, value: Option<impl Into<toml::Value>>) -> Self {
        match value {
            Some(value) => self.set(key, flag, value),
            None => self,
        }
    }
}

/// Reads the configuration: `files`, the later over the earlier, over them variables such as `PREFIX__LISTEN__ADDRESS`, over
/// them `overrides`. Lists of sections, as in `[[upstream]]`, are joined; of two sections with the same `name` none is
/// preferred, they are refused.
pub fn load<T>(prefix: &'static str, files: &[PathBuf], overrides: Overrides) -> Result<T, ConfigError>
where
    T: DeserializeOwned + Serialize + Default,
{
    load_with(prefix, files, std::env::vars_os(), overrides)
}

/// The configuration files: those given with `--config`, or else those of the variable `PREFIX_CONFIG`, which separates
/// several as `PATH` does.
pub fn files(prefix: &str, given: Vec<PathBuf>) -> Vec<PathBuf> {
    if !given.is_empty() {
        return given;
    }
    let variable = std::env::var_os(format!("{prefix}_CONFIG")).unwrap_or_default();
    std::env::split_paths(&variable).filter(|file| !file.as_os_str().is_empty()).collect()
}

/// Like [`load`], with the environment given.
pub fn load_with<T>(
    prefix: &'static str,
    files: &[PathBuf],
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    overrides: Overrides,
) -> Result<T, ConfigError>
where
    T: DeserializeOwned + Serialize + Default,
{
    let mut root = Node::empty();
    for file in files {
        root.overlay_file(tree::parse(file, &read_file(file)?)?)?;
    }
    let mut environment: Vec<_> = environment.into_iter().collect();
    // A section comes before its keys, so that a contradiction between them never depends on the system's order.
    environment.sort_unstable();
    for (variable, value) in environment {
        root.overlay_variable(prefix, &variable, &value)?;
    }
    for (key, flag, value) in overrides.0 {
        root.overlay_flag(key, flag, &value)?;
    }
    T::deserialize(&root).map_err(Refusal::into_error)
}

/// The effective configuration as TOML, with `***` for secrets.
pub fn print<T: Serialize>(config: &T) -> String {
    toml::to_string_pretty(config).unwrap_or_else(|error| format!("# this configuration can't be printed: {error}\n"))
}

fn read_file(file: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(file).map_err(|error| ConfigError::Unreadable { file: file.to_owned(), error })
}
