//! Who a client is by its certificate: the SPIFFE id or the DNS name that an authority has signed.
//!
//! A name is taken only where there is one of its kind: of two, nobody could say which one counts (X.509-SVID, section 5.2).

use std::{fmt, sync::Arc};

use rustls::pki_types::{CertificateDer, DnsName};
use serde::{Deserialize, Serialize};
use webpki::EndEntityCert;

const SPIFFE: &str = "spiffe://";
const DNS: &str = "dns:";

/// The longest SPIFFE id (SPIFFE-ID, section 2.3), the longest trust domain (2.1), and the longest DNS name (RFC 1035, 2.3.4).
const MAX_ID: usize = 2048;
const MAX_TRUST_DOMAIN: usize = 255;
const MAX_DNS_NAME: usize = 253;

/// Which name of its certificate says who a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdentityName {
    /// The URI, which is a SPIFFE id.
    SpiffeId,
    /// The DNS name.
    DnsName,
}

/// `spiffe://TRUST_DOMAIN/PATH` or `dns:NAME`: one spelling for each, so that it can be compared as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity(Arc<str>);

/// Why a certificate says of nobody who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoIdentity {
    /// It has no name of the kind that counts.
    Missing(IdentityName),
    /// It has more than one.
    Several(IdentityName),
    /// It is no SPIFFE id of a workload, or no DNS name of one host.
    Malformed(IdentityName),
    /// It is no certificate that can be read.
    Unreadable,
}

impl ClientIdentity {
    /// The identity that this text names; None where no certificate could have it.
    pub fn parse(text: &str) -> Option<Self> {
        let is_identity = match text.strip_prefix(DNS) {
            Some(name) => is_dns_name(name),
            None => is_spiffe_id(text),
        };
        is_identity.then(|| Self(text.into()))
    }

    /// Who the owner of a certificate is. That it is valid has been verified.
    pub(crate) fn of(certificate: &CertificateDer<'_>, name: IdentityName) -> Result<Self, NoIdentity> {
        let certificate = EndEntityCert::try_from(certificate).map_err(|_| NoIdentity::Unreadable)?;
        let text = match name {
            IdentityName::SpiffeId => only(certificate.valid_uri_names(), name)?.to_owned(),
            IdentityName::DnsName => {
                format!("{DNS}{}", only(certificate.valid_dns_names(), name)?.to_ascii_lowercase())
            }
        };
        Self::parse(&text).ok_or(NoIdentity::Malformed(name))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn only<'a>(mut names: impl Iterator<Item = &'a str>, name: IdentityName) -> Result<&'a str, NoIdentity> {
    let first = names.next().ok_or(NoIdentity::Missing(name))?;
    if names.next().is_some() { Err(NoIdentity::Several(name)) } else { Ok(first) }
}

/// The trust domain of a SPIFFE id.
pub(crate) fn trust_domain(id: &str) -> Option<&str> {
    id.strip_prefix(SPIFFE)?.split_once('/').map(|(domain, _)| domain)
}

/// Whether that is the SPIFFE id of a workload: that of a trust domain alone, without a path, is nobody's (X.509-SVID, section 5.2).
fn is_spiffe_id(text: &str) -> bool {
    let Some((trust_domain, path)) = text.strip_prefix(SPIFFE).and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    let is_of_domain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    let is_of_path = |byte: u8| byte.is_ascii_uppercase() || is_of_domain(byte);
    let is_segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(is_of_path);
    (1..=MAX_TRUST_DOMAIN).contains(&trust_domain.len())
        && trust_domain.bytes().all(is_of_domain)
        && path.split('/').all(is_segment)
        && text.len() <= MAX_ID
}

/// Whether that is the name of one host, in lower case.
fn is_dns_name(name: &str) -> bool {
    let is_written_so = !name.ends_with('.') && !name.bytes().any(|byte| byte.is_ascii_uppercase());
    name.len() <= MAX_DNS_NAME && is_written_so && DnsName::try_from(name).is_ok()
}

impl fmt::Display for IdentityName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::SpiffeId => "SPIFFE id of a workload as its one URI (subjectAltName)",
            Self::DnsName => "DNS name of one host as its one such name (subjectAltName)",
        })
    }
}

impl fmt::Display for NoIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(name) => write!(formatter, "it has no name that says who its owner is; give it the {name}"),
            Self::Several(name) => {
                write!(formatter, "it has several names of which one alone may be; give it the {name}")
            }
            Self::Malformed(name) => write!(formatter, "its name is none of an owner; give it the {name}"),
            Self::Unreadable => formatter.write_str("it can't be read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use accord_test_certificates::Identity;

    use super::*;

    const PAY: &str = "spiffe://prod.example/ns/shop/sa/pay";

    fn of(names: &[&str], name: IdentityName) -> Result<ClientIdentity, NoIdentity> {
        ClientIdentity::of(&Identity::self_signed(names).der, name)
    }

    #[test]
    fn certificate_with_one_uri_is_its_spiffe_id_whatever_else_it_names() {
        let found = of(&["pay.example", PAY, "pay"], IdentityName::SpiffeId);
        assert_eq!(found.unwrap().as_str(), PAY);
    }

    #[test]
    fn certificate_with_several_uris_is_nobody() {
        let name = IdentityName::SpiffeId;
        for other in [PAY, "spiffe://prod.example/other", "https://pay.example"] {
            assert_eq!(of(&[PAY, other], name), Err(NoIdentity::Several(name)), "{other}");
        }
        assert_eq!(of(&["pay.example"], name), Err(NoIdentity::Missing(name)));
    }

    #[test]
    fn dns_name_is_taken_where_it_is_the_only_one() {
        let name = IdentityName::DnsName;
        assert_eq!(of(&[PAY, "Pay.Example"], name).unwrap().as_str(), "dns:pay.example");
        assert_eq!(of(&["a.example", "b.example"], name), Err(NoIdentity::Several(name)));
        assert_eq!(of(&["*.example.com"], name), Err(NoIdentity::Malformed(name)));
        assert_eq!(of(&[PAY], name), Err(NoIdentity::Missing(name)));
    }

    #[test]
    fn uri_that_is_no_spiffe_id_of_a_workload_is_nobody() {
        let long = format!("spiffe://prod.example/{}", "a".repeat(MAX_ID));
        let domain = format!("spiffe://{}/a", "a".repeat(MAX_TRUST_DOMAIN + 1));
        for text in [
            "spiffe://prod.example",
            "spiffe://prod.example/",
            "spiffe:///path",
            "spiffe://Prod.example/path",
            "spiffe://prod.example:8443/path",
            "spiffe://user@prod.example/path",
            "spiffe://prod.example/path?query",
            "spiffe://prod.example/path#fragment",
            "spiffe://prod.example/a//b",
            "spiffe://prod.example/a/",
            "spiffe://prod.example/a/../b",
            "spiffe://prod.example/%41",
            "SPIFFE://prod.example/path",
            "https://prod.example/path",
            "ak_0123456789abcdef_secret",
            "dns:",
            "dns:Pay.example",
            "dns:pay.example.",
            "dns:*.example",
            &long,
            &domain,
        ] {
            assert_eq!(ClientIdentity::parse(text), None, "{text}");
        }
        for text in [PAY, "spiffe://td/A.b-c_d", "dns:pay.example", "dns:pay"] {
            assert_eq!(ClientIdentity::parse(text).unwrap().as_str(), text);
        }
    }
}
