//! TLS from files, re-read when they change, or from the SPIFFE Workload API: server certificates, client certificates and trust bundles.

mod provider;
pub(crate) mod expiry;
mod source;
mod error;
mod files;
mod shown;
mod server;
mod client;
mod failure;

use std::{
    error::Error,
    io,
    time::{Duration, SystemTime},
};

use rustls::{CertificateError, ServerConnection};

pub use crate::workload_api::{Problem, WorkloadApiError};
pub use client::ClientTlsConfig;
pub use error::TlsError;
pub use failure::HandshakeFailure;
pub use provider::install_provider;
pub use server::{ClientCertificate, TlsConfig};

pub(crate) use server::server;

/// How much longer the certificate of a client is valid; None where it showed none.
pub(crate) fn certificate_life(session: &ServerConnection) -> Option<Duration> {
    let ends = expiry::not_after(session.peer_certificates()?.first()?)?;
    Some(ends.duration_since(SystemTime::now()).unwrap_or_default())
}

/// Why a handshake failed, where that is the client's certificate. Of one that is good, and of which no name is listed, whoever holds the
/// list has told.
pub(crate) fn refused_certificate<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let error = error.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref()?;
    match error {
        rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure) => None,
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => Some(error),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_certificate_without_its_key_is_refused() {
        let half = ClientTlsConfig { cert_file: Some("a.pem".into()), ..ClientTlsConfig::default() };
        assert_eq!(half.contradiction().unwrap().key, "cert_file");
        assert!(matches!(half.load(), Err(TlsError::HalfIdentity)));
        let half = ClientTlsConfig { key_file: Some("a.pem".into()), ..ClientTlsConfig::default() };
        assert_eq!(half.contradiction().unwrap().key, "key_file");
        assert!(matches!(half.load(), Err(TlsError::HalfIdentity)));
    }

    #[test]
    fn files_of_a_client_that_cannot_be_read_are_named() {
        let missing = ClientTlsConfig { ca_file: Some("nowhere/ca.pem".into()), ..ClientTlsConfig::default() };
        let refused = missing.check().unwrap_err();
        assert_eq!(refused.key, "ca_file");
        assert!(refused.problem.contains("nowhere/ca.pem"), "{refused}");
    }

    #[test]
    fn workload_api_beside_files_is_refused_at_its_key() {
        let workload_api = Some("unix:///nowhere/agent.sock".to_owned());
        let file = || Some("a.pem".into());
        let server = TlsConfig { workload_api: workload_api.clone(), ..TlsConfig::default() };
        for server in [
            TlsConfig { cert_file: file(), ..server.clone() },
            TlsConfig { key_file: file(), ..server.clone() },
            TlsConfig { client_ca_file: file(), ..server.clone() },
        ] {
            let refused = server.check().unwrap_err();
            assert!(refused.key == "workload_api" && refused.remedy == "leave one of them out", "{refused}");
        }
        let client = ClientTlsConfig { workload_api, ..ClientTlsConfig::default() };
        assert_eq!(client.contradiction(), None);
        for client in [
            ClientTlsConfig { ca_file: file(), ..client.clone() },
            ClientTlsConfig { cert_file: file(), ..client.clone() },
            ClientTlsConfig { key_file: file(), ..client.clone() },
        ] {
            assert_eq!(client.contradiction().unwrap().key, "workload_api");
        }
    }

    #[test]
    fn spiffe_ids_of_servers_that_cannot_be_shown_are_refused_at_their_key() {
        let ids = |workload_api: Option<&str>, id: &str| ClientTlsConfig {
            workload_api: workload_api.map(str::to_owned),
            server_spiffe_ids: vec![id.to_owned()],
            ..ClientTlsConfig::default()
        };
        let agent = Some("unix:///agent.sock");
        let id = "spiffe://prod.example/auth";
        assert_eq!(ids(agent, id).contradiction(), None);
        assert_eq!(ids(None, id).contradiction().unwrap().key, "server_spiffe_ids");
        assert_eq!(ids(Some("agent.sock"), id).contradiction().unwrap().key, "workload_api");
        assert_eq!(ids(Some("SPIFFE_ENDPOINT_SOCKET"), id).contradiction(), None);
        for wrong in ["spiffe://prod.example", "dns:auth.example", "prod.example/auth"] {
            assert_eq!(ids(agent, wrong).contradiction().unwrap().key, "server_spiffe_ids.0", "{wrong}");
        }
    }

    #[test]
    fn server_without_certificate_and_key_is_refused_at_what_is_given() {
        let refused = TlsConfig::default().check().unwrap_err();
        assert!(refused.key.is_empty() && refused.remedy.contains("or workload_api"), "{refused}");
        let file = || Some("a.pem".into());
        for (half, key) in [
            (TlsConfig { cert_file: file(), ..TlsConfig::default() }, "cert_file"),
            (TlsConfig { key_file: file(), ..TlsConfig::default() }, "key_file"),
        ] {
            let refused = half.check().unwrap_err();
            assert!(refused.key == key && refused.problem.contains("belong together"), "{refused}");
        }
    }

    #[test]
    fn optional_client_certificate_without_authorities_is_refused_at_its_key() {
        let tls = TlsConfig {
            cert_file: Some("a.pem".into()),
            key_file: Some("a.pem".into()),
            client_certificate: ClientCertificate::Optional,
            ..TlsConfig::default()
        };
        assert_eq!(tls.check().unwrap_err().key, "client_certificate");
    }

    #[test]
    fn list_of_clients_that_nobody_is_held_against_or_that_cannot_be_read_is_refused_at_its_key() {
        let file = || Some("nowhere/names".into());
        let tls = TlsConfig {
            cert_file: Some("a.pem".into()),
            key_file: Some("a.pem".into()),
            client_names_file: file(),
            ..TlsConfig::default()
        };
        let refused = tls.check().unwrap_err();
        assert!(refused.key == "client_names_file" && refused.remedy.contains("client_ca_file"), "{refused}");
        let refused = TlsConfig { client_ca_file: file(), ..tls }.check().unwrap_err();
        assert!(refused.key == "client_names_file" && refused.problem.contains("nowhere/names"), "{refused}");
    }

    #[test]
    fn server_file_that_cannot_be_read_is_refused_at_its_own_key() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        let own = accord_test_certificates::Identity::self_signed(&["localhost"]);
        std::fs::write(file("cert.pem"), own.certificate).unwrap();
        for (cert, key, refused) in [
            ("missing", "missing", "cert_file"),
            ("cert.pem", "missing", "key_file"),
            ("cert.pem", "cert.pem", "key_file"),
        ] {
            let tls = TlsConfig { cert_file: Some(file(cert)), key_file: Some(file(key)), ..TlsConfig::default() };
            assert_eq!(tls.check().unwrap_err().key, refused, "{cert} {key}");
        }
    }
}
