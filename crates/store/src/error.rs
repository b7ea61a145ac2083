//! Errors of a store, with the remedy.

use std::{
    io,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Why a store can't be opened or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL is not one of a supported engine, or names nothing that lasts.
    #[error("the URL of a store must be sqlite:// with the path of a file, or begin with postgres://")]
    Url,
    /// The URL of a server has a parameter that its driver would ignore. It is not named: in a URL that was written wrongly it
    /// may be part of a password.
    #[error(
        "the URL of a store has a parameter that is not known; the most used are `password_file`, `sslmode`, `sslrootcert`, `sslcert`, `sslkey`, `application_name` and `options`, and `?` in a password is written %3F"
    )]
    Parameter,
    /// The file with a server's password can't be read.
    #[error("the password of the database server can't be read from `{}`: {error}; check `password_file` in the URL", path.display())]
    PasswordFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The URL of a server was copied from where its password is not shown.
    #[error("the URL of a store has `***` in place of its password; write the password itself")]
    Hidden,
    /// The file can't be opened or made.
    #[error("`{}` can't be opened or made ({error}): make its directory writable, or name another file", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file is there, but SQLite can't work with it.
    #[error("`{}` can't be used as a SQLite database ({error}): name another file, or one that does not exist", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        error: sqlx::Error,
    },
    /// The server can't be reached, or lets nobody in under this URL.
    #[error("the database server can't be used ({0}): {remedy}", remedy = remedy(.0))]
    Server(sqlx::Error),
    /// A step of the schema can't be applied. Nothing of it was.
    #[error("step {step} of `{table}` can't be applied: {error}")]
    Migration {
        /// The table that counts the steps.
        table: &'static str,
        /// Which step, from 1.
        step: usize,
        /// What the engine said.
        error: sqlx::Error,
    },
    /// A query answered more than was asked for.
    #[error("the query answers with more than {0} bytes")]
    TooLarge(usize),
    /// The engine failed, or did not answer in time.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
}

impl Error {
    /// What the engine said, where it said anything.
    pub(crate) fn engine(&self) -> Option<&sqlx::Error> {
        match self {
            Self::Url
            | Self::Parameter
            | Self::Hidden
            | Self::PasswordFile { .. }
            | Self::File { .. }
            | Self::TooLarge(_) => None,
            Self::Unusable { error, .. }
            | Self::Migration { error, .. }
            | Self::Server(error)
            | Self::Database(error) => Some(error),
        }
    }
}

impl Error {
    /// Whether it did not answer in time, or ended what took longer than it may.
    pub fn is_timeout(&self) -> bool {
        match self.engine() {
            Some(sqlx::Error::Io(error)) => error.kind() == io::ErrorKind::TimedOut,
            // query_canceled.
            _ => self.code().is_some_and(|code| code == "57014"),
        }
    }

    /// Whether the statement itself is wrong, or asks for what this user may not read: another attempt ends the same way.
    pub fn is_of_statement(&self) -> bool {
        self.code().is_some_and(|code| code.starts_with("42"))
    }

    fn code(&self) -> Option<std::borrow::Cow<'_, str>> {
        self.engine()?.as_database_error()?.code()
    }
}

/// What can be done where a server can't be used, in the words of its URL.
fn remedy(error: &sqlx::Error) -> &'static str {
    let sqlx::Error::Io(error) = error else {
        return match error {
            sqlx::Error::Tls(_) => {
                "check `sslmode` and the files of the URL, and that the server speaks TLS (`ssl = on`)"
            }
            _ => "check the URL, and that the server runs",
        };
    };
    match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(_)) => {
            "its certificate has to be in its time, for the host in the URL, and of an authority in `sslrootcert`"
        }
        Some(rustls::Error::AlertReceived(_)) => {
            "where it asks for a certificate, `sslcert` has to be in its time, and of an authority that it trusts"
        }
        _ => "check the URL, and that the server runs",
    }
}

/// Logs that the store of this process failed, once a second at most: every call fails while the store does, and what is
/// full may be the disk that holds the log.
pub fn log_failure(error: &(dyn std::error::Error + 'static)) {
    static LOGGED: Mutex<Option<Instant>> = Mutex::new(None);
    let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
    if logged.is_none_or(|logged| logged.elapsed() >= Duration::from_secs(1)) {
        *logged = Some(Instant::now());
        tracing::error!(error, "the store failed");
    }
}
