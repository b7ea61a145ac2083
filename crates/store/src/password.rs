//! The file with a server's password that its URL names: read for the first connection, and followed for those that are made later.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    time::Duration,
};

use sqlx::{Connection, Database, Pool};
use tokio::{task::JoinHandle, time::sleep};

use crate::{Error, Location};

/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// The most bytes of such a file.
const LONGEST: u64 = 64 * 1024;

/// The password in a file, without the white space around it.
pub(crate) fn read(path: &Path) -> Result<String, Error> {
    let unreadable = |error| Error::PasswordFile { path: path.to_owned(), error };
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text)).map_err(unreadable)?;
    let problem = match text.trim() {
        "" => "it is empty",
        _ if text.len() as u64 > LONGEST => "it is too long for a password",
        password => return Ok(password.to_owned()),
    };
    Err(unreadable(io::Error::new(io::ErrorKind::InvalidData, problem)))
}

/// Looks at the file until it is dropped.
#[derive(Debug)]
pub(crate) struct Following(JoinHandle<()>);

impl Following {
    /// Has a pool make its further connections with what the file says then. None where the URL names none.
    pub(crate) fn start<DB: Database>(
        location: &Location,
        pool: Pool<DB>,
        options: fn(&Location) -> Result<<DB::Connection as Connection>::Options, Error>,
    ) -> Option<Self> {
        let file = location.password_file()?.to_owned();
        // What the pool was made with was read a while ago, before a server was waited for: nothing is known to be in use.
        let (location, mut known) = (location.clone(), None);
        Some(Self(tokio::spawn(async move {
            let mut is_refused = false;
            loop {
                sleep(INTERVAL).await;
                match read(&file) {
                    Ok(password) if known.as_ref() == Some(&password) => is_refused = false,
                    Ok(password) => {
                        if let Ok(options) = options(&location) {
                            pool.set_connect_options(options);
                            if known.replace(password).is_some() {
                                tracing::info!(
                                    ?file,
                                    "the password of the database server is another one: new connections log in with it"
                                );
                            }
                        }
                    }
                    Err(error) if !is_refused => {
                        tracing::warn!(%error, "the password that was read last stays in use");
                        is_refused = true;
                    }
                    Err(_) => {}
                }
            }
        })))
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use sqlx::{any::AnyPoolOptions, postgres::PgPoolOptions};

    use super::*;

    fn location(file: &Path) -> Location {
        sqlx::any::install_default_drivers();
        Location::parse(&format!("postgres://accord@host/accord?password_file={}&sslmode=disable", file.display()))
            .unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn changed_password_is_that_of_further_connections_and_an_empty_file_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("password");
        fs::write(&file, "first\n").unwrap();
        let location = location(&file);
        let any = AnyPoolOptions::new().connect_lazy_with(location.options().unwrap());
        let shown = |pool: &sqlx::AnyPool| pool.connect_options().database_url.to_string();
        assert!(shown(&any).ends_with("&password=first"), "{}", shown(&any));
        let _following = Following::start(&location, any.clone(), Location::options);
        let postgres = PgPoolOptions::new().connect_lazy_with(location.server_options().unwrap());
        let _following_too = Following::start(&location, postgres.clone(), Location::server_options);
        let before = postgres.connect_options();
        fs::write(&file, "an%other & one").unwrap();
        sleep(INTERVAL * 2).await;
        assert!(shown(&any).ends_with("&password=an%25other%20%26%20one"), "{}", shown(&any));
        let after = postgres.connect_options();
        assert!(!std::sync::Arc::ptr_eq(&before, &after));
        fs::write(&file, "\n").unwrap();
        sleep(INTERVAL * 2).await;
        assert!(shown(&any).ends_with("one"));
        assert!(std::sync::Arc::ptr_eq(&after, &postgres.connect_options()));
    }

    #[test]
    fn password_file_that_cannot_be_read_is_named() {
        let error = location(Path::new("/nowhere/password")).options().unwrap_err().to_string();
        assert!(error.contains("/nowhere/password") && error.contains("password_file"), "{error}");
    }
}
