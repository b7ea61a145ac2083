//! The URL of a store.

use std::{
    fmt,
    fs::OpenOptions,
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    path::{Path, PathBuf},
};

use log::LevelFilter;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use sqlx::{ConnectOptions, any::AnyConnectOptions};

use crate::{Error, engine::Engine};

/// Bytes of a path that stand for themselves. Slashes and colons do not: a URL with them would have its `..` resolved
/// before the file system sees it, and its first segment taken for a host.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Where a store is: a SQLite file, or a database on a PostgreSQL server.
#[derive(Clone)]
pub struct Location {
    url: String,
    file: Option<PathBuf>,
}

impl Location {
    /// Reads `sqlite://` with a path, which is taken as it stands up to a `?`, or `postgres://…`.
    pub fn parse(url: &str) -> Result<Self, Error> {
        match url.split_once("://").ok_or(Error::Url)? {
            ("postgres" | "postgresql", _) => Ok(Self { url: url.to_owned(), file: None }),
            ("sqlite", named) => {
                let (path, parameters) = named.split_once('?').unwrap_or((named, ""));
                // A database in memory is forgotten with its connection, and here nothing may be forgotten.
                if path.is_empty() || path == ":memory:" {
                    return Err(Error::Url);
                }
                let Self { mut url, file } = Self::sqlite(Path::new(path));
                if !parameters.is_empty() {
                    url = format!("{url}?{parameters}");
                }
                Ok(Self { url, file })
            }
            _ => Err(Error::Url),
        }
    }

    /// A SQLite file of any name.
    pub fn sqlite(path: &Path) -> Self {
        let url = format!("sqlite:{}", percent_encode(path.as_os_str().as_bytes(), PATH));
        Self { url, file: Some(path.to_owned()) }
    }

    /// The SQLite file; None for a server.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    pub(crate) fn engine(&self) -> Engine {
        if self.file.is_some() { Engine::Sqlite } else { Engine::Postgres }
    }

    /// Statements are logged at the level trace alone: a probe runs several times a second. Slow ones are warned of, as
    /// text without values.
    pub(crate) fn options(&self) -> Result<AnyConnectOptions, Error> {
        let options = self.url.parse::<AnyConnectOptions>().map_err(|error| self.refused(error))?;
        Ok(options.log_statements(LevelFilter::Trace))
    }

    /// Makes the file where it is missing, so that only its owner reads it; SQLite gives the files beside it the same mode.
    /// The mode of a file that is there is its owner's choice.
    pub(crate) fn make_file(&self) -> Result<(), Error> {
        let Some(path) = &self.file else { return Ok(()) };
        let made = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        made.map(drop).map_err(|error| Error::File { path: path.clone(), error })
    }

    /// Why this place can't be used.
    pub(crate) fn refused(&self, error: sqlx::Error) -> Error {
        match &self.file {
            Some(path) => Error::Unusable { path: path.clone(), error },
            None => Error::Server(error),
        }
    }
}

impl fmt::Debug for Location {
    /// The URL of a server may hold a password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Location").field("file", &self.file).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Location;
    use crate::{Error, engine::Engine};

    #[test]
    fn url_of_each_engine_is_parsed() {
        for (url, engine, file) in [
            ("sqlite://accord.db", Engine::Sqlite, Some("accord.db")),
            ("sqlite:///var/lib/accord/a b.db", Engine::Sqlite, Some("/var/lib/accord/a b.db")),
            ("sqlite://accord.db?mode=rw", Engine::Sqlite, Some("accord.db")),
            ("postgres://user:password@host/database", Engine::Postgres, None),
            ("postgresql://host/database", Engine::Postgres, None),
        ] {
            let location = Location::parse(url).unwrap();
            assert_eq!((location.engine(), location.file()), (engine, file.map(Path::new)), "{url}");
        }
    }

    #[test]
    fn url_of_no_durable_store_is_refused() {
        for url in ["", "mysql://host/database", "accord.db", "sqlite:accord.db", "sqlite://", "sqlite://:memory:"] {
            assert!(matches!(Location::parse(url), Err(Error::Url)), "{url}");
        }
    }

    #[test]
    fn location_shown_for_debugging_hides_the_password() {
        let location = Location::parse("postgres://user:hunter2@host/database").unwrap();
        assert!(!format!("{location:?}").contains("hunter2"));
    }
}
