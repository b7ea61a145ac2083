//! Admission: what a caller asks for, the deadline of its call, and only headers that may come in.

mod certificate;
mod explain_mode;
mod forwarding;

use crate::{
    consistency_token::PassedTokens,
    cors::Cors,
    fault::{Component, Fault},
    metadata::API_KEY,
    protocol::{RequestOptions, WireProtocol},
};
use accord_api::accord::{fault::v1::Reason, policy::v1::Criticality};
use accord_runtime::{
    call_record::CallRecord,
    criticality,
    deadline::Deadline,
    request::{self, RequestId},
    server::Peer,
};
use accord_token::PASSPORT_HEADER;
use accord_upstream::metadata::is_reserved;
use arc_swap::ArcSwapOption;
use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
pub(crate) use certificate::CallerCertificate;
pub(crate) use explain_mode::ExplainMode;
use forwarding::Connection;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header, request::Parts};
use hyper::body::Incoming;
use std::net::{IpAddr, Ipv4Addr};

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// With padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// By which listener a request came in. It says what may come with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListenerKind {
    /// Open to everybody: a passport that comes along goes no further.
    Public,
    /// For workloads alone, which may bring the passport that they were called with.
    Internal,
}

impl ListenerKind {
    /// Its name in metrics and traces.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
        }
    }
}

/// A request that may come in.
pub(crate) struct Arrival {
    /// By which listener it came.
    pub listener: ListenerKind,
    /// How its caller calls, by the name that logs have.
    pub protocol: &'static str,
    /// The passport that its caller was called with. At the public listener it proves nothing.
    pub passport: Option<HeaderValue>,
    /// How critical the call is that this one is made for, where it comes from a service.
    pub criticality: Option<Criticality>,
    /// What the caller asks for.
    pub options: RequestOptions,
    /// What it wants to know of its call.
    pub explain: Option<ExplainMode>,
    /// The head, without anything that only our own hops may say.
    pub parts: Parts,
    /// The request's id.
    pub id: RequestId,
    /// What is noted of the call.
    pub record: CallRecord,
    /// Where it came from.
    pub address: IpAddr,
    /// By which connection.
    pub connection: u64,
    /// Who its client is by a certificate.
    pub certificate: CallerCertificate,
}

/// Takes out of the head of a request what may not come from outside, and reads what the caller asks for.
pub(crate) fn admit(
    listener: ListenerKind,
    protocol: WireProtocol,
    trusted_hops: usize,
    cors: &ArcSwapOption<Cors>,
    request: Request<Incoming>,
) -> Result<(Arrival, Incoming), Fault> {
    let (mut parts, body) = request.into_parts();
    let passport = passport(listener, &parts.headers)?;
    // What comes from outside is as critical as its contract says.
    let criticality = (listener == ListenerKind::Internal).then(|| criticality::carried(&parts.headers)).flatten();
    let explain = ExplainMode::of(&parts.headers)?;
    let tokens = PassedTokens::of(&parts.headers);
    let certificate = certificate(cors, &parts);
    clean(&mut parts.headers)?;
    let (mut options, protocol) = (protocol.admit(&mut parts)?, protocol.name());
    options.cache_control.tokens = tokens;
    let connection = parts.extensions.get::<Peer>().map_or(0, |peer| peer.connection);
    let address = caller(listener, trusted_hops, &mut parts);
    let id = request::id(&parts.extensions);
    let record = parts.extensions.get::<CallRecord>().cloned().unwrap_or_default();
    let arrival = Arrival {
        listener,
        protocol,
        passport,
        criticality,
        options,
        explain,
        parts,
        id,
        record,
        address,
        connection,
        certificate,
    };
    Ok((arrival, body))
}

impl Arrival {
    /// How critical it is to answer a call of a method of this criticality: no more than the call is that it is made for.
    pub(crate) fn criticality(&self, declared: Criticality) -> Criticality {
        self.criticality.map_or(declared, |carried| criticality::least(declared, carried))
    }
}

/// What the connection says of who calls.
fn certificate(cors: &ArcSwapOption<Cors>, parts: &Parts) -> CallerCertificate {
    let shown = parts.extensions.get::<Peer>().and_then(|peer| peer.certificate.clone());
    if shown.is_none() {
        return CallerCertificate::None;
    }
    let host = host(&parts.uri, parts.headers.get(header::HOST));
    CallerCertificate::of(shown, &parts.headers, host, cors.load().as_deref())
}

/// The host that is asked for.
fn host<'a>(uri: &'a Uri, header: Option<&'a HeaderValue>) -> Option<&'a str> {
    uri.authority().map(http::uri::Authority::as_str).or_else(|| header?.to_str().ok())
}

/// The address of whoever calls. Workloads call by the internal listener without a proxy between.
fn caller(listener: ListenerKind, trusted_hops: usize, parts: &mut Parts) -> IpAddr {
    let peer = parts.extensions.get::<Peer>().map(|peer| (peer.address.ip(), peer.tls));
    let told = parts.headers.get(header::HOST).cloned();
    let connection = Connection {
        peer: peer.map_or(Ipv4Addr::UNSPECIFIED.into(), |(address, _)| address),
        is_tls: peer.is_some_and(|(_, is_tls)| is_tls),
        host: host(&parts.uri, told.as_ref()),
        trusted_hops: if listener == ListenerKind::Public { trusted_hops } else { 0 },
    };
    connection.replace(&mut parts.headers)
}

