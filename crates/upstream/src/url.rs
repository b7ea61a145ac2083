//! The URL of an upstream as it is configured, taken apart.

mod kubernetes;

pub(crate) use kubernetes::{KubernetesService, ServicePort};

use std::net::{IpAddr, SocketAddr};

use http::Uri;
use http::uri::{Authority, Scheme};
use rustls::pki_types::ServerName;
use serde::{Deserialize, Deserializer, de};

/// A URL of an upstream: how to speak, and to whom.
#[derive(Clone, Debug)]
pub(crate) struct Url {
    /// As it was configured.
    pub text: Box<str>,
    /// `http` or `https`.
    pub scheme: Scheme,
    /// What goes into `:authority`.
    pub authority: Authority,
    /// Where its addresses come from.
    pub host: Host,
    /// What its certificate has to be for; none for `http`.
    pub server_name: Option<ServerName<'static>>,
}

/// Where the addresses of a URL come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// The URL says it.
    Address(SocketAddr),
    /// A and AAAA records of a name.
    Name(Box<str>, u16),
    /// SRV records of a name, which say the ports as well.
    Service(Box<str>),
    /// The `EndpointSlices` of a Service in Kubernetes.
    Kubernetes(KubernetesService),
}

/// Not a URL of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UrlError {
    /// Not of a form that is understood.
    #[error(
        "{0:?} is not an address of a service; write it like http://127.0.0.1:9000, https://catalog.example:9000, \
         http+srv://_grpc._tcp.catalog.example or http+k8s://catalog.shop:9000, with a port from 1 to 65535 and nothing \
         after it"
    )]
    Form(String),
    /// `EndpointSlices` where one address is asked for.
    #[error(
        "{0:?} is followed for the `urls` of an [[upstream]] only; write http://NAME:PORT with the Service's name here"
    )]
    Kubernetes(String),
    /// A name that no certificate can stand for.
    #[error("{0:?} is not a server name; use a host name or an IP address")]
    Name(String),
}

impl Url {
    /// Takes a URL apart: `http://HOST:PORT`, `https://HOST:PORT`, `http+srv://NAME` or `https+srv://NAME` for SRV records, and
    /// `http+k8s://SERVICE.NAMESPACE:PORT` or `https+k8s://SERVICE.NAMESPACE:PORT` for `EndpointSlices`.
    pub(crate) fn parse(text: &str) -> Result<Self, UrlError> {
        let form = || UrlError::Form(without_credentials(text));
        for (prefix, scheme) in [("http+k8s://", Scheme::HTTP), ("https+k8s://", Scheme::HTTPS)] {
            if let Some(service) = text.strip_prefix(prefix) {
                let (service, authority) = KubernetesService::parse(service).ok_or_else(form)?;
                return Self::of(text, scheme, authority, Host::Kubernetes(service));
            }
        }
        let uri: Uri = text.parse().map_err(|_| form())?;
        let (scheme, is_srv) = match uri.scheme_str() {
            Some("http") => (Scheme::HTTP, false),
            Some("https") => (Scheme::HTTPS, false),
            Some("http+srv") => (Scheme::HTTP, true),
            Some("https+srv") => (Scheme::HTTPS, true),
            _ => return Err(form()),
        };
        // A method's path takes the place of any other, which would be lost without a word.
        let is_bare = uri.path_and_query().is_none_or(|rest| rest == "/");
        let authority = uri.authority().filter(|it| is_bare && !it.as_str().contains('@')).ok_or_else(form)?.clone();
        // A port beyond 65535 would read as none, and so as the scheme's.
        let has_port = authority.as_str().len() > authority.host().len();
        if has_port && matches!(authority.port_u16(), None | Some(0)) {
            return Err(form());
        }
        let name = authority.host().trim_matches(['[', ']']).to_owned();
        let host = match (is_srv, authority.port_u16()) {
            _ if name.is_empty() => return Err(form()),
            (true, None) => Host::Service(name.as_str().into()),
            (true, Some(_)) => return Err(form()),
            (false, port) => host(&name, port.unwrap_or(if scheme == Scheme::HTTPS { 443 } else { 80 })),
        };
        Self::of(text, scheme, authority, host)
    }

