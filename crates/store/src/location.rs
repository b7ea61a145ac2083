//! The URL of a store.

use std::{
    borrow::Cow,
    fmt,
    fs::OpenOptions,
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    path::{Path, PathBuf},
    str::FromStr,
};

use log::LevelFilter;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode, utf8_percent_encode};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Unexpected},
};
use sqlx::{ConnectOptions, any::AnyConnectOptions, postgres::PgConnectOptions, sqlite::SqliteConnectOptions};

use crate::{Error, engine::Engine, password};

/// Bytes of a path that stand for themselves. Slashes and colons do not: a URL with them would have its `..` resolved
/// before the file system sees it, and its first segment taken for a host.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The parameters of a PostgreSQL URL. The driver ignores others and logs their values: a misspelt `password` would be shown.
const PARAMETERS: [&str; 18] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// The parameter that is ours: a file with the password, which the driver gets in its place.
const PASSWORD_FILE: &str = "password_file";

/// Whether the driver knows the parameter, as `name=value`. A name in percent-encoding is none, so that what is hidden by its
/// name is always found by it.
fn is_known(parameter: &str) -> bool {
    let (name, _) = parameter.split_once('=').unwrap_or((parameter, ""));
    name.is_empty() || PARAMETERS.contains(&name) || (name.starts_with("options[") && name.ends_with(']'))
}

/// Where a store is: a SQLite file, or a database on a PostgreSQL server.
#[derive(Clone)]
pub struct Location {
    url: String,
    file: Option<PathBuf>,
    password_file: Option<PathBuf>,
}

impl Location {
    /// Reads `sqlite://` with a path, which is taken as it stands up to a `?`, or `postgres://…`.
    pub fn parse(url: &str) -> Result<Self, Error> {
        match url.split_once("://").ok_or(Error::Url)? {
            ("postgres" | "postgresql", named) => {
                let (_, parameters) = named.split_once('?').unwrap_or((named, ""));
                Self::server(url.strip_suffix(parameters).unwrap_or(url), parameters)
            }
            ("sqlite", named) => {
                let (path, parameters) = named.split_once('?').unwrap_or((named, ""));
                // A database in memory is forgotten with its connection, and here nothing may be forgotten.
                if path.is_empty() || path == ":memory:" {
                    return Err(Error::Url);
                }
                let mut location = Self::sqlite(Path::new(path));
                if !parameters.is_empty() {
                    location.url = format!("{}?{parameters}", location.url);
                }
                Ok(location)
            }
            _ => Err(Error::Url),
        }
    }

    /// A SQLite file of any name.
    pub fn sqlite(path: &Path) -> Self {
        let url = format!("sqlite:{}", percent_encode(path.as_os_str().as_bytes(), PATH));
        Self { url, file: Some(path.to_owned()), password_file: None }
    }

    /// A server, by what stands before its parameters, and these.
    fn server(before: &str, parameters: &str) -> Result<Self, Error> {
        let (mut url, mut password_file) = (before.to_owned(), None);
        let mut rest = Vec::new();
        for parameter in parameters.split('&') {
            match parameter.split_once('=') {
                Some((PASSWORD_FILE, path)) if !path.is_empty() => {
                    password_file = Some(PathBuf::from(&*percent_decode_str(path).decode_utf8_lossy()));
                }
                _ if is_known(parameter) => rest.push(parameter),
                _ => return Err(Error::Parameter),
            }
        }
        url.push_str(&rest.join("&"));
        Ok(Self { url, file: None, password_file })
    }

    /// The file with the server's password, where the URL names one.
    pub(crate) fn password_file(&self) -> Option<&Path> {
        self.password_file.as_deref()
    }

    /// The URL, with the password that the file has now. Of two, the last one counts.
    fn with_password(&self) -> Result<Cow<'_, str>, Error> {
        let Some(file) = &self.password_file else { return Ok(Cow::Borrowed(&self.url)) };
        let password = password::read(file)?;
        let password = utf8_percent_encode(&password, NON_ALPHANUMERIC);
        let mark = if self.url.contains('?') { '&' } else { '?' };
        Ok(Cow::Owned(format!("{}{mark}password={password}", self.url)))
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
        let options = self.with_password()?.parse::<AnyConnectOptions>().map_err(|error| self.refused(error))?;
        Ok(options.log_statements(LevelFilter::Trace))
    }

    /// The same for the server that it has to be.
    pub(crate) fn server_options(&self) -> Result<PgConnectOptions, Error> {
        if self.file.is_some() {
            return Err(Error::Url);
        }
        let options = self.with_password()?.parse::<PgConnectOptions>().map_err(Error::Server)?;
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

impl Location {
    /// Whether the engine can make anything of the URL.
    fn check(self) -> Result<Self, Error> {
        let checked = match self.file {
            Some(_) => self.url.parse::<SqliteConnectOptions>().map(drop),
            None => self.url.parse::<PgConnectOptions>().map(drop),
        };
        checked.map(|()| self).map_err(|_| Error::Url)
    }
}

/// What stands in place of a password.
const HIDDEN: &str = "***";

/// The URL of a store in a configuration. It is shown without the password in it.
#[derive(Clone)]
pub struct StoreUrl(Location, Box<str>);

impl StoreUrl {
    /// A SQLite file.
    pub fn sqlite(path: &str) -> Self {
        Self(Location::sqlite(Path::new(path)), format!("sqlite://{path}").into())
    }

    /// Where it leads.
    pub fn location(&self) -> &Location {
        &self.0
    }

    /// What a driver connects to now, with the password that `password_file` has. Keep it out of logs, errors and labels.
    pub fn connect_url(&self) -> Result<Cow<'_, str>, sqlx::Error> {
        self.0.with_password().map_err(|error| sqlx::Error::Configuration(Box::new(error)))
    }

    /// The whole text. Keep it out of logs, errors and labels.
    pub fn expose(&self) -> &str {
        &self.1
    }
}

