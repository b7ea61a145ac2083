//! The section `[shared_limits]`.

use std::{path::PathBuf, time::Duration};

use accord_runtime::{
    config::{
        Invalid, Secret,
        bound::{self, Count, HOUR, Time},
    },
    file::{SECRET, read_text},
    tls::ClientFiles,
};
use http::Uri;
use serde::{Deserialize, Deserializer, Serialize, de};

/// Where rate limits are counted for all gateways together.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SharedLimitsConfig {
    /// URL of a Valkey or Redis, `redis://HOST:PORT` or, with TLS, `rediss://HOST:PORT`, with `/NUMBER` for another database than 0;
    /// one server or what stands for it, not a Cluster. Default: none, so that each gateway counts for itself.
    #[serde(deserialize_with = "url", skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The name under which the gateway logs in. Default: none, which is the server's user `default`.
    #[serde(deserialize_with = "bound::text", skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// The password; better given as a file or by the environment. Default: none.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub password: Secret,
    /// A file that holds the password, read for each connection; white space around it is ignored. Default: none.
    #[serde(deserialize_with = "bound::file", skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// How long a call waits to be counted there, 1ms to 1h, and never beyond its deadline. After that its gateway counts it alone.
    /// Default: 50 ms.
    #[serde(with = "Time::<1, HOUR>")]
    pub timeout: Duration,
    /// How long a connection may take until it can be used, 1ms to 1h. Default: 1 s.
    #[serde(with = "Time::<1, HOUR>")]
    pub connect_timeout: Duration,
    /// Calls that may be in flight to it at a time, 1 to 1000000; more are counted by their gateway alone. Default: 4096.
    #[serde(with = "Count::<1, 1_000_000>")]
    pub max_in_flight: usize,
    /// What its keys begin with: gateways that count together have the same. Default: `accord`.
    #[serde(deserialize_with = "bound::text")]
    pub key_prefix: String,
    /// The authorities that a `rediss://` server is verified against, and the certificate that the gateway shows to it.
    /// Default: the system's, and none.
    #[serde(skip_serializing_if = "ClientFiles::is_empty")]
    pub tls: ClientFiles,
}

impl Default for SharedLimitsConfig {
    fn default() -> Self {
        Self {
            url: None,
            username: String::new(),
            password: Secret::default(),
            password_file: None,
            timeout: Duration::from_millis(50),
            connect_timeout: Duration::from_secs(1),
            max_in_flight: 4096,
            key_prefix: "accord".to_owned(),
            tls: ClientFiles::default(),
        }
    }
}

impl SharedLimitsConfig {
    /// What contradicts itself. Its keys begin with `shared_limits`.
    pub fn contradictions(&self) -> Vec<Invalid> {
        let twice = (self.password_file.is_some() && !self.password.is_empty()).then(|| {
            let problem = "the password is given here and in `shared_limits.password`";
            Invalid::new("password_file", problem, "leave one of them out")
        });
        let is_lonely = !self.username.is_empty() && self.password_file.is_none() && self.password.is_empty();
        let lonely = is_lonely.then(|| {
            Invalid::new("username", "is given without a password", "give `password_file` as well, or leave it out")
        });
        let half = self.tls.contradiction().map(|half| half.under("tls"));
        [twice, lonely, half].into_iter().flatten().map(|invalid| invalid.under("shared_limits")).collect()
    }

    /// Which of its files can't be used. Their keys begin with `shared_limits`.
    pub fn unusable(&self) -> Vec<Invalid> {
        let is_tls = self.server().is_some_and(|server| server.is_tls) || !self.tls.is_empty();
        let tls = is_tls.then(|| self.tls.check().err()).flatten().map(|invalid| invalid.under("tls"));
        let password = self.password().err().map(|error| Invalid::of("password_file", error));
        [password, tls].into_iter().flatten().map(|invalid| invalid.under("shared_limits")).collect()
    }

    /// The password as it is now, empty where there is none.
    pub(super) fn password(&self) -> Result<Secret, PasswordError> {
        let Some(path) = &self.password_file else { return Ok(self.password.clone()) };
        let text = read_text(path, SECRET).map_err(|source| PasswordError { path: path.clone(), source })?;
        Ok(Secret::from(text.trim()))
    }

    /// The server; none where there is no URL.
    pub(super) fn server(&self) -> Option<Server> {
        Server::parse(self.url.as_deref()?).ok()
    }
}

/// The file of the password can't be read.
#[derive(Debug, thiserror::Error)]
#[error("the password can't be read from `{}`: {source}; check `shared_limits.password_file`", path.display())]
pub(super) struct PasswordError {
    path: PathBuf,
    source: std::io::Error,
}

/// A server as its URL says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub host: String,
    pub port: u16,
    pub database: u32,
    pub is_tls: bool,
}

/// The URL is never repeated: what stands in it may be a password.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UrlError {
    #[error(
        "this is not the URL of a server; write it like redis://valkey:6379, rediss://valkey.example:6379 or \
         redis://valkey:6379/1"
    )]
    Form,
    #[error("a URL is no place for credentials; write `username`, and `password_file` or `password`")]
    Credentials,
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
            (Some(port), Some(database)) if !host.is_empty() => Ok(Self { host, port, database, is_tls }),
            _ => Err(UrlError::Form),
        }
    }
}

fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Server::parse(&text).map_err(de::Error::custom)?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_says_host_port_database_and_tls() {
        let server = |host: &str, port, database, is_tls| Ok(Server { host: host.to_owned(), port, database, is_tls });
        assert_eq!(Server::parse("redis://valkey"), server("valkey", 6379, 0, false));
        assert_eq!(Server::parse("rediss://valkey.example:7000/"), server("valkey.example", 7000, 0, true));
        assert_eq!(Server::parse("redis://[::1]:6380/2"), server("::1", 6380, 2, false));
        for wrong in [
            "valkey:6379",
            "http://valkey:6379",
            "redis://valkey:0",
            "redis://valkey:70000",
            "redis://valkey/a",
            "redis://",
        ] {
            assert_eq!(Server::parse(wrong), Err(UrlError::Form), "{wrong}");
        }
        assert_eq!(Server::parse("redis://ada:secret@valkey:6379"), Err(UrlError::Credentials));
    }

    #[test]
    fn password_given_twice_or_missing_for_a_name_is_refused() {
        let keys =
            |config: &SharedLimitsConfig| config.contradictions().into_iter().map(|it| it.key).collect::<Vec<_>>();
        let named = SharedLimitsConfig { username: "gateway".to_owned(), ..SharedLimitsConfig::default() };
        assert_eq!(keys(&named), ["shared_limits.username"]);
        let once = SharedLimitsConfig { password: "secret".into(), ..named };
        assert!(keys(&once).is_empty());
        let twice = SharedLimitsConfig { password_file: Some("password".into()), ..once };
        assert_eq!(keys(&twice), ["shared_limits.password_file"]);
    }
}
