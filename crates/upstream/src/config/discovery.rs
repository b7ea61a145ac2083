//! The section `[discovery]`: where this process is, and whom it asks about endpoints.

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
    /// The API server of Kubernetes, for URLs such as `http+k8s://catalog.shop:9000`.
    pub kubernetes: KubernetesConfig,
}

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
        let problem = format!("{:?} is no URL of an API server", self.kubernetes.url);
        let remedy = "write it like https://kubernetes.default.svc or http://127.0.0.1:8001";
        let invalid = || Invalid::new("kubernetes.url", problem, remedy).under("discovery");
        self.kubernetes.parsed().is_none().then(invalid).into_iter().collect()
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
    fn default_discovery_contradicts_nothing() {
        assert_eq!(DiscoveryConfig::default().contradictions(), []);
    }
}