impl PartialEq for StoreUrl {
    fn eq(&self, other: &Self) -> bool {
        self.1 == other.1
    }
}

impl FromStr for StoreUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let url = Self(Location::parse(text)?.check()?, text.into());
        // A server's URL that is shown as it was given, and has a hidden password, comes from where it was shown.
        let is_hidden = url.0.file.is_none() && text.contains(HIDDEN) && url.to_string() == text;
        if is_hidden { Err(Error::Hidden) } else { Ok(url) }
    }
}

impl fmt::Display for StoreUrl {
    /// With `***` in place of a password, wherever PostgreSQL lets one stand.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.file.is_some() {
            return formatter.write_str(&self.1);
        }
        let (before, query) = self.1.split_once('?').map_or((&*self.1, None), |(before, query)| (before, Some(query)));
        match before.rsplit_once('@').and_then(|(user, host)| Some((user.split_once("://")?, host))) {
            Some(((scheme, user), host)) => match user.split_once(':') {
                Some((name, _)) => write!(formatter, "{scheme}://{name}:{HIDDEN}@{host}")?,
                None => write!(formatter, "{scheme}://{user}@{host}")?,
            },
            None => formatter.write_str(before)?,
        }
        let hidden = |parameter: &str| match parameter.split_once('=') {
            Some((name, _)) if name.contains("pass") && name != PASSWORD_FILE => format!("{name}={HIDDEN}"),
            _ => parameter.to_owned(),
        };
        match query {
            Some(query) => write!(formatter, "?{}", query.split('&').map(hidden).collect::<Vec<_>>().join("&")),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl Serialize for StoreUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StoreUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Visitor)
    }
}

/// Refuses without repeating the text, which may hold a password.
struct Visitor;

impl de::Visitor<'_> for Visitor {
    type Value = StoreUrl;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("sqlite:// with the path of a file, or a URL that begins with postgres://")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<StoreUrl, E> {
        text.parse().map_err(|error| match error {
            Error::Parameter | Error::Hidden => E::custom(error),
            _ => E::invalid_value(Unexpected::Other("not the URL of a store"), &self),
        })
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

    use super::{Location, StoreUrl};
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

    #[test]
    fn store_url_is_shown_without_its_password() {
        for (url, shown) in [
            ("postgres://user:hunter2@host/database", "postgres://user:***@host/database"),
            ("postgres://user:hun@ter2@host/database", "postgres://user:***@host/database"),
            (
                "postgres://host/database?password=hunter2&sslmode=require",
                "postgres://host/database?password=***&sslmode=require",
            ),
            ("postgres://user@host/database", "postgres://user@host/database"),
            ("sqlite://a.db", "sqlite://a.db"),
            (
                "postgres://user@host/database?password_file=/run/password",
                "postgres://user@host/database?password_file=/run/password",
            ),
        ] {
            let Ok(url) = url.parse::<StoreUrl>() else { continue };
            assert_eq!((url.to_string().as_str(), format!("{url:?}").as_str()), (shown, shown));
        }
    }

    #[test]
    fn postgres_url_with_an_unknown_parameter_is_refused_without_repeating_it() {
        for parameter in ["pasword", "Password", "passfile", "p%61ssword", "sslmode=require&pasword"] {
            let url = format!("postgres://host/database?{parameter}=hunter2");
            let error = url.parse::<StoreUrl>().unwrap_err();
            assert!(matches!(error, Error::Parameter), "{url}: {error}");
            assert!(!error.to_string().contains("hunter2") && !error.to_string().contains("pasword"), "{error}");
        }
    }

    #[test]
    fn postgres_url_with_known_parameters_is_accepted() {
        let url = "postgres://host/database?sslmode=require&application_name=accord&options[search_path]=accord";
        assert!(url.parse::<StoreUrl>().is_ok());
    }

    #[test]
    fn postgres_url_as_it_is_shown_is_refused() {
        for url in ["postgres://user:***@host/database", "postgres://host/database?password=***"] {
            assert!(matches!(url.parse::<StoreUrl>(), Err(Error::Hidden)), "{url}");
        }
    }

    #[test]
    fn url_that_its_engine_cannot_read_is_refused() {
        for url in ["postgres://host:port/database", "sqlite://a.db?mode=none", "mysql://host/database", ""] {
            assert!(url.parse::<StoreUrl>().is_err(), "{url}");
        }
    }
}