    fn of(text: &str, scheme: Scheme, authority: Authority, host: Host) -> Result<Self, UrlError> {
        let name = authority.host().trim_matches(['[', ']']).to_owned();
        let server_name = if scheme == Scheme::HTTPS {
            Some(ServerName::try_from(name.clone()).map_err(|_| UrlError::Name(name))?)
        } else {
            None
        };
        Ok(Self { text: text.into(), scheme, authority, host, server_name })
    }
}

fn host(name: &str, port: u16) -> Host {
    match name.parse::<IpAddr>() {
        Ok(address) => Host::Address(SocketAddr::new(address, port)),
        Err(_) => Host::Name(name.into(), port),
    }
}

/// For `#[serde(deserialize_with)]`: the URL of a service. For an optional key, add `default`.
pub fn deserialize<'de, T: From<String>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    let url = Url::parse(&text).map_err(de::Error::custom)?;
    // What follows them, and from where, is said for upstreams.
    if matches!(url.host, Host::Kubernetes(_)) {
        return Err(de::Error::custom(UrlError::Kubernetes(text)));
    }
    Ok(text.into())
}

/// For `#[serde(deserialize_with)]`: a list of URLs of services.
pub fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Member(String);
    impl<'de> Deserialize<'de> for Member {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let text = String::deserialize(deserializer)?;
            Url::parse(&text).map_err(de::Error::custom)?;
            Ok(Self(text))
        }
    }
    let members: Vec<Member> = Deserialize::deserialize(deserializer)?;
    Ok(members.into_iter().map(|member| member.0).collect())
}

/// A text that may be a URL, as it can be shown: what stands before an `@` may be a password.
fn without_credentials(text: &str) -> String {
    let Some((before, host)) = text.rsplit_once('@') else { return text.to_owned() };
    let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
    format!("{scheme}://***@{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_parsed_into_its_parts() {
        let host = |text: &str| Url::parse(text).unwrap().host;
        assert_eq!(host("http://127.0.0.1:9000"), Host::Address(([127, 0, 0, 1], 9000).into()));
        assert_eq!(host("http://[::1]:9000/"), Host::Address("[::1]:9000".parse().unwrap()));
        assert_eq!(host("https://catalog.example"), Host::Name("catalog.example".into(), 443));
        assert_eq!(host("http+srv://_grpc._tcp.catalog"), Host::Service("_grpc._tcp.catalog".into()));
        assert!(matches!(host("http+k8s://catalog.shop:grpc"), Host::Kubernetes(_)));
        assert!(Url::parse("https://catalog.example").unwrap().server_name.is_some());
        assert!(Url::parse("https+k8s://catalog.shop:grpc").unwrap().server_name.is_some());
    }

    #[test]
    fn port_that_is_none_is_not_taken_for_the_schemes() {
        for text in ["http://127.0.0.1:99999", "http://name:65536", "http://[::1]:0", "https://name:", "http://name:x"]
        {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn url_of_another_form_is_refused_with_the_remedy() {
        let refused = |text: &str| Url::parse(text).unwrap_err().to_string();
        for text in [
            "127.0.0.1:8090",
            "ftp://host",
            "http://host:1/path",
            "http://me@host:1",
            "http+srv://name:1",
            "http+k8s://name:1",
            "",
        ] {
            assert!(refused(text).contains("write it like http://"), "{text}");
        }
    }

    #[test]
    fn refusal_does_not_repeat_a_password() {
        for text in ["http://me:secret@host:1", "http://me:se/cret@host", "me:secret@host:1"] {
            let refused = Url::parse(text).unwrap_err().to_string();
            assert!(!refused.contains("cret") && refused.contains("***@host"), "{refused}");
        }
    }
}
