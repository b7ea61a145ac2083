//! Where servers are, and how one logs in.

use std::path::PathBuf;
use std::time::Duration;

use accord_runtime::config::{Invalid, Secret};
use accord_runtime::file::{SECRET, read_text};
use accord_runtime::tls::ClientTlsConfig;
use http::Uri;

/// A server as its URL says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where it listens.
    pub(crate) address: Address,
    /// The number of its database.
    pub(crate) database: u32,
    /// Whether it is called by TLS.
    pub(crate) is_tls: bool,
}

/// Where a node listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Address {
    pub host: String,
    pub port: u16,
}

/// How a client reaches its servers. All of it but the first is of a section of a configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// The section, in whose words errors speak.
    pub section: &'static str,
    /// Those that are asked first; one at least.
    pub servers: Vec<Server>,
    /// The name under which the client logs in; empty for the user `default`.
    pub username: String,
    /// The password; empty where there is none.
    pub password: Secret,
    /// A file that holds it, read for each connection.
    pub password_file: Option<PathBuf>,
    /// How long a connection may take until it can be used.
    pub connect_timeout: Duration,
    /// Commands in flight on a connection.
    pub max_in_flight: usize,
    /// The longest text that a server may answer.
    pub max_reply_bytes: usize,
    /// Whom a server by TLS is verified against, and what is shown to it.
    pub tls: ClientTlsConfig,
}

/// The file of the password can't be read.
#[derive(Debug, thiserror::Error)]
#[error("the password can't be read from `{}`: {source}; check `{section}.password_file`", path.display())]
pub(crate) struct PasswordError {
    section: &'static str,
    path: PathBuf,
    source: std::io::Error,
}

impl Options {
    /// What contradicts itself. Its keys begin with the section.
    pub fn contradictions(&self) -> Vec<Invalid> {
        let twice = (self.password_file.is_some() && !self.password.is_empty()).then(|| {
            let problem = format!("the password is given here and in `{}.password`", self.section);
            Invalid::new("password_file", problem, "leave one of them out")
        });
        let is_lonely = !self.username.is_empty() && self.password_file.is_none() && self.password.is_empty();
        let lonely = is_lonely.then(|| {
            Invalid::new("username", "is given without a password", "give `password_file` as well, or leave it out")
        });
        let half = self.tls.contradiction().map(|half| half.under("tls"));
        let differ = self.servers.iter().any(|server| !self.servers[0].is_like(server));
        let differ = differ.then(|| {
            let remedy = "write nodes of one Cluster, all with TLS or all without";
            Invalid::new("url", "its servers differ in TLS or in their databases", remedy)
        });
        let found = [twice, lonely, half, differ].into_iter().flatten();
        found.map(|invalid| invalid.under(self.section)).collect()
    }

    /// Which of its files can't be used. Their keys begin with the section.
    pub fn unusable(&self) -> Vec<Invalid> {
        let is_tls = self.is_tls() || !self.tls.is_empty();
        let tls = is_tls.then(|| self.tls.check().err()).flatten().map(|invalid| invalid.under("tls"));
        let password = self.password().err().map(|error| Invalid::of("password_file", error));
        [password, tls].into_iter().flatten().map(|invalid| invalid.under(self.section)).collect()
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.servers.iter().any(|server| server.is_tls)
    }

    pub(crate) fn database(&self) -> u32 {
        self.servers.first().map_or(0, |server| server.database)
    }

    /// The password as it is now, empty where there is none.
    pub(crate) fn password(&self) -> Result<Secret, PasswordError> {
        let Some(path) = &self.password_file else { return Ok(self.password.clone()) };
        let text = read_text(path, SECRET);
        let text = text.map_err(|source| PasswordError { section: self.section, path: path.clone(), source })?;
        Ok(Secret::from(text.trim()))
    }
}

/// The URL is never repeated: what stands in it may be a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It is none.
    #[error(
        "this is not the URL of a server; write it like redis://valkey:6379, rediss://valkey.example:6379 or \
         redis://valkey:6379/1, and several nodes of a Cluster with commas between them"
    )]
    Form,
    /// It holds a name or a password.
    #[error("a URL is no place for credentials; write `username`, and `password_file` or `password`")]
    Credentials,
}

/// The servers of one URL, or of several with commas between them.
pub fn servers(text: &str) -> Result<Vec<Server>, UrlError> {
    text.split(',').map(|url| Server::parse(url.trim())).collect()
}

impl Server {
    fn parse(text: &str) -> Result<Self, UrlError> {
        let uri: Uri = text.parse().map_err(|_| UrlError::Form)?;
        let is_tls = match uri.scheme_str() {
            Some("redis") => false,
            Some("rediss") => true,
            _ => return Err(UrlError::Form),
        };
        let authority = uri.authority().ok_or(UrlError::Form)?;
        if authority.as_str().contains('@') {
            return Err(UrlError::Credentials);
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        // Without a port it is that of Redis; one beyond 65535 would read as none.
        let has_port = authority.as_str().len() > authority.host().len();
        let port = if has_port { authority.port_u16().filter(|port| *port > 0) } else { Some(6379) };
        let database = match uri.path_and_query().map_or("", |rest| rest.as_str()).trim_start_matches('/') {
            "" => Some(0),
            number => number.parse().ok(),
        };
        match (port, database) {
            (Some(port), Some(database)) if !host.is_empty() => {
                Ok(Self { address: Address { host, port }, database, is_tls })
            }
            _ => Err(UrlError::Form),
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        (self.database, self.is_tls) == (other.database, other.is_tls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(host: &str, port: u16, database: u32, is_tls: bool) -> Server {
        Server { address: Address { host: host.to_owned(), port }, database, is_tls }
    }

    #[test]
    fn url_says_host_port_database_and_tls() {
        assert_eq!(servers("redis://valkey"), Ok(vec![server("valkey", 6379, 0, false)]));
        assert_eq!(servers("rediss://valkey.example:7000/"), Ok(vec![server("valkey.example", 7000, 0, true)]));
        assert_eq!(servers("redis://[::1]:6380/2"), Ok(vec![server("::1", 6380, 2, false)]));
        for wrong in [
            "",
            "valkey:6379",
            "http://valkey:6379",
            "redis://valkey:0",
            "redis://valkey:70000",
            "redis://valkey/a",
            "redis://",
            "redis://a,",
        ] {
            assert_eq!(servers(wrong), Err(UrlError::Form), "{wrong}");
        }
        assert_eq!(servers("redis://a,redis://ada:secret@valkey:6379"), Err(UrlError::Credentials));
    }

    #[test]
    fn several_nodes_have_commas_between_them() {
        let nodes = [server("a", 7000, 0, false), server("b", 7001, 0, false)];
        assert_eq!(servers("redis://a:7000, redis://b:7001"), Ok(nodes.to_vec()));
    }
}
