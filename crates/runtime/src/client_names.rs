//! Which clients a listener lets in, of all whose certificates are good: by the names that an authority has signed.

use std::{collections::BTreeSet, fmt, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use webpki::EndEntityCert;

use crate::{client_identity::ClientIdentity, rate_limited_log::RateLimitedLog, reload::Reloading};

/// What ends a SPIFFE id that stands for all below it.
const BELOW: &str = "/*";

/// How many names of a refused certificate are told.
const MOST_TOLD: usize = 4;

/// SPIFFE ids and DNS names, as an operator has listed them.
#[derive(Debug)]
pub(crate) struct ClientNames {
    exact: BTreeSet<Box<str>>,
    /// Beginnings of SPIFFE ids, each with a slash at its end.
    below: Vec<Box<str>>,
}

impl ClientNames {
    /// One on a line: `spiffe://TRUST_DOMAIN/PATH`, the same with `/*` at its end for all below it, or `dns:NAME`. A line that begins
    /// with `#` is a comment.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut names = Self { exact: BTreeSet::new(), below: Vec::new() };
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            names.add(line).ok_or_else(|| format!("line {number} is no name of a client"))?;
        }
        let is_empty = names.exact.is_empty() && names.below.is_empty();
        if is_empty { Err("there is no name in it, so that nobody would be let in".to_owned()) } else { Ok(names) }
    }

    fn add(&mut self, line: &str) -> Option<()> {
        match line.strip_suffix(BELOW) {
            Some(parent) => {
                // What stands there in the place of the star has to be an id.
                ClientIdentity::parse(&format!("{parent}/any")).filter(|it| it.as_str().starts_with("spiffe://"))?;
                self.below.push(format!("{parent}/").into());
            }
            None => {
                self.exact.insert(ClientIdentity::parse(line)?.as_str().into());
            }
        }
        Some(())
    }

    fn admit(&self, name: &str) -> bool {
        let is_below = |parent: &str| name.strip_prefix(parent).is_some_and(|rest| !rest.is_empty());
        self.exact.contains(name) || self.below.iter().any(|parent| is_below(parent))
    }
}

/// A verifier that lets in those alone of whom one name is listed: on the list as it is at that moment.
pub(crate) fn admitting(
    names: Arc<Reloading<ClientNames>>,
    verifier: Arc<dyn ClientCertVerifier>,
) -> Arc<dyn ClientCertVerifier> {
    Arc::new(Admission { names, verifier, log: RateLimitedLog::default() })
}

struct Admission {
    names: Arc<Reloading<ClientNames>>,
    verifier: Arc<dyn ClientCertVerifier>,
    log: RateLimitedLog,
}

impl fmt::Debug for Admission {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Admission").field("names", &self.names.get()).finish_non_exhaustive()
    }
}

impl Admission {
    fn admit(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let certificate = EndEntityCert::try_from(certificate).map_err(|_| CertificateError::BadEncoding)?;
        let dns = certificate.valid_dns_names().map(|name| format!("dns:{}", name.to_ascii_lowercase()));
        let names: Vec<_> = certificate.valid_uri_names().map(str::to_owned).chain(dns).collect();
        // What is no identity is no name: a pattern of one's own in a certificate stands for nobody.
        let listed = self.names.get();
        let is_admitted = |name: &String| ClientIdentity::parse(name).is_some_and(|it| listed.admit(it.as_str()));
        if names.iter().any(is_admitted) {
            return Ok(());
        }
        self.log.write(|| {
            tracing::warn!(
                names = %Told(&names),
                "a client was refused by the names of its certificate: none of them is in `client_names_file`; add one there, or have \
                 the client's certificate issued for a name that is"
            );
        });
        // The alert access_denied (RFC 8446, section 6.2), by which the client's side tells this from a certificate that is not good.
        Err(CertificateError::ApplicationVerificationFailure.into())
    }
}

impl ClientCertVerifier for Admission {
    fn offer_client_auth(&self) -> bool {
        self.verifier.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.verifier.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.verifier.verify_client_cert(certificate, intermediates, now)?;
        self.admit(certificate)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// The first few names of a certificate.
struct Told<'a>(&'a [String]);

impl fmt::Display for Told<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return formatter.write_str("none");
        }
        for (number, name) in self.0.iter().take(MOST_TOLD).enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(formatter, "{comma}{name:.256}")?;
        }
        if self.0.len() > MOST_TOLD { formatter.write_str(", …") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> ClientNames {
        ClientNames::parse(text).unwrap()
    }

    #[test]
    fn name_is_admitted_exactly_or_below_what_ends_with_a_star() {
        let names =
            names("# the mesh\nspiffe://prod/ns/accord/sa/gateway\n\ndns:accord-cache\n spiffe://prod/member/*\n");
        for name in [
            "spiffe://prod/ns/accord/sa/gateway",
            "dns:accord-cache",
            "spiffe://prod/member/a",
            "spiffe://prod/member/a/b",
        ] {
            assert!(names.admit(name), "{name}");
        }
        for name in [
            "spiffe://prod/ns/accord/sa/gateway/more",
            "spiffe://prod/ns/accord/sa",
            "spiffe://prod/member",
            "spiffe://prod/member/",
            "spiffe://prod/members/a",
            "spiffe://other/member/a",
            "dns:accord-cache.accord",
            "accord-cache",
        ] {
            assert!(!names.admit(name), "{name}");
        }
    }

    #[test]
    fn list_that_no_certificate_could_meet_is_refused_with_its_line() {
        for line in [
            "accord-cache",
            "dns:*",
            "dns:*.accord",
            "dns:accord/*",
            "spiffe://prod",
            "spiffe:///*",
            "spiffe://*",
            "*",
            "spiffe://prod/a*",
        ] {
            let refused = ClientNames::parse(&format!("dns:accord-cache\n{line}")).unwrap_err();
            assert!(refused.starts_with("line 2 "), "{line}: {refused}");
        }
        for empty in ["", "# nobody\n"] {
            assert!(ClientNames::parse(empty).unwrap_err().contains("nobody would be let in"));
        }
    }
}
