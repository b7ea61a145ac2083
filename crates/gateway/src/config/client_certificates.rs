//! Who clients are by their certificates.

use accord_runtime::{
    client_identity::IdentityName,
    config::Invalid,
    server::{ListenConfig, TlsConfig},
};
use serde::{Deserialize, Serialize};

use super::Config;

/// Who clients of the public and the internal listener are by their certificates, where the listener has a `tls.client_ca_file`
/// or a `tls.workload_api`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientCertificatesConfig {
    /// Which name of a certificate says whose it is: its one URI, a SPIFFE id (`spiffe_id`), or its one DNS name (`dns_name`). Auth
    /// knows as whom they act: `accord-auth certificate-identity`. Default: none, and then a certificate lets its client in, and no
    /// call is authenticated by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityName>,
}

impl Config {
    /// Whether clients of the public listener can call by their certificates.
    pub(crate) fn identifies_clients(&self) -> bool {
        self.client_certificates.identity.is_some() && asks_for_certificates(&self.listen)
    }

    /// Certificates by which clients are known, and which no listener asks for.
    pub(super) fn unshown_certificates(&self) -> Option<Invalid> {
        self.client_certificates.identity?;
        let is_asked = asks_for_certificates(&self.listen) || asks_for_certificates(&self.internal);
        let problem = "no listener asks its clients for certificates";
        let remedy = "name their authorities in `client_ca_file` of `listen.tls` or `internal.tls`, or give `workload_api` there, or \
                      leave the key out";
        (!is_asked).then(|| Invalid::new("client_certificates.identity", problem, remedy))
    }
}

fn asks_for_certificates<A>(listener: &ListenConfig<A>) -> bool {
    listener.tls.as_ref().is_some_and(TlsConfig::knows_clients)
}

#[cfg(test)]
mod tests {
    use accord_runtime::config::Configuration as _;

    use super::*;

    #[test]
    fn identity_of_certificates_that_no_listener_asks_for_is_refused_at_its_key() {
        let identity = Some(IdentityName::SpiffeId);
        let mut config = Config { client_certificates: ClientCertificatesConfig { identity }, ..Config::default() };
        let keys: Vec<_> = config.contradictions().into_iter().map(|invalid| invalid.key).collect();
        assert_eq!(keys, ["client_certificates.identity"]);
        for tls in [
            TlsConfig { client_ca_file: Some("ca.pem".into()), ..TlsConfig::default() },
            TlsConfig { workload_api: Some("unix:///agent.sock".into()), ..TlsConfig::default() },
        ] {
            config.internal.tls = Some(tls);
            assert_eq!(config.contradictions(), []);
        }
    }
}
