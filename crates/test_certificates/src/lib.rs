//! Certificates for tests: authorities, and what they sign.

#![expect(clippy::missing_panics_doc, reason = "each panics where it can't do its work: a test has no use for less")]

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// How long a certificate is valid of which a test doesn't say it: longer than any test, or measurement, runs.
const USUAL: Duration = Duration::from_hours(24);

/// An authority that signs certificates.
#[derive(Debug)]
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate, and its key.
#[derive(Debug)]
pub struct Identity {
    /// The certificate, in PEM.
    pub certificate: String,
    /// The key, PKCS #8 in PEM.
    pub key: String,
    /// The certificate as it is shown.
    pub der: CertificateDer<'static>,
    key_der: PrivatePkcs8KeyDer<'static>,
}

impl Authority {
    /// An authority of this name.
    pub fn named(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, key()).expect("an authority"))
    }

    /// Its own certificate, in PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Its own certificate, in DER.
    pub fn der(&self) -> &CertificateDer<'static> {
        self.0.der()
    }

    /// A certificate for these names, of which each is a URI, an IP address or a DNS name.
    pub fn issue(&self, names: &[&str]) -> Identity {
        self.issue_until(names, SystemTime::now() + USUAL)
    }

    /// The same, valid until this moment.
    pub fn issue_until(&self, names: &[&str], ends: SystemTime) -> Identity {
        let key = key();
        Identity::new(&params(names, ends).signed_by(&key, &self.0).expect("a certificate"), &key)
    }
}

impl Identity {
    /// A certificate for these names that only who knows it trusts.
    pub fn self_signed(names: &[&str]) -> Self {
        Self::self_signed_until(names, SystemTime::now() + USUAL)
    }

    /// The same, valid until this moment.
    pub fn self_signed_until(names: &[&str], ends: SystemTime) -> Self {
        let key = key();
        Self::new(&params(names, ends).self_signed(&key).expect("a certificate"), &key)
    }

    fn new(certificate: &Certificate, key: &KeyPair) -> Self {
        Self {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().clone(),
            key_der: key.serialize_der().into(),
        }
    }

    /// The key as servers and clients take it.
    pub fn key_der(&self) -> PrivateKeyDer<'static> {
        self.key_der.clone_key().into()
    }

    /// Writes both, in PEM, into these files.
    pub fn write(&self, certificate: &Path, key: &Path) {
        fs::write(key, &self.key).expect("a file that can be written");
        fs::write(certificate, &self.certificate).expect("a file that can be written");
    }
}

/// What vouches for peers: these authorities, or certificates that vouch for themselves.
pub fn roots<'a>(certificates: impl IntoIterator<Item = &'a CertificateDer<'static>>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate.clone()).expect("an authority");
    }
    roots
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn subject_alt_name(name: &str) -> SanType {
    match name.parse() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) if name.contains("://") => SanType::URI(name.try_into().expect("a URI")),
        Err(_) => SanType::DnsName(name.try_into().expect("a DNS name")),
    }
}

fn params(names: &[&str], ends: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = names.iter().map(|name| subject_alt_name(name)).collect();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.not_after = ends.into();
    params
}