/// The passport of a call between services, before it is removed with the rest of our own namespace.
fn passport(listener: ListenerKind, headers: &HeaderMap) -> Result<Option<HeaderValue>, Fault> {
    let mut passports = headers.get_all(PASSPORT_HEADER).iter();
    match (passports.next(), passports.next()) {
        // Persons may send what they like: it is removed.
        (_, Some(_)) if listener == ListenerKind::Internal => {
            Err(refused("`x-accord-passport` came more than once; send the one that this call is made with"))
        }
        (passport, _) => Ok(passport.cloned()),
    }
}

/// Removes our own namespace and refuses what two readers could read differently.
fn clean(headers: &mut HeaderMap) -> Result<(), Fault> {
    for name in [header::AUTHORIZATION, API_KEY, header::CONTENT_TYPE, GRPC_ENCODING] {
        if headers.get_all(&name).iter().nth(1).is_some() {
            return Err(refused(&format!("`{name}` came more than once; send one")));
        }
    }
    if let Some(name) = headers.iter().find_map(|(name, value)| is_illegal(name, value).then_some(name)) {
        return Err(refused(&format!("`{name}` is binary metadata, and its value is not base64")));
    }
    let named = connection_headers(headers);
    let removed: Vec<_> = headers.keys().filter(|name| is_reserved(name) || named.contains(name)).cloned().collect();
    for name in removed {
        if name == header::AUTHORIZATION || name == API_KEY {
            return Err(refused(&format!("`{name}` is named in `connection`; leave it out there")));
        }
        headers.remove(name);
    }
    Ok(())
}

/// Whether binary metadata is none (gRPC over HTTP/2, "Custom-Metadata"): upstreams fail over it with errors of their own.
fn is_illegal(name: &HeaderName, value: &HeaderValue) -> bool {
    let mut values = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    name.as_str().ends_with("-bin") && values.any(|value| BASE64.decode(value).is_err())
}

fn refused(message: &str) -> Fault {
    Fault::new(Component::Gateway, Reason::HeaderRefused, message)
}

fn connection_headers(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok()).collect()
}

/// The deadline of a call: the shorter of what its caller gives it and what its contract caps; else the default.
pub(crate) fn deadline(policy: &accord_contract::Deadline, arrival: &Arrival) -> Result<Deadline, Fault> {
    let timeout = arrival.options.timeout?.map_or(policy.default, |timeout| timeout.min(policy.max));
    arrival.record.set_timeout(timeout);
    if timeout.is_zero() { Err(Fault::deadline(Component::Gateway)) } else { Ok(Deadline::after(timeout)) }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn reserved_and_connection_headers_are_removed() {
        let mut headers = HeaderMap::new();
        for name in ["x-accord-passport", "x_accord_passport", "x-accord_tenant", "x-hop", "x-kept"] {
            headers.insert(HeaderName::from_static(name), "1".parse().unwrap());
        }
        headers.insert(header::CONNECTION, "close, X-Hop".parse().unwrap());
        clean(&mut headers).unwrap();
        let left: std::collections::BTreeSet<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["connection", "x-kept"].into());
    }

    #[test]
    fn binary_metadata_that_is_not_base64_is_invalid_argument() {
        let clean = |value: &'static str| {
            clean(&mut HeaderMap::from_iter([(HeaderName::from_static("x-a-bin"), HeaderValue::from_static(value))]))
        };
        for legal in ["", "CAU=", "CAU", "CAU, CAU="] {
            assert!(clean(legal).is_ok(), "{legal}");
        }
        for illegal in ["***", "CAU, ***"] {
            let fault = clean(illegal).unwrap_err();
            assert_eq!(fault.status().code(), Code::InvalidArgument, "{illegal}");
            assert!(fault.status().message().contains("x-a-bin"), "{illegal}");
        }
    }

    fn with_passports(count: usize) -> HeaderMap {
        let passport = (HeaderName::from_static(PASSPORT_HEADER), HeaderValue::from_static("p"));
        HeaderMap::from_iter(vec![passport; count])
    }

    #[test]
    fn passport_is_seen_by_both_listeners() {
        for listener in [ListenerKind::Internal, ListenerKind::Public] {
            assert_eq!(passport(listener, &with_passports(1)).unwrap().unwrap(), "p");
        }
    }

    #[test]
    fn repeated_passport_is_invalid_argument_at_the_internal_listener() {
        let repeated = passport(ListenerKind::Internal, &with_passports(2));
        assert_eq!(repeated.unwrap_err().status().code(), Code::InvalidArgument);
        assert!(passport(ListenerKind::Public, &with_passports(2)).is_ok());
    }

    #[test]
    fn repeated_credential_content_type_or_grpc_encoding_is_invalid_argument() {
        for name in [header::AUTHORIZATION, API_KEY, header::CONTENT_TYPE, GRPC_ENCODING] {
            let mut headers = HeaderMap::new();
            headers.append(&name, "a".parse().unwrap());
            headers.append(&name, "b".parse().unwrap());
            assert_eq!(clean(&mut headers).unwrap_err().status().code(), Code::InvalidArgument, "{name}");
        }
    }
}
