//! The called method in the table, and what is answered where there is none.

use crate::{
    fault::{Component, Fault},
    table::{MethodEntry, MethodTable},
};
use accord_api::accord::fault::v1::Reason;
use http::{HeaderValue, StatusCode, header};
use std::{sync::Arc, time::Duration};

/// Names that a gateway may serve nowhere or elsewhere, by how their paths begin, and where they are asked for. The first that fits
/// counts.
const ELSEWHERE: [(&str, &str); 6] = [
    ("/accord.auth.v1.", "this is the gateway; auth has an address of its own, with port 8090 by default"),
    (
        "/accord.cache.v1.CacheService/",
        "namespaces are reached through this gateway where the cache is one of its [[upstream]]",
    ),
    ("/accord.cache.v1.", "this is the gateway; the cache has an address of its own, with port 8100 by default"),
    ("/accord.gateway.v1.", "the gateway serves it at its admin address, with port 8081 by default"),
    ("/grpc.health.v1.Health/", "health is answered in gRPC alone"),
    ("/grpc.reflection.", "server reflection is answered in gRPC alone"),
];

/// The method at its own path, `/pkg.Service/Method`.
pub(crate) fn at_path<'a>(table: &'a MethodTable, path: &str) -> Result<&'a Arc<MethodEntry>, Fault> {
    table.grpc(path).ok_or_else(|| unknown(table, path))
}

/// That no method is served at a path.
pub(crate) fn unknown(table: &MethodTable, path: &str) -> Fault {
    let elsewhere = ELSEWHERE.iter().find(|(begin, _)| path.starts_with(begin));
    if let Some((_, place)) = elsewhere {
        return not_served(&format!("{}: {place}", shown(path)));
    }
    if table.is_pending() {
        let message = "no such method is known yet: the descriptors of an upstream could not be read; \
                       is it up, and does it serve reflection or have a descriptor set?";
        let after = Duration::from_secs(1);
        return Fault::retry(Component::Upstream, Reason::ContractPending, message, after);
    }
    not_served(shown(path))
}

fn not_served(path: &str) -> Fault {
    let message = format!("no method is served at {path}");
    Fault::new(Component::Gateway, Reason::MethodUnknown, message).http(StatusCode::NOT_FOUND)
}

/// That a path is served, and by which HTTP methods.
pub(crate) fn not_allowed(allowed: &[http::Method]) -> Fault {
    let allowed = allowed.iter().map(http::Method::as_str).collect::<Vec<_>>().join(", ");
    let message = format!("this path answers to {allowed}");
    let fault = Fault::new(Component::Gateway, Reason::MethodUnknown, message);
    let allow = HeaderValue::try_from(allowed).unwrap_or(HeaderValue::from_static(""));
    fault.http(StatusCode::METHOD_NOT_ALLOWED).header(header::ALLOW, allow)
}

/// An unknown caller's path is repeated only as far as it is short and plain.
fn shown(path: &str) -> &str {
    if path.len() <= 256 && path.bytes().all(|byte| byte.is_ascii_graphic()) { path } else { "this path" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::tests::Sample;

    #[tokio::test]
    async fn pending_contract_is_answered_with_both_causes() {
        let tables = Sample::new(false).open().await;
        let fault = unknown(&tables.load(), "/catalog.v1.ProductService/GetProduct");
        let status = fault.status();
        assert_eq!(accord_runtime::fault::reason_of(status), Some(Reason::ContractPending));
        let message = status.message();
        assert!(message.contains("is it up") && message.contains("reflection"), "{message}");
    }

    #[tokio::test]
    async fn service_of_another_binary_is_answered_with_its_place_even_while_a_contract_is_pending() {
        let tables = Sample::new(false).open().await;
        for (path, place) in [
            ("/accord.auth.v1.TokenService/Issue", "auth has an address of its own"),
            ("/accord.cache.v1.CacheService/Get", "where the cache is one of its [[upstream]]"),
            ("/accord.cache.v1.ReadThroughService/Read", "the cache has an address of its own"),
            ("/accord.gateway.v1.ExplainService/Explain", "admin address"),
            ("/grpc.health.v1.Health/Check", "in gRPC alone"),
        ] {
            let fault = unknown(&tables.load(), path);
            let status = fault.status();
            assert_eq!(accord_runtime::fault::reason_of(status), Some(Reason::MethodUnknown));
            assert!(status.message().contains(place) && status.message().contains(path), "{status:?}");
        }
    }
}
