//! `k8s` URLs: a port of a Service in Kubernetes.

use http::uri::Authority;

/// The most characters of a name in Kubernetes that becomes a DNS label (RFC 1123).
const LONGEST_LABEL: usize = 63;

/// The most characters of a port's name (RFC 6335, 5.1).
const LONGEST_PORT: usize = 15;

/// A port of a Service whose `EndpointSlices` say where its pods are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KubernetesService {
    /// The name of the Service.
    pub name: Box<str>,
    /// The namespace that it is in.
    pub namespace: Box<str>,
    /// Which of its ports.
    pub port: ServicePort,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ServicePort {
    /// The number on which its pods listen. That of the Service stands in no `EndpointSlice`.
    Number(u16),
    /// Its name in the Service.
    Name(Box<str>),
}

impl KubernetesService {
    /// Takes apart what stands behind the scheme: `SERVICE.NAMESPACE:PORT`, or with `.svc` or `.svc.` and the cluster's domain
    /// behind the namespace. The other part is the authority of calls, where a port is a number or nothing.
    pub(crate) fn parse(text: &str) -> Option<(Self, Authority)> {
        let (host, port) = text.trim_end_matches('/').rsplit_once(':')?;
        let mut labels = host.split('.');
        let (name, namespace) = (labels.next()?, labels.next()?);
        let is_whole = labels.next().is_none_or(|next| next == "svc") && labels.all(is_label);
        if !is_whole || !is_label(name) || !is_label(namespace) {
            return None;
        }
        let (port, authority) = match port.parse::<u16>() {
            Ok(0) => return None,
            Ok(number) => (ServicePort::Number(number), format!("{host}:{number}")),
            Err(_) if is_port_name(port) => (ServicePort::Name(port.into()), host.to_owned()),
            Err(_) => return None,
        };
        Some((Self { name: name.into(), namespace: namespace.into(), port }, authority.parse().ok()?))
    }
}

fn is_label(text: &str) -> bool {
    is_word(text, LONGEST_LABEL)
}

fn is_port_name(text: &str) -> bool {
    is_word(text, LONGEST_PORT) && text.contains(|letter: char| letter.is_ascii_lowercase())
}

fn is_word(text: &str, most: usize) -> bool {
    let is_inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=most).contains(&text.len()) && text.bytes().all(is_inside) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, ServicePort, String) {
        let (service, authority) = KubernetesService::parse(text).unwrap();
        (format!("{}/{}", service.namespace, service.name), service.port, authority.to_string())
    }

    #[test]
    fn service_is_parsed_with_a_port_by_number_or_by_name() {
        let number = ("shop/catalog".to_owned(), ServicePort::Number(9000), "catalog.shop:9000".to_owned());
        assert_eq!(parsed("catalog.shop:9000"), number);
        // A name is no port of an authority (RFC 3986, 3.2.3).
        let name = ("shop/catalog".to_owned(), ServicePort::Name("grpc".into()), "catalog.shop".to_owned());
        assert_eq!(parsed("catalog.shop:grpc/"), name);
    }

    #[test]
    fn service_may_be_written_as_its_dns_name() {
        for text in ["catalog.shop.svc:9000", "catalog.shop.svc.cluster.local:9000"] {
            assert_eq!(parsed(text).0, "shop/catalog", "{text}");
        }
    }

    #[test]
    fn text_of_another_form_is_no_service() {
        for text in [
            "catalog:9000",
            "catalog.shop",
            "catalog.shop:",
            "catalog.shop:0",
            "catalog.shop:65536",
            "catalog.shop:Grpc",
            "catalog.shop:a-name-too-long-for-a-port",
            "catalog.shop.example:9000",
            "catalog..svc:9000",
            "Catalog.shop:9000",
            "me@catalog.shop:9000",
            "catalog.shop:9000/path",
            "-a.shop:9000",
        ] {
            assert!(KubernetesService::parse(text).is_none(), "{text}");
        }
    }
}
