//! The section `[discovery]`: where this process is, and whom it asks about endpoints.

use std::net::SocketAddr;
use std::path::PathBuf;

use accord_runtime::config::Invalid;
use accord_runtime::config::bound;
use http::Uri;
use serde::{Deserialize, Serialize};

/// Where endpoints are found, the same for all upstreams.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiscoveryConfig {
    /// The zone that this process runs in, as `EndpointSlices` name zones: endpoints there are preferred for as long as they can
    /// take its calls. Default: `""`, no zone, and none is preferred.
    pub zone: String,
    /// The name servers, for URLs whose host is a name.
    pub dns: DnsConfig,
    /// The API server of Kubernetes, for URLs such as `http+k8s://catalog.shop:9000`.
    pub kubernetes: KubernetesConfig,
}

/// The name servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DnsConfig {
    /// Addresses of name servers, `IP:PORT`, which are asked instead of those in `/etc/resolv.conf`, up to 8; its search domains and
    /// options apply all the same, and so does the hosts file. Default: none, those of the system.
    pub servers: Vec<SocketAddr>,
}

/// More name servers than anybody has for one purpose: each is one more that a resolution may wait for.
const MOST_SERVERS: usize = 8;

/// The API server of Kubernetes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KubernetesConfig {
    /// Its URL. Without TLS, as for `kubectl proxy`, no token is sent. Default: `https://kubernetes.default.svc`, which it has
    /// inside the cluster.
    #[serde(deserialize_with = "bound::text")]
    pub url: String,
    /// A file with the token of the service account, read again as it is renewed. Default:
    /// `/var/run/secrets/kubernetes.io/serviceaccount/token`.
    #[serde(deserialize_with = "bound::file")]
    pub token_file: PathBuf,
    /// The authorities that may vouch for its certificate, PEM, read again when they change. Default:
    /// `/var/run/secrets/kubernetes.io/serviceaccount/ca.crt`.
    #[serde(deserialize_with = "bound::file")]
    pub ca_file: PathBuf,
}

impl Default for KubernetesConfig {
    fn default() -> Self {
        let mounted = PathBuf::from("/var/run/secrets/kubernetes.io/serviceaccount");
        Self {
            url: "https://kubernetes.default.svc".to_owned(),
            token_file: mounted.join("token"),
            ca_file: mounted.join("ca.crt"),
        }
    }
}

impl DiscoveryConfig {
    /// What contradicts itself. Whether the API server is there shows only when it is asked.
    pub fn contradictions(&self) -> Vec<Invalid> {
        let count = self.dns.servers.len();
        let too_many = || {
            let problem = format!("{count} name servers are more than anybody can wait for");
            Invalid::new("discovery.dns.servers", problem, format!("name up to {MOST_SERVERS}"))
        };
        let too_many = (count > MOST_SERVERS).then(too_many);
        let problem = format!("{:?} is no URL of an API server", self.kubernetes.url);
        let remedy = "write it like https://kubernetes.default.svc or http://127.0.0.1:8001";
        let invalid = || Invalid::new("kubernetes.url", problem, remedy).under("discovery");
        self.kubernetes.parsed().is_none().then(invalid).into_iter().chain(too_many).collect()
    }
}

impl KubernetesConfig {
    /// The URL; none where it can't be one of an API server.
    pub(crate) fn parsed(&self) -> Option<Uri> {
        let url: Uri = self.url.parse().ok()?;
        let is_http = matches!(url.scheme_str(), Some("http" | "https"));
        let has_credentials = url.authority().is_some_and(|authority| authority.as_str().contains('@'));
        (is_http && !has_credentials && url.query().is_none()).then_some(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_of_no_api_server_is_refused_with_its_key() {
        for url in ["kubernetes.default.svc", "ftp://host", "https://me:secret@host", "https://host/?a=b", "https://"] {
            let kubernetes = KubernetesConfig { url: url.to_owned(), ..KubernetesConfig::default() };
            let found = DiscoveryConfig { kubernetes, ..DiscoveryConfig::default() }.contradictions();
            assert!(found.first().is_some_and(|invalid| invalid.key == "discovery.kubernetes.url"), "{url}");
        }
    }

    #[test]
    fn more_name_servers_than_can_be_waited_for_are_refused() {
        let servers = |count| vec![SocketAddr::from(([127, 0, 0, 1], 53)); count];
        let with = |count| DiscoveryConfig { dns: DnsConfig { servers: servers(count) }, ..DiscoveryConfig::default() };
        assert_eq!(with(MOST_SERVERS).contradictions(), []);
        assert_eq!(with(MOST_SERVERS + 1).contradictions()[0].key, "discovery.dns.servers");
    }

    #[test]
    fn default_discovery_contradicts_nothing() {
        assert_eq!(DiscoveryConfig::default().contradictions(), []);
    }
}
