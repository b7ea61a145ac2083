//! Configuration of orders: one tree of plain data, every key with its unit and default.

use std::{path::PathBuf, time::Duration};

use accord_mesh::MeshConfig;
use accord_runtime::{
    config::{
        Configuration, Invalid,
        bound::{self, Count, HOUR, Time},
    },
    server::ListenConfig,
    telemetry::TelemetryConfig,
};
use serde::{Deserialize, Deserializer, Serialize, de};
use tonic::transport::Uri;

/// The configuration of orders.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Where baskets and orders are served. Default address: 127.0.0.1:9010.
    pub listen: ListenConfig,
    /// The admin port: metrics and health. Default address: 127.0.0.1:9011.
    pub admin: ListenConfig,
    /// The SQLite file with the orders; made where there is none. Default: `orders.db`.
    #[serde(deserialize_with = "bound::file")]
    pub store: PathBuf,
    /// Where passports are verified, and as whom the service calls its neighbours.
    pub auth: MeshConfig,
    /// The way to its neighbours.
    pub gateway: GatewayConfig,
    /// Logs, metrics and traces.
    pub telemetry: TelemetryConfig,
    /// How long calls in flight may take to end after a signal to stop, 1ms to 1h. Default: 10 s.
    #[serde(with = "Time::<1, HOUR>")]
    pub grace: Duration,
    /// Threads that serve callers, each with connections to upstreams of its own, 0 to 1024. Default: 0, which is one for each
    /// core, of which a container's CPU limit counts.
    #[serde(with = "Count::<0, 1024>")]
    pub workers: usize,
}

/// The section `[gateway]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct GatewayConfig {
    /// The gateway's internal listener: `http://` or `https://`, a host and a port. Default: `http://127.0.0.1:8082`.
    #[serde(deserialize_with = "endpoint")]
    pub endpoint: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: ListenConfig::local(9010),
            admin: ListenConfig::local(9011),
            store: "orders.db".into(),
            auth: MeshConfig::default(),
            gateway: GatewayConfig::default(),
            telemetry: TelemetryConfig::default(),
            grace: Duration::from_secs(10),
            workers: 0,
        }
    }
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self { endpoint: "http://127.0.0.1:8082".to_owned() }
    }
}

impl Configuration for Config {
    const PREFIX: &'static str = "ACCORD_ORDERS";

    fn contradictions(&self) -> Vec<Invalid> {
        self.auth.contradictions()
    }
}

impl Config {
    /// What of the files that it names can't be used, or is missing.
    pub(crate) fn unusable(&self) -> Vec<Invalid> {
        let store = self.store.is_dir().then(|| {
            let problem = format!("{} is a directory", self.store.display());
            Invalid::new("store", problem, "name a file, which is made where there is none")
        });
        store.into_iter().chain(self.auth.unusable()).collect()
    }
}

fn endpoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    // The text itself may hold a password, and stays out of the message.
    let refusal = "this is no address of a listener; write it like http://127.0.0.1:8082, with nothing after the port";
    if is_endpoint(&text) { Ok(text) } else { Err(de::Error::custom(refusal)) }
}

fn is_endpoint(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let is_bare = uri.path_and_query().is_none_or(|rest| rest == "/");
    let has_user = uri.authority().is_none_or(|authority| authority.as_str().contains('@'));
    let has_port = uri.port_u16().is_some_and(|port| port > 0);
    matches!(uri.scheme_str(), Some("http" | "https")) && is_bare && has_port && !has_user
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_that_is_a_directory_is_refused() {
        let auth = MeshConfig { client_id: "orders".into(), client_secret: "secret".into(), ..MeshConfig::default() };
        let keys = |store: &str| {
            let unusable = Config { store: store.into(), auth: auth.clone(), ..Config::default() }.unusable();
            unusable.into_iter().map(|invalid| invalid.key).collect::<Vec<_>>()
        };
        assert_eq!(keys("/"), ["store"]);
        assert!(keys("nowhere.db").is_empty());
    }

    #[test]
    fn endpoint_is_a_scheme_a_host_and_a_port() {
        for right in ["http://127.0.0.1:8082", "https://gateway.example:443", "http://[::1]:8082/"] {
            assert!(is_endpoint(right), "{right}");
        }
        let wrong = ["", "127.0.0.1:8082", "http://a", "http://a:0", "ftp://a:1", "http://a:1/b", "http://u:p@a:1"];
        for wrong in wrong {
            assert!(!is_endpoint(wrong), "{wrong}");
        }
    }
}
