//! Why a client's TLS handshake failed, in the words of whoever has to mend it. "It" is the server; "the caller" is this process.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// Kinds of reasons why a client's handshake fails. Callers may be told them: they say nothing of addresses and names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeFailure {
    /// It speaks something else.
    #[error("it was called with TLS and does not speak it")]
    NotTls,
    /// Nobody who is trusted vouches for it.
    #[error("no trusted authority vouches for its certificate")]
    Untrusted,
    /// Somebody else's certificate.
    #[error("its certificate is for another name")]
    WrongName,
    /// A certificate that has ended, or not begun.
    #[error("its certificate is not valid at this time")]
    Expired,
    /// It asks who calls.
    #[error("it accepts no caller without a certificate")]
    NoClientCertificate,
    /// It does not know who signed the caller's certificate.
    #[error("it trusts no authority that vouches for the caller's certificate")]
    ClientUntrusted,
    /// The caller's certificate has ended, or not begun.
    #[error("it says that the caller's certificate is not valid at this time")]
    ClientExpired,
    /// The caller's certificate was taken back.
    #[error("it says that the caller's certificate was revoked")]
    ClientRevoked,
    /// The caller's certificate is good, and its names are not of those that may come in.
    #[error("it lets in no caller with the names of the caller's certificate")]
    ClientDenied,
    /// Something else about the caller's certificate: what it is for, or how it is made.
    #[error("it can't use the caller's certificate")]
    ClientCertificate,
    /// A signature that does not fit.
    #[error("it could not verify the caller's signature")]
    Signature,
    /// Something else about TLS.
    #[error("the TLS handshake with it failed")]
    Other,
}

impl HandshakeFailure {
    /// Of which kind an error of a stream is, in the handshake or at the first read: in TLS 1.3 a client hears only then that its
    /// certificate is refused. None where TLS has no part in it.
    pub fn of(error: &io::Error) -> Option<Self> {
        use CertificateError as Certificate;
        let kind = match error.get_ref()?.downcast_ref::<Error>()? {
            Error::InvalidMessage(_) => Self::NotTls,
            Error::InvalidCertificate(Certificate::NotValidForName | Certificate::NotValidForNameContext { .. }) => {
                Self::WrongName
            }
            Error::InvalidCertificate(
                Certificate::Expired
                | Certificate::ExpiredContext { .. }
                | Certificate::NotValidYet
                | Certificate::NotValidYetContext { .. },
            ) => Self::Expired,
            Error::InvalidCertificate(_) => Self::Untrusted,
            Error::AlertReceived(alert) => Self::of_alert(*alert),
            _ => Self::Other,
        };
        Some(kind)
    }

    /// What the server says of the caller (RFC 8446, section 6.2).
    fn of_alert(alert: AlertDescription) -> Self {
        match alert {
            AlertDescription::CertificateRequired | AlertDescription::NoCertificate => Self::NoClientCertificate,
            AlertDescription::UnknownCA => Self::ClientUntrusted,
            AlertDescription::CertificateExpired => Self::ClientExpired,
            AlertDescription::CertificateRevoked => Self::ClientRevoked,
            AlertDescription::AccessDenied => Self::ClientDenied,
            AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate => Self::ClientCertificate,
            AlertDescription::DecryptError => Self::Signature,
            _ => Self::Other,
        }
    }

    /// What whoever runs the caller can do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::NotTls => "write the scheme without TLS in its URL (http://, redis://), or let it serve with TLS",
            Self::Untrusted => "name the authority that signed it in `tls.ca_file`",
            Self::WrongName => "call it by a name that stands in its certificate",
            Self::Expired => "renew its certificate, or set the clock",
            Self::NoClientCertificate => {
                "give `tls.cert_file` and `tls.key_file`, signed by an authority that it trusts"
            }
            Self::ClientUntrusted => {
                "have `tls.cert_file` signed by an authority that it trusts, or let it trust the one that did"
            }
            Self::ClientExpired => "renew `tls.cert_file`, or set the clock there",
            Self::ClientRevoked => "have another certificate issued for `tls.cert_file`",
            Self::ClientDenied => {
                "let it admit a name of `tls.cert_file`, or have that issued for a name that it admits"
            }
            Self::ClientCertificate => {
                "have `tls.cert_file` issued for the use by clients (clientAuth); its log says what is wrong"
            }
            Self::Signature => "give the key of `tls.cert_file` in `tls.key_file`, of a kind that it verifies",
            Self::Other => "let both sides speak TLS 1.2 or 1.3",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn of(error: Error) -> Option<HandshakeFailure> {
        HandshakeFailure::of(&io::Error::new(io::ErrorKind::InvalidData, error))
    }

    #[test]
    fn alert_about_the_callers_certificate_has_its_own_cause_and_remedy() {
        let alerts = [
            (AlertDescription::CertificateRequired, HandshakeFailure::NoClientCertificate),
            (AlertDescription::UnknownCA, HandshakeFailure::ClientUntrusted),
            (AlertDescription::CertificateExpired, HandshakeFailure::ClientExpired),
            (AlertDescription::CertificateRevoked, HandshakeFailure::ClientRevoked),
            (AlertDescription::AccessDenied, HandshakeFailure::ClientDenied),
            (AlertDescription::UnsupportedCertificate, HandshakeFailure::ClientCertificate),
            (AlertDescription::DecryptError, HandshakeFailure::Signature),
            (AlertDescription::ProtocolVersion, HandshakeFailure::Other),
        ];
        for (alert, cause) in alerts {
            assert_eq!(of(Error::AlertReceived(alert)), Some(cause), "{alert:?}");
        }
        let said: BTreeSet<_> = alerts.iter().map(|(_, cause)| (cause.to_string(), cause.remedy())).collect();
        assert_eq!(said.len(), alerts.len());
    }

    #[test]
    fn error_without_tls_has_no_cause_of_tls() {
        assert_eq!(HandshakeFailure::of(&io::ErrorKind::ConnectionReset.into()), None);
        assert_eq!(HandshakeFailure::of(&io::Error::other("no")), None);
    }
}
