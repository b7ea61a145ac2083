//! Configuration: TOML files over the defaults, later ones over earlier ones, overridden by the environment, overridden by
//! flags.
//!
//! A configuration is a tree of plain data. The defaults of a binary are its lowest layer, so that a section keeps them
//! whichever of its keys is set. Every error names the key, the place where the refused word stands (file, line and column;
//! variable; flag) and the way out; an error about a secret never repeats it.

pub mod bound;
mod difference;
mod environment;
mod invalid;
mod merge;
mod origin;
mod read;
mod schema;
mod secret;
mod suggest;
mod tree;

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

pub(crate) use difference::Places;
pub use invalid::Invalid;
pub use origin::Origin;
pub use schema::{Key, keys};
pub use secret::Secret;
pub use suggest::nearest;

use crate::file;
use read::Refusal;
use tree::Node;

/// The configuration of a binary.
pub trait Configuration: DeserializeOwned + Serialize + Default {
    /// What its environment variables begin with, as in `PREFIX__LISTEN__ADDRESS`.
    const PREFIX: &'static str;

    /// What contradicts itself in values that each fit their key. Looks at nothing but the values.
    fn contradictions(&self) -> Vec<Invalid>;
}

/// Why a configuration is refused, as one sentence with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error(
        "can't read the configuration file {}: {error}; check the path given with --config or in the variable {variable}", file.display()
    )]
    Unreadable {
        /// The variable that names files where no flag does.
        variable: String,
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
        /// What is wrong there, with the key.
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

/// A configuration, and where each of its values comes from.
pub struct Loaded<T> {
    /// The values.
    pub config: T,
    places: Node,
}

impl<T> Loaded<T> {
    /// What is wrong with a value, with the place where it was given.
    pub fn refuse(&self, invalid: Invalid) -> ConfigError {
        let Invalid { key, problem, remedy } = invalid;
        let origin = self.places.place(&key).clone();
        ConfigError::Refused { origin, problem: format!("`{key}`: {problem}"), remedy }
    }
}

impl<T> Loaded<T> {
    /// The values, and what was written for them.
    pub(crate) fn split(self) -> (T, Places) {
        (self.config, Places(self.places))
    }

    /// The same with values that something else was added to.
    pub(crate) fn try_map<E>(self, change: impl FnOnce(T) -> Result<T, E>) -> Result<Self, E> {
        Ok(Self { config: change(self.config)?, places: self.places })
    }
}

impl<T: fmt::Debug> fmt::Debug for Loaded<T> {
    /// Without the text that the values were read from: there are secrets in it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Loaded").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Reads the configuration: `files`, the later over the earlier, over them variables such as `PREFIX__LISTEN__ADDRESS`, over
/// them `overrides`. Lists of sections, as in `[[upstream]]`, are joined; of two sections with the same `name` none is
/// preferred, they are refused.
pub fn load<T: Configuration>(files: &[PathBuf], overrides: Overrides) -> Result<Loaded<T>, ConfigError> {
    load_with(files, std::env::vars_os(), overrides)
}

/// The configuration files: those given with `--config`, or else those of the variable `PREFIX_CONFIG`, which separates
/// several as `PATH` does.
pub fn files(prefix: &str, given: Vec<PathBuf>) -> Vec<PathBuf> {
    if !given.is_empty() {
        return given;
    }
    let variable = std::env::var_os(variable(prefix)).unwrap_or_default();
    std::env::split_paths(&variable).filter(|file| !file.as_os_str().is_empty()).collect()
}

/// Like [`load`], with the environment given.
pub fn load_with<T: Configuration>(
    files: &[PathBuf],
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    overrides: Overrides,
) -> Result<Loaded<T>, ConfigError> {
    let mut root = defaults::<T>();
    for file in files {
        root.overlay_root(tree::parse(file, &read_file(T::PREFIX, file)?)?)?;
    }
    root.overlay_environment(T::PREFIX, environment.into_iter().collect(), keys::<T>)?;
    for (key, flag, value) in overrides.0 {
        root.overlay_flag(key, flag, &value)?;
    }
    let config = T::deserialize(&root).map_err(Refusal::into_error)?;
    Ok(Loaded { config, places: root })
}

/// The lowest layer. What has no default is absent from it.
fn defaults<T: Configuration>() -> Node {
    // Plain data can be written; were it not so, each key would be missed by name.
    let values = toml::Table::try_from(T::default()).unwrap_or_default();
    Node::from_value(&values.into(), &Origin::Default)
}

/// The effective configuration as it is printed, with `***` for secrets: as text it is TOML.
#[derive(Serialize)]
#[serde(transparent)]
pub struct Printed<T>(pub T);

impl<T: Serialize> fmt::Display for Printed<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match toml::to_string_pretty(&self.0) {
            Ok(text) => formatter.write_str(&text),
            Err(error) => writeln!(formatter, "# this configuration can't be printed: {error}"),
        }
    }
}

fn read_file(prefix: &str, file: &Path) -> Result<String, ConfigError> {
    let bytes = file::read(file, file::LONGEST).map_err(|error| {
        let variable = variable(prefix);
        ConfigError::Unreadable { variable, file: file.to_owned(), error }
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
        tree::refused(Origin::in_file(&file.into(), &text, valid), "this is not UTF-8", "write the file in UTF-8")
    })
}

/// The environment variable that names the configuration files.
fn variable(prefix: &str) -> String {
    format!("{prefix}_CONFIG")
}
