//! Whether a peer's certificate is an X.509-SVID of a trust domain that is known: it is verified with the authorities of its own trust
//! domain alone, so that those of a federated one vouch for nobody of ours (SPIFFE Trust Domain and Bundle, section 4).

use std::{collections::BTreeMap, fmt, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{WebPkiSupportedAlgorithms, aws_lc_rs::default_provider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::svid::Bundles;
use crate::client_identity::{ClientIdentity, IdentityName, NoIdentity, trust_domain};

/// Why the certificate of a peer is refused before it is verified, or in spite of that.
#[derive(thiserror::Error)]
enum PeerError {
    #[error("it is no X.509-SVID: {0}")]
    NoSvid(NoIdentity),
    #[error("the Workload API names no authorities of the trust domain of {0}")]
    ForeignTrustDomain(String),
    #[error("{0} is none of server_spiffe_ids")]
    OtherServer(String),
}

impl fmt::Debug for PeerError {
    /// As rustls writes it into its errors.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl From<PeerError> for Error {
    fn from(error: PeerError) -> Self {
        CertificateError::Other(OtherError(Arc::new(error))).into()
    }
}

/// Who a peer says that it is, and whatever is known of its trust domain.
fn known<'a, T>(
    domains: &'a BTreeMap<String, T>,
    certificate: &CertificateDer<'_>,
) -> Result<(ClientIdentity, &'a T), Error> {
    let id = ClientIdentity::of(certificate, IdentityName::SpiffeId).map_err(PeerError::NoSvid)?;
    let domain = trust_domain(id.as_str()).and_then(|domain| domains.get(domain));
    let domain = domain.ok_or_else(|| PeerError::ForeignTrustDomain(id.as_str().to_owned()))?;
    Ok((id, domain))
}

/// Verifies clients.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    domains: BTreeMap<String, Arc<dyn ClientCertVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
    is_required: bool,
}

impl ClientVerifier {
    pub(super) fn new(bundles: &Bundles, is_required: bool) -> Result<Self, Error> {
        let verifier = |(domain, roots): (&String, &Arc<RootCertStore>)| {
            let verifier = WebPkiClientVerifier::builder(Arc::clone(roots)).build();
            let verifier = verifier.map_err(|error| Error::General(error.to_string()))?;
            Ok::<_, Error>((domain.clone(), verifier))
        };
        let domains = bundles.iter().map(verifier).collect::<Result<_, _>>()?;
        Ok(Self { domains, algorithms: default_provider().signature_verification_algorithms, is_required })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.is_required
    }

    /// None: a workload has one certificate to choose from.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let (_, verifier) = known(&self.domains, certificate)?;
        verifier.verify_client_cert(certificate, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Verifies servers.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    bundles: Bundles,
    algorithms: WebPkiSupportedAlgorithms,
    servers: Vec<String>,
}

impl ServerVerifier {
    pub(super) fn new(bundles: &Bundles, servers: &[String]) -> Self {
        let algorithms = default_provider().signature_verification_algorithms;
        Self { bundles: bundles.clone(), algorithms, servers: servers.to_vec() }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let (id, roots) = known(&self.bundles, certificate)?;
        let parsed = ParsedCertificate::try_from(certificate)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, self.algorithms.all)?;
        if self.servers.is_empty() {
            verify_server_name(&parsed, name)?;
        } else if !self.servers.iter().any(|server| server == id.as_str()) {
            return Err(PeerError::OtherServer(id.as_str().to_owned()).into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
